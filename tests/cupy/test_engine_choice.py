"""The choice of the persistent kernel for narrow networks, and the checks that keep a wrong one from being used."""

import logging
import re
import types

import pytest
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.persistent import proof
from host_runs import OnHost, Run, in_pinned_memory
from persistent_twin import TwinDevice, TwinKernels

from gdkernels.backend import verification
from gdkernels.dispatch import choosing
from gdkernels.dispatch.explanation import Explanation
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError
from gdkernels.testing.cases import CASES, data_of


def persistent_run(**choices):
    return Run("relu-sse", "bfloat16", **choices)


def test_narrow_networks_go_to_the_persistent_kernel(host, hopper):
    run, graphs = persistent_run(), persistent_run(kernel="graphs")
    losses = [r.epoch()[0] for r in (run, graphs)]
    assert run.executable.plan.choices["kernel"] == "narrow"
    assert graphs.executable.plan.choices["kernel"] == "graphs"
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    arrays = [dict(verification.named_arrays(r.state)) for r in (run, graphs)]
    assert all(verification.relative_error(arrays[0][name], arrays[1][name]) < 1e-2 for name in arrays[0])
    assert run.executable.workspace(8) > 0


@pytest.mark.parametrize(("name", "precision"), [("wide", "bfloat16"), ("relu-sse", "float32")])
def test_others_go_to_graphs(host, hopper, name, precision):
    run = Run(name, precision)
    run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_float32_takes_the_persistent_kernel_where_it_is_proven_and_says_so(host, hopper, monkeypatch):
    def run():
        run = Run("relu-sse", "float32")
        found = run.epoch()[0]
        return run.executable.plan.choices["kernel"], run.executable.remark, found

    kernel, remark, by_graphs = run()
    assert kernel == "graphs"
    assert "not the persistent kernel: in float32 it is used only where it has been measured, and on the host" in remark
    assert "`python -m benchmarks.gpu --part 1`" in remark
    proof.keep_proof(0)
    kernel, remark, by_kernel = run()
    assert kernel == "narrow"
    assert re.fullmatch(r"the persistent kernel runs it, measured on such a device on \d{4}-\d\d-\d\d", remark)
    assert by_kernel == pytest.approx(by_graphs, rel=1e-5)
    told = dict(proof.describe(0))
    for what in ("device", "driver", "nvrtc"):
        monkeypatch.setattr(proof, "describe", lambda number, other=what: {**told, other: "another"})
        assert run()[0] == "graphs", f"another {what}"
    monkeypatch.setattr(proof, "describe", lambda number: told)
    assert run()[0] == "narrow"
    monkeypatch.setattr(proof, "source_version", lambda: "another")
    assert run()[0] == "graphs"
    assert Run("relu-sse", "float32", kernel="narrow").executable.why((5, 7, 6, 3)).startswith("CUDA graphs run it")


def test_of_wide_networks_nothing_has_to_be_said(host, hopper):
    assert Run("wide", "float32").executable.remark == ""


@pytest.mark.parametrize(("choices", "level"), [({}, "INFO"), ({"kernel": "narrow"}, "WARNING")])
def test_a_network_whose_kernels_all_spill_goes_to_graphs_which_is_said(
    host, hopper, monkeypatch, caplog, choices, level
):
    """A plan that names the other kernel cannot be repeated: that is a warning."""
    right, spilling = hopper.CudaLaunchDevice(0), types.SimpleNamespace(local_bytes=lambda: 624)
    compile_right, widths = right.compile, CASES["relu-sse"].widths

    def compiled(source):
        return spilling if set(source.predict.sizes.values()) == set(widths) else compile_right(source)

    monkeypatch.setattr(right, "compile", compiled)
    monkeypatch.setattr(hopper, "CudaLaunchDevice", lambda number: right)
    run = persistent_run(**choices)
    with caplog.at_level("INFO", "gdkernels"):
        run.epoch()
        run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "persistent" in r.getMessage()]
    why = "CUDA graphs run it, not the persistent kernel: however it was compiled, a thread spills 624"
    assert [name for name, _ in said] == [level]
    assert why in said[0][1]


