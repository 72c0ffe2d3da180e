"""The GPU executor without a GPU: its arguments, descriptors and graphs, carried out on the host."""

import logging
import types
from dataclasses import replace

import numpy as np
import pytest
import standin
from few_cases import FEW_CASES
from gdkernels_cupy import CuPyBackend
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.graphs import captured_graphs, session
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from host_cupy import CaptureError
from host_runs import OnHost, Run

from gdkernels.backend import Plan, verification
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import BackendError, InputError
from gdkernels.testing import BackendConformance
from gdkernels.testing.cases import CASES, compare, on_backend, on_numpy_once, varied


@pytest.fixture
def every_epilogue(host, monkeypatch):
    """Keep every trusted epilogue, as the choice by a clock without noise does, which is tested elsewhere."""
    monkeypatch.setattr("gdkernels_cupy.graphs.session_maker.chosen", lambda trusted, seconds: trusted)


class TestExecutable(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self, every_epilogue):
        return OnHost()

    @pytest.mark.parametrize("name", FEW_CASES)
    def test_training_is_the_definition(self, backend, device, name):
        super().test_training_is_the_definition(backend, device, name)


@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("name", ["wide", "everything", "relu-sse", "softmax-cross_entropy"])
def test_the_other_precisions(every_epilogue, precision, name):
    found = on_backend(OnHost(), "cuda:0", precision, CASES[name], 1)
    own, wanted = (on_numpy_once(CASES[name], p, 1) for p in (precision, "float64"))
    compare(found, own, wanted, precision)


# ---- graphs


def test_an_epoch_is_a_few_graphs(host, monkeypatch):
    monkeypatch.setattr(captured_graphs, "MOST_NODES", 100)
    monkeypatch.setattr(session, "MOST_NODES", 100)
    run = Run("adam", epilogues=EPILOGUES)
    run.case = replace(run.case, batch_size=1)
    first = run.epoch()
    graphs = host.graphs
    assert 2 <= graphs <= 3, "of many steps, of what is left, and of a smaller last batch"
    run.state = run.start()
    assert run.epoch() == first
    assert host.graphs == graphs, "what is captured is launched again, with other arrays and rates"


def test_a_last_batch_of_another_size_makes_nothing_anew(host):
    run, graphs = Run("adam", epilogues=EPILOGUES), []
    for records in (23, 21) * 4:
        before = host.graphs
        run.state = run.start()
        found = run.epoch(records)
        graphs.append(host.graphs - before)
        alone = Run("adam", epilogues=EPILOGUES)
        captured = host.graphs
        assert alone.epoch(records) == found
        assert alone.bits == run.bits
        host.graphs = captured
    assert graphs[0] > 0
    assert graphs[1:] == [0, 0, 0, 0, 1, 0, 0], "only a last batch that comes a third time is worth a graph"


def test_few_sizes_of_a_last_batch_are_kept(host, monkeypatch):
    monkeypatch.setattr(session, "_KEPT_RESTS", 2)
    run = Run("adam", epilogues=EPILOGUES)
    for records in range(17, 24):
        run.epoch(records)
    (kept,) = run.executable._graphs._sessions.values()
    assert list(kept._steps) == [8, 5, 6, 7]


