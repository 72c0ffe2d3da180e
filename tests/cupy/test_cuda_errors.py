"""Errors of CUDA and of its libraries become errors of gdkernels."""

import logging

import pytest
from gdkernels_cupy import CuPyBackend
from gdkernels_cupy.cuda import cublaslt
from host_runs import Run

from gdkernels.backend import Plan
from gdkernels.errors import BackendError
from gdkernels.testing.cases import CASES


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

    def fail(*given):
        raise host.cupy.cuda.runtime.CUDARuntimeError(text)

    monkeypatch.setattr(host, "execute", fail)
    for work in (run.epoch, lambda: run.executable.predict(run.state.parameters, run.x)):
        with pytest.raises(BackendError, match=ERRORS[text]):
            work()
    assert run.bits == before


def test_what_is_no_error_of_cuda_passes_as_it_is(host, monkeypatch):
    run = Run("adam")

    def fail(*given):
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
