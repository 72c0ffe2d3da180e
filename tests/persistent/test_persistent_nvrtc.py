"""Each kind of narrow kernel compiles by NVRTC for each architecture, spills nothing, multiplies as often as meant."""

import re
from random import Random

import pytest
from gdkernels_cupy.persistent import DeviceProperties, PersistentExecutable, applies
from gdkernels_cupy.persistent.fitting import fitting, tasks_of
from gdkernels_cupy.persistent.trials import FRAME
from nvrtc_compiler import instructions
from persistent_runs import program

from benchmarks.gpu.typical import TYPICAL
from gdkernels.backend import Plan
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import ScheduleError
from gdkernels.testing.cases import varied

relu, tanh, gelu, silu = activations.relu, activations.tanh, activations.gelu, activations.silu
ACTIVATIONS = [getattr(activations, name) for name in activations.__all__ if name.islower()]
INSTRUCTION = {
    "bfloat16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16",
    "tf32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32",
    "float32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32",
}
SHARED = {"sm_80": 166912, "sm_86": 101376, "sm_90": 232448, "sm_90a": 232448}

# name: program, widths, precision, warps, gradients that leave the registers
KERNELS = {
    "four of 64": (program(relu, relu, relu), (64,) * 5, "bfloat16", 8, 0),
    "seven of 64": (program(*[relu] * 6), (64,) * 8, "bfloat16", 8, 0),
    "much kept": (program(gelu, gelu, gelu), (64,) * 5, "bfloat16", 4, 0),
    "64 classes, a norm": (
        program(relu, relu, relu, loss=losses.cross_entropy, optimizer=Adam(), clip_norm=1.0), (64,) * 5, "bfloat16", 8,
        0,
    ),
    "three of 64 in tf32": (program(relu, relu), (64,) * 4, "tf32", 4, 0),
    "too many sums": (program(silu, tanh, optimizer=Adam()), (64,) * 4, "tf32", 4, 2),
    "small in tf32": (program(tanh, relu), (5, 20, 33, 3), "tf32", 8, 0),
    "small": (program(tanh, relu), (5, 20, 33, 3), "bfloat16", 8, 0),
    "three of 64 in float32": (program(relu, relu), (64,) * 4, "float32", 8, 0),
}  # fmt: skip
# One for each, so that every architecture meets both precisions; all where there is time.
ARCHITECTURE = {
    "four of 64": "sm_80",
    "seven of 64": "sm_90",
    "much kept": "sm_90a",
    "64 classes, a norm": "sm_90",
    "three of 64 in tf32": "sm_90a",
    "too many sums": "sm_90",
    "small in tf32": "sm_80",
    "small": "sm_90a",
    "three of 64 in float32": "sm_90",
}
# What has too little room on the chip.
LARGE = {name: {"sm_80", "sm_86"} for name in ("seven of 64", "three of 64 in tf32", "too many sums")}
LARGE["three of 64 in float32"] = {"sm_80", "sm_86"}
LARGE["much kept"] = {"sm_80", "sm_86"}  # there it is computed again, and a few registers are spilled: see below
LARGE |= {name: {"sm_86"} for name in ("four of 64", "64 classes, a norm", "small in tf32")}
TARGETS = [
    pytest.param(name, a, marks=[] if a == ARCHITECTURE[name] else [pytest.mark.slow])
    for name in KERNELS
    for a in SHARED
    if a not in LARGE.get(name, ())
]


def _source(name, architecture):
    run_program, widths, precision, warps, parked = KERNELS[name]
    tasks, wished = tasks_of(varied(run_program, widths=widths)), {"warps": warps, "parked": parked}
    return next(fitting(*tasks, precision, SHARED[architecture], wished))


def _frame(log):
    """Return the bytes of its own memory that a thread of the training kernel has, as a device says them."""
    step = log[log.index("'train'") :].split("Compiling")[0]
    return int(re.findall(r"(\d+) bytes stack frame", step)[0])


@pytest.mark.parametrize(("name", "architecture"), TARGETS)
def test_it_compiles_and_nothing_spills(nvrtc, name, architecture):
    cubin, _, log = nvrtc.compiled(_source(name, architecture).text, architecture)
    assert len(cubin) > 10_000
    assert len(re.findall(r"Used \d+ registers", log)) == 5
    assert set(re.findall(r"(\d+) bytes spill (?:stores|loads)", log)) == {"0"}
    assert "local" not in instructions(cubin, "train")
    assert "warning" not in log