def test_a_last_batch_of_one_record_has_the_numbers_of_the_others(host):
    """It cannot be split as a full batch is: what it could then do itself needs numbers that the others have not."""
    case = CASES["wide"]
    runs = [
        Run("wide", program=replace(case.program, optimizer=SGD()), epilogues=EPILOGUES, micro_batches=parts)
        for parts in (1, 2)
    ]
    records = case.batch_size + 1
    assert records <= len(runs[0].x)
    losses = [run.epoch(records)[0] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    arrays = [dict(verification.named_arrays(run.state)) for run in runs]
    for name in arrays[0]:
        assert verification.relative_error(arrays[1][name], arrays[0][name]) < 1e-5, name


def test_parts_are_all_the_steps():
    for count in range(1, 60):
        for nodes in (1, 40, 1000, 5000):
            parts = captured_graphs.CapturedGraphs.parts(count, nodes)
            assert sum(size * times for size, times in parts) == count
            assert all(size * nodes <= max(nodes, captured_graphs.MOST_NODES) for size, _ in parts)


def test_capturing_refuses_what_cuda_refuses(host):
    host.captured = []
    with pytest.raises(CaptureError):
        host.cupy.cuda.alloc(8)
    with pytest.raises(CaptureError):
        host.cupy.asarray(np.ones(2))


# ---- plans


def test_a_plan_says_what_was_chosen_and_repeats_it(host):
    run = Run("wide", program=replace(CASES["wide"].program, optimizer=SGD()))
    run.epoch()
    choices = run.executable.plan.choices
    assert choices["epilogues"] == EPILOGUES
    assert choices["micro_batches"] == 1
    assert len(choices["algorithms"]) >= 6
    again = Run("wide", program=run.case.program, **choices)
    again.epoch()
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan


@pytest.mark.parametrize("foreign", ["ff" * 64, "ff", "of another file", 1])
def test_an_algorithm_of_another_device_is_not_run(host, caplog, foreign):
    run = Run("adam", epilogues=EPILOGUES)
    run.epoch()
    choices = dict(run.executable.plan.choices)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        again = Run("adam", **choices | {"algorithms": dict.fromkeys(choices["algorithms"], foreign)})
        again.epoch()
    assert "is none of cuda:0: another is taken, and bits may differ" in caplog.text
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan


def test_an_epilogue_that_swallows_nan_is_not_used(host, monkeypatch):
    import standin
    from gdkernels_cupy.cuda import cublaslt

    def swallowing(*given):
        standin.matmul(*given)
        out = standin.matrix(given[2][2], given[3][2])
        if given[1][cublaslt.DescriptorAttribute.EPILOGUE] & 2 and out.dtype != np.uint16:
            np.nan_to_num(out, copy=False)

    monkeypatch.setattr(cublaslt, "matmul", lambda *given: host.execute(lambda: swallowing(*given)))
    run = Run("wide")
    run.epoch()
    assert "relu" not in run.executable.plan.choices["epilogues"]
    assert "update" in run.executable.plan.choices["epilogues"]


def test_what_cublas_has_not_is_done_otherwise(host, monkeypatch):
    import standin
    from gdkernels_cupy.cuda import cublaslt

    def choosy(handle, descriptor, layouts, workspace, count=8):
        wide = layouts[2][cublaslt.LayoutAttribute.ROWS] > 100
        masked = descriptor[cublaslt.DescriptorAttribute.EPILOGUE] & 128
        return [] if wide and masked else standin.algorithms(handle, descriptor, layouts, workspace)

    monkeypatch.setattr(cublaslt, "algorithms", choosy)
    run = Run("wide")
    run.epoch()
    assert "drelu" not in run.executable.plan.choices["epilogues"]  # and relu then needs no mask


def refusing(host, monkeypatch, refused, status):
    """Let cublasLt refuse to run some epilogues, of results of some size, that its heuristic offers."""

    def matmul(*given):
        epilogue = given[1][cublaslt.DescriptorAttribute.EPILOGUE]
        if refused(epilogue, given[2][2][cublaslt.LayoutAttribute.ROWS]):
            raise cublaslt.CublasLtError("cublasLtMatmul: as planted", status)
        host.multiply(*given)

    monkeypatch.setattr(cublaslt, "matmul", matmul)


GELU = (activations.gelu, activations.gelu, activations.identity)


@pytest.mark.parametrize("status", [cublaslt.NOT_SUPPORTED, 14])
def test_an_epilogue_that_cublas_refuses_to_run_is_done_otherwise(host, monkeypatch, caplog, status):
    refusing(host, monkeypatch, lambda epilogue, rows: epilogue & standin.GELU, status)
    run = Run("wide", program=varied(CASES["wide"].program, activations=GELU))
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert {"gelu", "dgelu"}.isdisjoint(run.executable.plan.choices["epilogues"])
    assert "relu" in run.executable.plan.choices["epilogues"]
    assert ("trying it failed: cublasLtMatmul: as planted" in caplog.text) == (status == 14)


def test_so_is_one_that_it_refuses_in_some_sizes(host, monkeypatch):
    refusing(host, monkeypatch, lambda epilogue, rows: epilogue & standin.GELU and rows > 100, cublaslt.NOT_SUPPORTED)
    run = Run("wide", program=varied(CASES["wide"].program, activations=GELU))
    run.epoch()
    assert "gelu" not in run.executable.plan.choices["epilogues"]
    assert "bias" in run.executable.plan.choices["epilogues"]


def test_the_next_algorithm_is_taken_where_the_first_is_refused(host, monkeypatch):
    def two(handle, descriptor, *given):
        first, second = (host.algorithms(handle, descriptor, *given)[0] for _ in range(2))
        first.algorithm.data[1] = 1
        return [first, second]

    def matmul(*given):
        if given[5].data[1] == 1:
            raise cublaslt.CublasLtError("cublasLtMatmul: as planted", cublaslt.NOT_SUPPORTED)
        host.multiply(*given)

    monkeypatch.setattr(cublaslt, "algorithms", two)
    monkeypatch.setattr(cublaslt, "matmul", matmul)
    run = Run("adam")
    run.epoch()
    kept = run.executable.plan.choices["algorithms"].values()
    assert kept
    assert all(cublaslt.Algorithm.from_hex(text).data[1] == 0 for text in kept)


def test_a_plain_product_that_cublas_refuses_is_an_error_with_its_name(host, monkeypatch):
    refusing(host, monkeypatch, lambda epilogue, rows: epilogue == cublaslt.Epilogue.DEFAULT, cublaslt.NOT_SUPPORTED)
    with pytest.raises(BackendError, match="cuBLAS has no algorithm for the product"):
        Run("adam").epoch()


def test_a_library_that_fails_is_told_from_a_product_that_it_has_not(monkeypatch):
    status = []

    class Library:
        def cublasLtMatmulAlgoGetHeuristic(self, *given):  # noqa: N802 (cublasLt's name)
            return status[-1]

        def cublasLtGetStatusString(self, number):  # noqa: N802
            return b"CUBLAS_STATUS_INTERNAL_ERROR"

        def __getattr__(self, name):
            return lambda *given: 0

    monkeypatch.setattr(cublaslt, "library", Library)
    given = types.SimpleNamespace(handle=None)
    status.append(cublaslt.NOT_SUPPORTED)
    assert cublaslt.algorithms(given, given, (given, given, given), 0) == []
    status.append(14)
    with pytest.raises(cublaslt.CublasLtError, match="GetHeuristic: CUBLAS_STATUS_INTERNAL_ERROR") as caught:
        cublaslt.algorithms(given, given, (given, given, given), 0)
    assert caught.value.status == 14


def test_heuristics_are_not_asked_for_during_a_capture(host, monkeypatch):
    """Of CUDA 13.3 they fail then: a session that asked as it captures is caught by the stand-in."""
    launch, asked = session.GraphSession._launch, []

    def asking(self, rows, count=1):
        if host.captured is not None:
            asked.append(cublaslt.algorithms(None, None, None, 0))
        launch(self, rows, count)

    monkeypatch.setattr(session.GraphSession, "_launch", asking)
    with pytest.raises(CaptureError, match="a heuristic while a graph is captured"):
        Run("adam", epilogues=EPILOGUES).epoch()


# ---- what is missing, and what fails


def test_without_cublaslt_the_definition_runs(host, monkeypatch, caplog):
    def missing():
        raise cublaslt.CublasLtError("cuBLAS is not found (as planted): pip install nvidia-cublas")

    monkeypatch.setattr(cublaslt, "Handle", missing)
    backend, program = CuPyBackend(), CASES["adam"].program
    with caplog.at_level(logging.WARNING, "gdkernels"):
        for _ in range(2):
            assert backend.compile(program, Plan("cupy", "cuda:0", "float32")) is None
    assert caplog.text.count("nothing is compiled for cuda:0: cuBLAS is not found") == 1
    with pytest.raises(BackendError, match=r"tf32 needs what is compiled.*cuBLAS is not found.*precision='float32'"):
        backend.compile(program, Plan("cupy", "cuda:0", "tf32"))
    for precision in ("tf32", "bfloat16"):
        assert "cuBLAS is not found" in backend.lacks(precision)
    assert CuPyBackend().precisions == ("float64", "float32")


ERRORS = {
    "cudaErrorIllegalAddress: an illegal memory access was encountered": "nothing works.*restart the process",
    "cudaErrorLaunchFailure: unspecified launch failure": "restart the process",
    "CUDA_ERROR_MISALIGNED_ADDRESS: misaligned address": "restart the process",
    "cudaErrorMemoryAllocation: out of memory": "memory runs out on cuda:0.*batch_size",
    "cudaErrorInvalidValue: invalid argument": "cuda:0 refuses.*nvidia-smi",
    "cudaErrorInitializationError: initialization error": "forked process.*spawn",
}


@pytest.mark.parametrize("text", ERRORS)
def test_every_error_of_cuda_is_one_of_gdkernels(host, monkeypatch, text):
    """Checkpoints are rescued on those alone."""
    run = Run("adam")
    run.epoch()
    before = run.bits

    def fail(work):
        raise host.cupy.cuda.runtime.CUDARuntimeError(text)

    monkeypatch.setattr(host, "execute", fail)
    for work in (run.epoch, lambda: run.executable.predict(run.state.parameters, run.x)):
        with pytest.raises(BackendError, match=ERRORS[text]):
            work()
    assert run.bits == before


def test_what_is_no_error_of_cuda_passes_as_it_is(host, monkeypatch):
    run = Run("adam")

    def fail(work):
        raise ZeroDivisionError("as planted")

    monkeypatch.setattr(host, "execute", fail)
    with pytest.raises(ZeroDivisionError):
        run.epoch()


@pytest.mark.parametrize("name", ["asarray", "asnumpy"])
def test_copies_fail_with_errors_of_gdkernels(host, monkeypatch, name):
    def fail(*given, **options):
        raise host.cupy.cuda.memory.OutOfMemoryError("Out of memory allocating 512 bytes")

    backend = CuPyBackend()
    monkeypatch.setattr(host.cupy, name, fail)
    with pytest.raises(BackendError, match=r"memory runs out on .*Out of memory allocating 512 bytes"):
        backend.asarray([1.0], dtype="float32", device="cuda:0") if name == "asarray" else backend.to_numpy(1)


def test_a_fork_of_a_process_that_used_cuda_is_told_what_to_do(host, monkeypatch):
    Run("adam").epoch()
    monkeypatch.setattr("gdkernels_cupy.cuda.errors.os.getpid", lambda: -1)
    assert "multiprocessing" in CuPyBackend().unavailable()
    assert "spawn" in CuPyBackend().unavailable()


# ---- arrays and devices


def test_arrays_on_another_device_are_an_error_that_names_both(host):
    run, elsewhere = Run("adam", device="cuda:0"), Run("adam", device="cuda:1")
    run.x = elsewhere.x
    with pytest.raises(BackendError, match=r"on cuda:1, but the work is on cuda:0"):
        run.epoch()


def test_any_device_can_be_chosen(host):
    run = Run("adam", device="cuda:1")
    run.epoch()
    assert run.state.parameters["W0"].device.id == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": lambda a: a[:, :-1]}, r"x \(23, 4\) and y \(23, 3\) do not fit a network of 5 to 3 units"),
        ({"y": lambda a: a[:-1]}, r"y \(22, 3\)"),
    ],
)
def test_bad_shapes_are_refused_before_any_work(host, change, message):
    run = Run("adam")
    for name, f in change.items():
        setattr(run, name, f(getattr(run, name)))
    with pytest.raises(InputError, match=message):
        run.epoch()
    assert host.launches == 0


