"""Each kind of narrow kernel compiles by NVRTC for each architecture, spills nothing, multiplies as often as meant."""

import re

import pytest
from gdkernels_cupy.narrow.shape import FORMATS
from gdkernels_cupy.narrow.source import write_source
from gdkernels_cupy.tasks import prediction_of, training_of
from narrow_runs import program
from nvrtc_compiler import compiled

from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import Adam

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