def test_more_records_than_it_numbers_go_to_graphs(host, hopper, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.choice._MOST_RECORDS", len(data_of(CASES["relu-sse"]).x) - 1)
    run = persistent_run()
    run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"


@pytest.mark.parametrize(
    ("precision", "why"),
    [
        ("bfloat16", "on cuda:0, the persistent kernel runs it"),
        (
            "float32",
            "on cuda:0, CUDA graphs run it, not the persistent kernel: in float32 it is used only where it has been",
        ),
    ],
)
def test_explain_says_which_engine_runs_a_network(host, hopper, monkeypatch, precision, why):
    choice = choosing.Choice(OnHost(), "cuda:0", "as asked for")
    monkeypatch.setattr(choosing, "decide", lambda *given: (choice, None))
    case = CASES["relu-sse"]
    told = Explanation("cupy", "cuda:0", precision, Workload(case.program, 8, 100))
    assert told.as_text().splitlines()[-1].startswith(why)
    assert told.as_dict()["why"] in told.as_text()


def test_streamed_data_goes_to_graphs(host, hopper, monkeypatch):
    run = in_pinned_memory(host, monkeypatch, "relu-sse", "bfloat16")
    run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_where_rounded_inputs_do_not_fit_graphs_run(host, hopper, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.graphs.memory_plan._MARGIN", 0)
    first = persistent_run()
    first.epoch()
    need = first.executable._last.bytes_for(first.case.widths, len(first.x), 8, 3)
    assert need > first.executable.workspace(8) + 2 * 16 * len(first.x)
    for free, kernel in ((need, "narrow"), (need - 1, "graphs")):
        monkeypatch.setattr("gdkernels_cupy.choice._free_on", lambda number, free=free: free)
        run = persistent_run()
        run.epoch()
        assert run.executable.plan.choices["kernel"] == kernel


# ---- the check of the persistent kernel


@pytest.fixture
def checked(host, hopper, monkeypatch):
    monkeypatch.delenv("GDKERNELS_CHECK")
    return hopper


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_a_persistent_kernel_that_is_right_is_used(checked, caplog, precision):
    run = Run("relu-sse", precision)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert caplog.text == ""
    assert run.executable.plan.choices["kernel"] == "narrow"


def test_a_persistent_kernel_that_fails_here_is_not_used(checked, monkeypatch, caplog):
    def broken(number):
        raise BackendError("as planted")

    monkeypatch.setattr(checked, "CudaLaunchDevice", broken)
    with caplog.at_level(logging.INFO, "gdkernels"):
        run = persistent_run()
        run.epoch()
    assert "CUDA graphs run it, not the persistent kernel: as planted" in caplog.text
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_a_launch_that_fails_here_is_not_repeated(checked, monkeypatch, caplog):
    right = checked.CudaLaunchDevice(0)

    def refused(self, name, *given, **options):
        raise BackendError("cooperative launches are not available")

    monkeypatch.setattr(TwinKernels, "launch", refused)
    monkeypatch.setattr(checked, "CudaLaunchDevice", lambda number: right)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = persistent_run()
        run.epoch()
    assert "is not used for 5-7-6-3 in bfloat16 on cuda:0: it fails here (cooperative launches" in caplog.text
    assert run.executable.plan.choices["kernel"] == "graphs"


# Faults that a CTA with one tile, or a grid with one CTA, does not have.
PLANTED = {
    "inputs that were fetched ahead are not those of the next tile": ("second = !second;", ""),
    "sums over CTAs leave out the last": ("long long stride) {", "long long stride) { count -= count > 1;"),
    "a gradient counts a tenth of one CTA twice": (
        "float sum = 0.f;\n#pragma unroll 16",
        "float sum = 0.1f * load_global(first);\n#pragma unroll 16",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_persistent_kernel_that_is_wrong_here_is_not_used(checked, made, monkeypatch, caplog, what):
    before, after = PLANTED[what]

    def change(text):
        assert before in text
        return text.replace(before, after)

    monkeypatch.setattr(checked, "CudaLaunchDevice", lambda number: TwinDevice(made, change=change))
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = persistent_run()
        run.epoch()
        run.epoch()
    assert caplog.text.count("the persistent kernel is not used for 5-7-6-3 in bfloat16 on cuda:0") == 1
    assert "after 2 steps" in caplog.text
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_the_check_has_several_tiles_for_few_ctas_and_then_all(checked, made):
    run = persistent_run()
    run.epoch()
    (few, usual), batch = run.executable._last.to_check(run.case.widths)
    assert few._wished["ctas"] == 2
    assert usual is run.executable._last
    assert batch == 5 * 16 * run.executable.plan.choices["warps"]


def test_where_memory_for_the_persistent_kernel_runs_out_graphs_go_on(host, hopper, made, monkeypatch, caplog):
    device = TwinDevice(made)

    def full(count, dtype):
        raise DeviceMemoryError("no room for an image")

    device.zeros = full
    monkeypatch.setattr(hopper, "CudaLaunchDevice", lambda number: device)
    run = persistent_run()
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert "CUDA graphs run this epoch: no room for an image" in caplog.text
    assert run.executable.plan.choices["kernel"] == "graphs"
