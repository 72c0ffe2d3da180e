"""The device's half of the primitives, which no host runs: its instructions, one by one, and the PTX that they become.

Faults of this half show on a GPU alone, some of them only now and then. So the text of every instruction stands here a
second time, with what it has to do; and what NVRTC makes of small kernels is read back, register by register.
"""

import re
from pathlib import Path

import gdkernels_cupy
import pytest

HEADER = (Path(gdkernels_cupy.__file__).parent / "persistent" / "primitives.cuh").read_text("utf-8")
DEVICE = HEADER[: HEADER.index('#include "host_primitives.h"')]

# By function: the instruction, then outputs, inputs and what else it says.
INSTRUCTIONS = {
    # Nothing: the compiler has to take the number for a new one, so it is read and written.
    "fresh_lane": ['"" : "+r"(lane)'],
    # Rounds to the nearest, ties to even; the first source becomes the upper half, the second the lower.
    "bf16_pair": ['"cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low)'],
    # Rounds to the nearest, ties away from zero: 10 bits of fraction.
    "tf32": ['"cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(f)'],
    # D = A·B + C: 16 rows, 8 columns, 16 terms. A is 4 registers by rows, B 2 by columns, terms 0 to 7 in the first.
    "mma_bf16": [
        '"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 " '
        '"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" '
        ': "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) '
        ': "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)'
    ],
    # The same with 8 terms: terms 0 to 3 of B in the first register.
    "mma_tf32": [
        '"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 " '
        '"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" '
        ': "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) '
        ': "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)'
    ],
    # Four 8 by 8 matrices whose rows the lanes name; .trans gives each thread the columns. Memory: not to be moved.
    "ldmatrix": [
        '"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" '
        ': "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory"',
        '"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" '
        ': "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory"',
    ],
    # 4 bytes, and 8: the first register is what lies first.
    "load1": ['"ld.shared.b32 %0, [%1];" : "=r"(v) : "r"(shared_address(p)) : "memory"'],
    "load2": ['"ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(low), "=r"(high) : "r"(shared_address(p)) : "memory"'],
    "store1": ['"st.shared.b32 [%0], %1;" :: "r"(shared_address(p)), "r"(v) : "memory"'],
    "store2": ['"st.shared.v2.b32 [%0], {%1, %2};" :: "r"(shared_address(p)), "r"(low), "r"(high) : "memory"'],
    # Through the second-level cache alone (.cg): the first level may hold what was there in the step before. 16 bytes
    # are written; of those that are read, 16 or none, the rest is zero.
    "copy16_async": [
        '"cp.async.cg.shared.global [%0], [%1], 16, %2;" '
        ':: "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory"'
    ],
    # All of them have arrived, not all but one.
    "copies_wait": ['"cp.async.commit_group;\\n\\tcp.async.wait_group 0;" ::: "memory"'],
    # Through the second-level cache alone, for the same reason.
    "load_global": ['"ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory"'],
    # Nanoseconds of the device, the same for all its processors.
    "nanoseconds": ['"mov.u64 %0, %globaltimer;" : "=l"(now)'],
    # Release: what was written before is seen by whoever acquires; by the whole GPU, not by the CTA alone.
    "arrive": ['"red.release.gpu.global.add.u32 [%0], 1;" :: "l"(counter) : "memory"'],
    # A number that no count comes to, whoever else writes it at the same time.
    "give_up": ['"red.release.gpu.global.or.b32 [%0], 0x40000000;" :: "l"(counter) : "memory"'],
    # Acquire: what comes after is not read before.
    "arrived": ['"ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory"'],
}
VOLATILE = set(INSTRUCTIONS) - {"bf16_pair", "tf32"}  # these two may be moved and left out


