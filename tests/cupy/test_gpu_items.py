"""The items of the script for machines with a GPU, on the stand-in: figures of no device, but of work that was done."""

import json
import os

import numpy as np
import pytest
import standin
from gdkernels_cupy import CuPyBackend, choice
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.graphs.epilogue_fusion import applicable
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from host_runs import OnHost
from persistent_twin import TwinDevice

from benchmarks.gpu import (
    costs,
    deadline,
    device,
    first,
    float32,
    interleaving,
    kernels,
    least_squares,
    many_models,
)
from benchmarks.gpu.cases import GRID, GPUCase
from benchmarks.gpu.parts import PARTS
from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.checking.check import SelfCheck
from gdkernels.testing.cases import varied


def test_the_first_minutes(host, monkeypatch):
    believed = first.epilogues_believed()
    assert set(believed) == {"float64", "float32", "tf32", "bfloat16"}
    assert believed["float32"] == {"right": list(applicable("float32")), "but for NaN": []}
    assert believed["bfloat16"]["right"] == ["bias", "relu", "bias rows", "drelu", "gelu", "sums", "update"]
    for name in ("norm of a clipped gradient", "computed weights, everything"):
        off = first.step_against_interpreter(name, "bfloat16")
        assert set(off) >= {"the loss", "W0", "b2", "W0.0"}
        assert max(off.values()) < 1e-3
    monkeypatch.setattr(first, "_TIMES", 3)
    assert first.repeats("adam", "float32") == 0


def test_the_persistent_kernel_is_compared_whatever_is_kept(host, monkeypatch):
    seen = []
    monkeypatch.setattr(SelfCheck, "problem", lambda *given: seen.append(os.environ["GDKERNELS_CHECK"]))
    found = first.persistent_kernel()
    assert set(found) == {"tf32", "bfloat16"}
    assert all("it needs compute capability 8.0, the device has 7.5" in words for words in found.values())
    assert set(seen) == {"always"}
    assert os.environ["GDKERNELS_CHECK"] == "never", "as before"


def test_the_proof_of_the_kernel_in_float32(host, made, monkeypatch):
    def with_fault(before, after):
        def change(text):
            assert before in text
            return text.replace(before, after)

        monkeypatch.setattr(float32, "_device", lambda: TwinDevice(made, change=change))

    monkeypatch.setattr(float32, "_RECORDS", 90)
    monkeypatch.setattr(float32, "_BATCH", 70)
    monkeypatch.setitem(float32.NETWORKS, "64 wide", float32.NETWORKS["everything"])
    monkeypatch.setattr(float32, "_device", lambda: TwinDevice(made))
    assert 0 < float32.agrees("everything")["largest error"] < 1e-5
    monkeypatch.setattr(float32, "_TIMES", 2)
    assert float32.same_bits() == "2 runs"
    assert float32.beyond("an infinite input") == "as in float32"
    with_fault("mma(fresh, a.low,", "mma(fresh, a.high,")
    with pytest.raises(AssertionError, match="further from float64 than float32 explains"):
        float32.agrees("everything")
    with_fault("nothing != 0.f", "false")
    with pytest.raises(AssertionError, match="infinite or NaN in other places|is off by"):
        float32.beyond("an infinite input")


def test_many_models_are_compared_and_timed(host, made, monkeypatch):
    monkeypatch.setattr(SelfCheck, "problem", lambda *given: None)
    monkeypatch.setattr(choice, "CudaLaunchDevice", lambda number: TwinDevice(made))
    monkeypatch.setattr(choice, "properties_of", lambda number: DeviceProperties(90, 232448))
    for name, value in {"_NETWORKS": ("8-32-32-1, relu",), "_RECORDS": 40, "_EPOCHS": 1}.items():
        monkeypatch.setattr(many_models, name, value)
    (said,) = many_models.agree("tf32", models=3, times=1).values()
    assert said.startswith("3 models, 1 times: {'many': True, 'kernel': 'narrow'")
    monkeypatch.setattr("benchmarks.many.task.RECORDS", 20)
    task = many_models.Task(((8, 32, 32, 1),) * 2, 8, 1)
    found = many_models._executables(task, "tf32", {"many": True}, 1)
    assert found["samples a second"] > 0
    assert found["choices"]["ctas"] == 1
    monkeypatch.setattr("gdkernels_cupy.beside.unproven", lambda *given: "as planted")
    with pytest.raises(AssertionError, match=r"no CTA has one of its own \(as planted\)"):
        many_models.agree("tf32", models=2, times=1)
    monkeypatch.setattr(many_models, "_LARGER", {"relu": many_models.TYPICAL["8-32-32-1, relu"][0]})
    (said,) = many_models.batches_agree("tf32", models=3, times=1).values()
    assert "from fits alone: {'many': True, 'kernel': 'batches'" in said
    assert many_models._executables(task, "tf32", many_models._WAYS["a batch"], 1)["choices"]["kernel"] == "batches"


