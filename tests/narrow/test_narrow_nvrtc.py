"""Each kind of narrow kernel compiles by NVRTC for each architecture, spills nothing, multiplies as often as meant."""

import re
from random import Random

import pytest
from gdkernels_cupy.narrow import NarrowExecutable, Properties
from gdkernels_cupy.narrow.shape import FORMATS
from gdkernels_cupy.narrow.source import write_source
from gdkernels_cupy.tasks import prediction_of, training_of
from narrow_runs import program
from nvrtc_compiler import compiled, instructions

from gdkernels.backend import Plan
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.graph.steps import ScheduleError

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu
INSTRUCTION = {
    "bfloat16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16",
    "tf32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32",
}
SHARED = {"sm_80": 166912, "sm_90": 232448, "sm_90a": 232448}

# name: program, widths, precision, warps
KERNELS = {
    "four of 64": (program(relu, relu, relu), (64,) * 5, "bfloat16", 8),
    "seven of 64": (program(*[relu] * 6), (64,) * 8, "bfloat16", 8),
    "much kept": (program(gelu, gelu, gelu), (64,) * 5, "bfloat16", 4),
    "64 classes, a norm": (
        program(relu, relu, relu, loss=losses.cross_entropy, optimizer=Adam(), clip_norm=1.0), (64,) * 5, "bfloat16", 8,
    ),
    "three of 64 in tf32": (program(relu, relu), (64,) * 4, "tf32", 4),
    "small": (program(tanh, relu), (5, 20, 33, 3), "bfloat16", 8),
    "small in tf32": (program(tanh, relu), (5, 20, 33, 3), "tf32", 8),
}  # fmt: skip
TARGETS = [("four of 64", "sm_80"), ("four of 64", "sm_90a"), *((name, "sm_90") for name in KERNELS)]


def _source(name, architecture):
    run_program, widths, precision, warps = KERNELS[name]
    sizes = {f"n{k}": n for k, n in enumerate(widths)}
    step, prediction = training_of(run_program), prediction_of(run_program)
    return write_source(step, prediction, sizes, FORMATS[precision], warps, SHARED[architecture])


@pytest.mark.parametrize(("name", "architecture"), TARGETS)
def test_it_compiles_and_nothing_spills(nvrtc, name, architecture):
    made = compiled(nvrtc, _source(name, architecture).text, architecture, "--ptxas-options=-v")
    log = nvrtc.getProgramLog(made)
    assert len(nvrtc.getCUBIN(made)) > 10_000
    assert len(re.findall(r"Used \d+ registers", log)) == 4
    assert set(re.findall(r"(\d+) bytes spill (?:stores|loads)", log)) == {"0"}
    assert "warning" not in log


class Compiler:
    """A device of which only the compiler is there: it says what spills."""

    def __init__(self, nvrtc, architecture):
        self.nvrtc, self.architecture = nvrtc, architecture
        self.properties = Properties(int(architecture[3:5]), SHARED[architecture])

    def compile(self, source):
        made = compiled(self.nvrtc, source.text, self.architecture, "--ptxas-options=-v")
        self.log, self.cubin = self.nvrtc.getProgramLog(made), self.nvrtc.getCUBIN(made)
        return self

    def local_bytes(self):
        step = self.log[self.log.index("'train'") :].split("Compiling")[0]
        return max(int(n) for n in re.findall(r"(\d+) bytes spill", step))


def _among_products(cubin):
    """Return how often memory of a thread's own is used between the first product of a tile and the last."""
    found = instructions(cubin, "train")
    last = len(found) - found[::-1].index("product")
    return found[found.index("product") : last].count("local")


def test_what_is_spilled_is_seen(nvrtc):
    source = _source("four of 64", "sm_90")
    made = compiled(nvrtc, source.text, "sm_90")
    assert instructions(nvrtc.getCUBIN(made), "train").count("product") == source.step.matrix_instructions
    assert _among_products(nvrtc.getCUBIN(made)) == 0
    bounded = source.text.replace("__launch_bounds__(32 * WARPS, 1)", "__launch_bounds__(32 * WARPS, 3)")
    assert _among_products(nvrtc.getCUBIN(compiled(nvrtc, bounded, "sm_90"))) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_any_network_keeps_its_products_free_of_spills(nvrtc, seed):
    """What is spilled, if anything is, is spilled before a step's first product or after its last."""
    random = Random(seed)
    count = random.randint(2, 6)
    widths = [random.randint(1, 64) for _ in range(count)] if seed % 2 else [random.choice([16, 32, 48, 64])] * count
    run_program = program(
        *(random.choice([relu, tanh, gelu, activations.silu, activations.elu]) for _ in widths[2:]),
        loss=random.choice([losses.sse, losses.cross_entropy]),
        optimizer=random.choice([SGD(), Adam()]),
        bias=random.random() < 0.8,
    )
    machine = Compiler(nvrtc, random.choice(list(SHARED)))
    executable = NarrowExecutable(run_program, Plan("cupy", "cuda:0", random.choice(list(INSTRUCTION))), machine)
    try:
        _, kernels = executable.bind(tuple(widths))
    except ScheduleError:
        return
    assert _among_products(kernels.cubin) == 0


@pytest.mark.parametrize("name", ["four of 64", "three of 64 in tf32", "small"])
def test_the_matrix_instructions_are_those_meant(nvrtc, name):
    source = _source(name, "sm_90")
    ptx = nvrtc.getPTX(compiled(nvrtc, source.text, "compute_90"))
    entries = (ptx.decode() if isinstance(ptx, bytes) else ptx).split(".entry ")
    counts = {entry.split("(")[0].strip(): entry.count("mma.sync") for entry in entries[1:]}
    assert counts["train"] == source.step.matrix_instructions
    assert counts["predict"] == source.predict.matrix_instructions
    assert counts["round_weights"] == counts["round_inputs"] == 0
    meant = INSTRUCTION[KERNELS[name][2]]
    assert sum(entry.count(meant) for entry in entries) == counts["train"] + counts["predict"]