def instructions(text):
    """Return the asm statements of each function, and of which functions all are volatile."""
    found, volatile = {}, {}
    for body in re.split(r"\nFN |\ntemplate <bool TRANSPOSED> FN ", text)[1:]:
        name = re.search(r"(\w+)\(", body)[1]
        for kept, inside in re.findall(r"asm( volatile)?\((.*?)\);", body, re.DOTALL):
            found.setdefault(name, []).append(" ".join(inside.split()))
            volatile[name] = volatile.get(name, True) and bool(kept)
    return found, {name for name, kept in volatile.items() if kept}


def test_every_instruction_is_the_one_that_is_meant():
    found, volatile = instructions(DEVICE)
    assert found == INSTRUCTIONS
    assert volatile == VOLATILE


# ---- what the compiler makes of them


PROBES = """
extern "C" __global__ void probe_bf16(const uint32_t* in, float* out) {
    float d[4] = {out[0], out[1], out[2], out[3]};
    const uint32_t a[4] = {in[0], in[1], in[2], in[3]};
    mma_bf16(d, a, in[4], in[5]);
    for (int k = 0; k < 4; k++) out[k] = d[k];
}
extern "C" __global__ void probe_tf32(const uint32_t* in, float* out) {
    float d[4] = {out[0], out[1], out[2], out[3]};
    const uint32_t a[4] = {in[0], in[1], in[2], in[3]};
    mma_tf32(d, a, in[4], in[5]);
    for (int k = 0; k < 4; k++) out[k] = d[k];
}
extern "C" __global__ void probe_pair(const float* in, uint32_t* out) { out[0] = bf16_pair(in[0], in[1]); }
extern "C" __global__ void probe_trans(uint32_t* out) {
    uint32_t r[4];
    ldmatrix<true>(r, shared());
    for (int k = 0; k < 4; k++) out[k] = r[k];
}
extern "C" __global__ void probe_rows(uint32_t* out) {
    uint32_t r[4];
    ldmatrix<false>(r, shared());
    for (int k = 0; k < 4; k++) out[k] = r[k];
}
extern "C" __global__ void probe_copy(const float* from, int valid) {
    copy16_async(shared(), from, valid);
    copies_wait();
}
extern "C" __global__ void probe_sync(uint32_t* barrier, float* out) {
    uint32_t phase = 0;
    out[blockIdx.x] = 1.f;
    grid_sync(barrier, phase);
    out[gridDim.x] = load_global(out);
}
"""


def entries(nvrtc, header):
    text = f"constexpr int WARPS = 4;\nconstexpr unsigned long long BARRIER_NANOSECONDS = 5ull;\n{header}{PROBES}"
    ptx = nvrtc.compiled(text, "sm_90").ptx
    return {part.split("(")[0].strip(): part for part in ptx.split(".entry ")[1:]}


def operands(ptx, instruction):
    """Return the registers in each pair of braces or brackets of the only such instruction."""
    (line,) = re.findall(rf"{re.escape(instruction)}[^;]*;", ptx)
    groups = re.findall(r"[{\[]([^}\]]*)[}\]]", line) or [line[len(instruction) :].rstrip(";")]
    return [[register.strip() for register in group.split(",")] for group in groups]


def loaded_from(ptx):
    """Return the offset in its array of what each register was loaded from."""
    found = {}
    for kinds, registers, offset in re.findall(r"ld\.global(\S*)\s+\{?([^;\[]*?)\}?, \[%\w+(?:\+(\d+))?\];", ptx):
        for k, register in enumerate(registers.split(",")):
            found[register.strip()] = int(offset or 0) // 4 + k
        assert "v" not in kinds or "," in registers
    return found