def test_what_is_spilled_is_seen(nvrtc):
    """As many registers as a thread may have are not enough for all the sums: ptxas, and the instructions, say so."""
    run_program, widths, *_ = KERNELS["too many sums"]
    tasks, wished = tasks_of(varied(run_program, widths=widths)), {"parked": 0, "at_once": 1, "reloaded": False}
    kept = next(fitting(*tasks, "tf32", SHARED["sm_90"], wished))
    cubin, _, log = nvrtc.compiled(kept.text, "sm_90")
    found = instructions(cubin, "train")
    assert found.count("product") == kept.step.matrix_instructions
    assert _frame(log) > 0
    first, last = found.index("product"), len(found) - found[::-1].index("product")
    assert "local" in found[first:last], "among the products, too"


class Compiler:
    """A device of which only the compiler is there: it says what spills."""

    def __init__(self, nvrtc, architecture):
        self.nvrtc, self.architecture = nvrtc, architecture
        self.properties, self.tried = DeviceProperties(int(architecture[3:5]), SHARED[architecture]), 0

    def describe(self):
        return [self.nvrtc.name, self.architecture]

    def compile(self, source):
        self.cubin, _, self.log = self.nvrtc.compiled(source.text, self.architecture)
        self.tried += 1
        return self

    def local_bytes(self):
        return _frame(self.log)


def bound(run_program, widths, precision, device):
    """Return the source that is chosen on a device."""
    return PersistentExecutable(run_program, Plan("cupy", "cuda:0", precision), device).bind(tuple(widths))[0]


# A typical network, an architecture, the compiler that finds its variant, and how many variants that takes at most.
TRIALS = [
    pytest.param("2-64-64-64-3, sine, Adam", "sm_86", "nvrtc_12", 1, marks=pytest.mark.slow),  # a sine has a frame
    pytest.param("2-64-64-64-3, sine, Adam", "sm_86", "nvrtc", 1, marks=pytest.mark.slow),
    pytest.param("three of 64, relu", "sm_90", "nvrtc_12", 1, marks=pytest.mark.slow),  # a frame that is small
    pytest.param("three of 64, relu", "sm_80", "nvrtc_12", 1),  # which needs registers: left operands are loaded
    pytest.param("8-64-64-1, tanh, Adam", "sm_86", "nvrtc_12", 1),
    pytest.param("2-64-64-3, sine, Adam", "sm_86", "nvrtc_12", 1, marks=pytest.mark.slow),
    pytest.param("four of 64, gelu, Adam, classes", "sm_86", "nvrtc", 1),
    pytest.param("four of 64, gelu, Adam, classes", "sm_86", "nvrtc_12", 1, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "architecture", "compiler", "tried"), TRIALS)
def test_a_small_frame_is_no_reason_to_decline(request, cache, name, architecture, compiler, tried):
    typical, precision = TYPICAL[name]
    device = Compiler(request.getfixturevalue(compiler), architecture)
    bound(typical, typical.widths, precision, device)
    assert 0 < device.local_bytes() <= FRAME
    assert device.tried <= tried


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_any_network_nearly_keeps_to_registers_or_is_declined(nvrtc, cache, seed):
    random = Random(seed)
    count = random.randint(2, 7)
    widths = [[random.choice([16, 32, 48, 64])] * count, [random.randint(1, 64) for _ in range(count)]][seed % 2]
    functions = random.choice([ACTIVATIONS, [random.choice(ACTIVATIONS)]])
    run_program = program(
        *(random.choice(functions) for _ in widths[2:]),
        loss=random.choice([losses.sse, losses.cross_entropy]),
        optimizer=random.choice([SGD(), Adam()]),
        bias=random.random() < 0.8,
        widths=widths,
    )
    architecture, precision = random.choice(list(SHARED)), random.choice(list(INSTRUCTION))
    device = Compiler(nvrtc, architecture)
    if applies(run_program, widths, precision, device.properties) is not None:
        return
    declined = ""
    try:
        bound(run_program, widths, precision, device)
    except ScheduleError as error:
        declined = str(error)
    assert (device.local_bytes() > FRAME) == ("however it was compiled, a thread spills" in declined)


@pytest.mark.parametrize(
    "name", ["four of 64", "three of 64 in tf32", "too many sums", "small", "three of 64 in float32"]
)
def test_the_matrix_instructions_are_those_meant(nvrtc, name):
    architecture = ARCHITECTURE[name]
    source = _source(name, architecture)
    entries = nvrtc.compiled(source.text, architecture).ptx.split(".entry ")
    counts = {entry.split("(")[0].strip(): entry.count("mma.sync") for entry in entries[1:]}
    assert counts["train"] == source.step.matrix_instructions
    assert counts["predict"] == source.predict.matrix_instructions
    assert counts["round_weights"] == counts["round_inputs"] == 0
    meant = INSTRUCTION[KERNELS[name][2]]
    assert sum(entry.count(meant) for entry in entries) == counts["train"] + counts["predict"]