def test_least_squares_are_compared_and_timed(host):
    wide = type("Wide", (OnHost,), {"precisions": ("float32", "float64")})()
    off = least_squares.agree("embedding", "float64", records=40, backend=wide)
    assert list(off) == ["error", "gradient", "JᵀJ"]
    found = least_squares.speed("301", records=100, backend=wide)
    assert found["JᵀJ, compiled: flops a second"] > 0
    assert found["a system on the host: seconds"] > 0


def test_a_step_under_the_sanitizer_is_an_epoch_by_the_kernel_that_is_meant(host):
    assert first.a_step("relu-sse", "float32", "graphs")["kernel"] == "graphs"
    for kernel in ("narrow", "many"):  # which this device has not
        with pytest.raises(AssertionError, match="another kernel ran"):
            first.a_step("relu-sse", "bfloat16", kernel)


@pytest.mark.parametrize("code", [0, 9])
def test_the_sanitizer_reads_each_kernel_with_each_tool(monkeypatch, tmp_path, code):
    tool, said = tmp_path / "compute-sanitizer", tmp_path / "said"
    tool.write_text(f'#!/bin/sh\necho "$GDKERNELS_PATIENT_BARRIERS $@" > {said}\necho out of bounds\nexit {code}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if code:
        with pytest.raises(AssertionError, match="out of bounds"):
            first.sanitized("racecheck", "relu-sse", "bfloat16", "narrow")
    else:
        assert first.sanitized("racecheck", "relu-sse", "bfloat16", "narrow") == "no errors"
    assert said.read_text().startswith("1 --tool racecheck --error-exitcode 9 ")
    assert "a_step as s; s('relu-sse', 'bfloat16', 'narrow')" in said.read_text()
    items = PARTS["compute-sanitizer"]
    for name in first.TOOLS:
        assert any(item.startswith(f"{name} on") and item.endswith("by narrow") for item in items)
        assert any(item.startswith(f"{name} on") and item.endswith("by graphs") for item in items)


def test_without_a_sanitizer_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert first.sanitized("memcheck", "adam", "float32", "graphs") == "compute-sanitizer is not installed"


@pytest.mark.slow
def test_the_table_of_kernels_has_a_row_for_each_compiler_or_says_why_not(monkeypatch, tmp_path):
    pathfinder = pytest.importorskip("cuda.pathfinder", reason="it finds NVRTC")
    try:
        library = pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path
    except Exception as error:
        pytest.skip(f"NVRTC is not found: {error}")
    narrow = kernels.TYPICAL["20-48-32-3, relu, Adam"]
    monkeypatch.setattr(kernels, "ARCHITECTURES", {90: 232448, 120: 9000})
    monkeypatch.setattr(kernels, "TYPICAL", {"small": narrow})
    monkeypatch.setattr(kernels, "_GRAPHS", {"small": varied(narrow[0], widths=(8, 8, 8, 3))})
    out = tmp_path / "kernels.md"
    assert kernels.main([library, library, "--out", str(out)]) == 0
    rows = [line.split(" | ") for line in out.read_text().splitlines() if line.startswith(("| graphs", "| persistent"))]
    assert len(rows) == 2 * 2 * (3 + 1), "three precisions and a kernel, by two compilers"
    declined = [row for row in rows if row[3].startswith("declined:")]
    assert [row[1] for row in declined] == ["sm_120"] * 2, "one does not fit"
    taken = [row for row in rows if row[0].startswith("| persistent") and row not in declined]
    assert [(row[3], row[4].split(" in ")[0]) for row in taken] == [("8 warps", "1")] * 2
    measured = [list(map(int, (cell.strip(" |") for cell in row[5:]))) for row in rows if row not in declined]
    assert all(8 < registers <= 255 and spilled == 0 for registers, _, spilled, _ in measured)
    assert max(shared for *_, shared in measured) > 20_000
    kept = json.loads(out.with_suffix(".json").read_text())
    assert len(kept) == 2 * 3 + 1, "each text and architecture once, as both compilers are one"

    def compiles(self, text, capability):
        seen.append(capability)
        return compile_right(self, text, capability)

    compile_right, seen, before = kernels.Compiler.compile, [], out.read_text()
    monkeypatch.setattr(kernels.Compiler, "compile", compiles)
    assert kernels.main([library, library, "--out", str(out)]) == 0
    assert (out.read_text(), seen) == (before, []), "what is known is not compiled again"
    changed = kernels.TYPICAL["small"][0], "float32"
    monkeypatch.setattr(kernels, "TYPICAL", {"small": changed})
    out.with_suffix(".json").write_text("{ cut off")
    monkeypatch.setattr(kernels, "ARCHITECTURES", {90: 232448})
    assert kernels.main([library, "--out", str(out)]) == 0
    assert (seen, len(json.loads(out.with_suffix(".json").read_text()))) == ([90] * 4, 4)


def test_the_costs(host, monkeypatch):
    assert costs.copy_bandwidth(1 << 18)["bytes a second"] > 0
    operands, multiply = [], host.multiply

    def seen(*given):
        operands.extend(standin.matrix(layout, at) for layout, at in zip(given[2][:2], given[3][:2], strict=True))
        multiply(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cublaslt, "matmul", seen)
        for precision in ("tf32", "bfloat16"):
            assert costs.product_rate(precision, 64)["flops a second"] > 0
    assert all(len(np.unique(standin.numbers(a))) > 500 for a in operands), "zeros take less power"
    nodes = costs.graph_nodes((1, 3), launches=2)
    assert {kind: list(found) for kind, found in nodes.items()} == {"kernel": ["1", "3"], "product of 64": ["1", "3"]}
    monkeypatch.setattr(
        "gdkernels_cupy.graphs.probe.trusted_epilogues", lambda number, precision: ("bias", "gelu", "update")
    )
    found = costs.epilogues(GPUCase(8, 16, "float32"))
    assert set(found) == {"none", "all but bias", "all but update", "all"}
    assert all(seconds > 0 for seconds in found.values())


def test_the_machine_is_described(host):
    found = device.describe()
    assert (found["device"], found["capability"]) == ("the host", "7.0")
    assert {"gdkernels", "numpy"} <= set(found["versions"])


def test_the_grid_is_that_of_the_question():
    assert [(r.width, r.batch, r.precision) for r in GRID[:4]] == [
        (64, 1024, "bfloat16"),
        (64, 16384, "bfloat16"),
        (64, 262144, "bfloat16"),
        (128, 262144, "bfloat16"),
    ]
    assert len(GRID) == 16
    assert {r.precision for r in GRID if r.width == 64} == {"bfloat16", "float32"}
    row = GPUCase(64, 1 << 14, "bfloat16")
    assert row.flops == 6 * row.batch * 64**2 * 4 - 2 * row.batch * 64**2


class Racer:
    """A participant in this process that has an answer for as long as anybody waits for one."""

    clock = 0.0

    def __init__(self, name, patience):
        self.takes, self.patience = {"hangs": 1000.0, "slow": 6.0, "quick": 1.0}[name], patience

    def take(self, seconds):
        waited = min(seconds, self.patience())
        Racer.clock += waited
        if waited < seconds:
            raise ParticipantError("its process did not answer in time")

    def moved(self, task):
        self.take(self.takes)
        return {"W0": np.ones(3)}

    def steps_seconds(self, seconds):
        self.take(seconds)
        return 1e-3

    def plan(self):
        return {}

    def close(self):
        pass


def test_a_participant_that_hangs_does_not_take_the_times_of_the_others(monkeypatch):
    monkeypatch.setattr(Racer, "clock", 0.0)
    monkeypatch.setattr(deadline, "_ends", [100.0])
    monkeypatch.setattr(deadline.time, "monotonic", lambda: Racer.clock)
    monkeypatch.setattr(interleaving, "_process", lambda name, precision, patience: Racer(name, patience))
    monkeypatch.setattr(interleaving, "_moved", Racer.moved)
    monkeypatch.setattr(interleaving, "_reference", lambda task: {"W0": np.ones(3)})
    names = ["quick", "hangs", "slow"]
    found = interleaving.compare(GPUCase(8, 16, "float32"), names, seconds=0.25)["contenders"]
    assert found["hangs"] == {"skipped": "its process did not answer in time"}
    assert [len(found[name]["seconds of a step"]) for name in ("quick", "slow")] == [7, 7]
    assert found["slow"]["median"] == 1e-3
    Racer.clock, deadline._ends[:] = 0.0, [22.0]
    late = interleaving.compare(GPUCase(8, 16, "float32"), ["quick"], seconds=5.0)["contenders"]["quick"]
    assert late["seconds of a step"] == [1e-3] * 2, "a round that would not end in time does not begin"
    assert Racer.clock < 22.0


def test_participants_take_turns_and_are_compared_with_float64():
    pytest.importorskip("jax")
    found = interleaving.compare(GPUCase(8, 16, "float32"), ["jax jit + scan", "gdkernels"], rounds=2, seconds=0.001)
    assert found["flops of a step"] == GPUCase(8, 16, "float32").flops
    jax = found["contenders"]["jax jit + scan"]
    assert jax["error"] < 1e-4
    assert len(jax["seconds of a step"]) == 2
    if CuPyBackend().unavailable() is None:
        assert found["contenders"]["gdkernels"]["error"] < 1e-4
    else:
        assert "skipped" in found["contenders"]["gdkernels"]