def problems(nvrtc, header):
    """Return what is wrong with the PTX that a header becomes."""
    ptx, wrong = entries(nvrtc, header), []

    def must(what, holds):
        if not holds:
            wrong.append(what)

    for kind, instruction in (
        ("bf16", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"),
        ("tf32", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"),
    ):
        text = ptx[f"probe_{kind}"]
        result, a, b, c = operands(text, instruction)
        at = loaded_from(text)
        must(f"{kind}: the order of A and B", [at[r] for r in (*a, *b)] == [0, 1, 2, 3, 4, 5])
        must(f"{kind}: the order of C", [at[r] for r in c] == [0, 1, 2, 3])
        stored = re.findall(r"st\.global\.f32\s+\[[^\]]*\], (%f\d+|%r\d+);", text)
        must(f"{kind}: the order of D", stored == result)
    pair = ptx["probe_pair"]
    (line,) = re.findall(r"cvt\.rn\.bf16x2\.f32 (.*?);", pair)
    _, high, low = (r.strip() for r in line.split(","))
    at = loaded_from(pair)
    must("the halves of a pair", (at[low], at[high]) == (0, 1))
    must("a transposed load", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16" in ptx["probe_trans"])
    must("a load that is not transposed", "ldmatrix.sync.aligned.m8n8.x4.shared.b16" in ptx["probe_rows"])
    copy = ptx["probe_copy"]
    (line,) = re.findall(r"cp\.async\.(\w+)\.shared\.global \[[^\]]*\], \[[^\]]*\], (.*?);", copy) or [("", "")]
    must("a copy through the second level", line[0] == "cg")
    must("how much a copy reads", bool(re.fullmatch(r"16, %r\d+", line[1])))
    must("a choice of 16 bytes or none", bool(re.search(r"selp\.\w+\s+%r\d+, (?:16, 0|0, 16)", copy)))
    must("all copies are waited for", 0 <= copy.find("commit_group") < copy.find("wait_group 0;"))
    sync = ptx["probe_sync"]
    order = [
        sync.find("st.global"),
        sync.find("bar.sync"),
        sync.find("red.release.gpu.global.add.u32"),
        sync.find("ld.acquire.gpu.global.u32"),
        sync.rfind("bar.sync"),
        sync.find("ld.global.cg.f32"),
    ]
    must("release before acquire, between the CTA's barriers", order == sorted(order) and order[0] >= 0)
    must("a timer", "%globaltimer" in sync)
    above = r"red\.release\.gpu\.global\.or\.b32 \[%\w+\], 0x40000000"
    must("a number that everybody is below", bool(re.search(above, sync)))
    return wrong


def test_the_compiler_keeps_operands_and_order(nvrtc):
    assert problems(nvrtc, HEADER) == []


# Faults that only a GPU would show: the second text takes the place of the first.
FAULTS = {
    "no release": ("red.release.gpu.global.add.u32", "red.relaxed.gpu.global.add.u32"),
    "no acquire": ("ld.acquire.gpu.global.u32", "ld.relaxed.gpu.global.u32"),
    "the two registers of B change places": (', "r"(b0), "r"(b1)', ', "r"(b1), "r"(b0)'),
    "the halves of a pair change places": ('"f"(high), "f"(low)', '"f"(low), "f"(high)'),
    "a copy always reads 16 bytes": ('"r"(valid ? 16 : 0)', '"r"(16)'),
    "a load that is not transposed": ("m8n8.x4.trans.shared", "m8n8.x4.shared"),
    "a copy through the first level": ("cp.async.cg.shared", "cp.async.ca.shared"),
    "two registers of A change places": ('"r"(a[1]), "r"(a[2])', '"r"(a[2]), "r"(a[1])'),
    "release for the CTA alone": ("red.release.gpu", "red.release.cta"),
    "the last copy is not waited for": ("cp.async.wait_group 0", "cp.async.wait_group 1"),
    "a sum through the first level": ("ld.global.cg.f32", "ld.global.ca.f32"),
    "the CTA does not meet before it arrives": ("{\n    cta_sync();\n    phase += 1;", "{\n    phase += 1;"),
    "the CTA goes on before the others came": ("        }\n    }\n    cta_sync();\n}", "        }\n    }\n}"),
    "those that give up count as one CTA": ("or.b32 [%0], 0x40000000", "add.u32 [%0], 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_only_a_gpu_would_show_is_caught(nvrtc, name):
    before, after = FAULTS[name]
    assert before in HEADER
    assert problems(nvrtc, HEADER.replace(before, after)) != []
