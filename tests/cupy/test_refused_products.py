"""A product or an epilogue that cuBLAS lacks or refuses is computed otherwise, or is an error with its name."""

import logging
import types

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.graphs import session
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from host_arrays import CaptureError
from host_runs import Run

from gdkernels.definition import activations
from gdkernels.errors import BackendError
from gdkernels.testing.cases import CASES, varied


def test_an_epilogue_that_swallows_nan_is_used_if_the_user_says_so(host, monkeypatch, caplog):
    def swallowing(*given):
        standin.matmul(*given)
        out = standin.matrix(given[2][2], given[3][2])
        if given[1][cublaslt.DescriptorAttribute.EPILOGUE] & 2 and out.dtype != np.uint16:
            np.nan_to_num(out, copy=False)

    monkeypatch.setattr(cublaslt, "matmul", lambda *given: host.execute(lambda: swallowing(*given)))
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("wide")
        run.epoch()
    assert "relu" not in run.executable.plan.choices["epilogues"]
    assert "update" in run.executable.plan.choices["epilogues"]
    assert "could take over relu in float32, and make numbers of NaN there" in caplog.text
    assert "GDKERNELS_MAY_LOSE_NAN=1 lets products do it" in caplog.text

    monkeypatch.setenv("GDKERNELS_MAY_LOSE_NAN", "1")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("wide")
        run.epoch()
    assert "relu" in run.executable.plan.choices["epilogues"]
    assert "that is not seen in a hidden layer before" in caplog.text


def test_what_cublas_has_not_is_done_otherwise(host, monkeypatch):
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

    monkeypatch.setattr(cublaslt, "loaded_library", Library)
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


# ---- candidates


def candidates(monkeypatch, host, seconds, refused=()):
    """Let cublasLt offer as many algorithms as there are numbers, each of which takes so long; return which ran."""
    ran = []

    def offered(handle, descriptor, layouts, workspace, count=8):
        found = []
        for k in range(len(seconds)):
            (result,) = standin.algorithms(handle, descriptor, layouts, workspace)
            result.algorithm.data[1] = k
            found.append(result)
        return found

    def matmul(*given):
        k = given[5].data[1]
        if k in refused:
            raise cublaslt.CublasLtError("cublasLtMatmul: as planted", cublaslt.NOT_SUPPORTED)
        ran.append(k)
        clock[0] += seconds[k]
        host.multiply(*given)

    clock = [0.0]
    monkeypatch.setattr(cublaslt, "algorithms", offered)
    monkeypatch.setattr(cublaslt, "matmul", matmul)
    monkeypatch.setattr("gdkernels_cupy.graphs.bound_steps.perf_counter", lambda: clock[0])
    return ran


@pytest.mark.parametrize(
    ("seconds", "refused", "taken"),
    [((3.0, 1.0, 2.0), (), 1), ((1.0, 0.97), (), 0), ((3.0, 1.0, 2.0), (1,), 2), ((4.0, 3.0, 3.0, 3.0, 1.0), (), 1)],
    ids=["the fastest", "in doubt the first", "not what is refused", "of the first four"],
)
def test_the_fastest_of_a_few_algorithms_is_taken_and_kept(host, monkeypatch, seconds, refused, taken):
    ran = candidates(monkeypatch, host, seconds, refused)
    chosen = []
    for _ in range(2):  # as the next process does, which times nothing
        run = Run("wide", epilogues=())
        ran.clear()
        run.epoch()
        algorithms = run.executable.plan.choices["algorithms"]
        assert {cublaslt.Algorithm.from_hex(a).data[1] for a in algorithms.values()} == {taken}
        chosen.append((algorithms, set(ran)))
    assert chosen[0][0] == chosen[1][0]
    assert chosen[1][1] == {taken}