def test_an_order_beyond_the_records_is_refused(host):
    run = Run("adam")
    with pytest.raises(InputError, match="row 0 to 23 of 23 rows"):
        run.executable.run(run.state, run.x, run.y, np.arange(24), 8, np.full(3, 0.01))


def test_what_cannot_be_compiled_runs_as_it_is_or_says_why(host, caplog):
    def cumulative(z, *, xp):
        return xp.cumulative_sum(z, axis=1)

    program = varied(CASES["adam"].program, activations=(cumulative, activations.tanh, activations.identity))
    with caplog.at_level(logging.INFO, "gdkernels"):
        assert CuPyBackend().compile(program, Plan("cupy", "cuda:0", "float32")) is None
    assert "cumulative_sum" in caplog.text
    with pytest.raises(BackendError, match=r"bfloat16 needs a program that can be compiled.*cumulative_sum"):
        CuPyBackend().compile(program, Plan("cupy", "cuda:0", "bfloat16"))


def test_many_rows_are_predicted_in_parts(host, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.graphs.executable._PREDICTED_ROWS", 64)
    run = Run("wide")
    output = run.executable.predict(run.state.parameters, run.x)
    wanted = verification.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    assert verification.relative_error(np.asarray(output), wanted) < 1e-5
    assert run.executable.predict(run.state.parameters, run.x[:0]).shape == (0, 3)
