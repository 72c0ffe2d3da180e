"""The CUDA plug-in without a GPU: a stand-in for CuPy goes through everything that can be wrong on a machine."""

import sys
from pathlib import Path

import fake_cupy
import gdkernels_cupy
import numpy as np
import pytest
from gdkernels_cupy import CuPyBackend
from gdkernels_cupy.cuda import errors, presence, trial

from gdkernels.errors import BackendError, InputError
from gdkernels.system.cache_folder import cache_folder


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """The stand-in is in this process alone: here what another process would try is tried."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUPY_TF32", "GDKERNELS_CHECK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(errors, "_used_by", set())
    monkeypatch.setattr(trial, "tried_elsewhere", lambda names: {name: trial.problem_of(name) for name in names})
    gdkernels_cupy._warn_once.cache_clear()


TRIED_ELSEWHERE = trial.tried_elsewhere
NO_DRIVER = fake_cupy.CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")
NO_DEVICE = fake_cupy.CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")
MISMATCH = fake_cupy.CUDARuntimeError(803, "cudaErrorSystemDriverMismatch: system has unsupported display driver")

CASES = {
    "no driver": (
        {"driver": 0, "count_error": NO_DRIVER},
        ["no NVIDIA driver", "ubuntu-drivers install", "--gpus all"],
    ),
    "an old driver": (
        {"driver": 12040, "count_error": NO_DRIVER},
        ["too old", "12.4", "13.2", 'pip install "gdkernels[cuda12]"'],
    ),
    "no device, as an error": ({"count_error": NO_DEVICE}, ["no CUDA device", "nvidia-smi -L"]),
    "no device, as a number": ({"count": 0}, ["no CUDA device", "nvidia-smi -L"]),
    "another error of the driver": (
        {"count_error": MISMATCH},
        ["cudaErrorSystemDriverMismatch", "nvidia-smi"],
    ),
    "no cuBLAS": (
        {"breaks": {"matmul": ImportError('Failure finding "libcublasLt.so.13": No such file\n')}},
        ["cuBLAS", "libcublasLt.so.13", 'pip install "cupy-cuda13x[ctk]"'],
    ),
    "no NVRTC": (
        {"breaks": {"sqrt": fake_cupy.DynamicLibNotFoundError('Failure finding "libnvrtc.so.12"')}, "needed": 12090},
        ["NVRTC", "libnvrtc.so.12", 'pip install "cupy-cuda12x[ctk]"'],
    ),
    "no headers": (
        {"breaks": {"sqrt": fake_cupy.CompileException('cannot open source file "cuda_fp16.h"')}},
        ["NVRTC", "cuda_fp16.h", 'pip install "cupy-cuda13x[ctk]"'],
    ),
    "an old GPU": (
        {"breaks": {"sqrt": fake_cupy.CompileException("nvrtc: error: invalid value for --gpu-architecture (-arch)")}},
        ["so old a GPU", 'pip install "gdkernels[cuda12]"'],
    ),
    "no memory": (
        {"breaks": {"asarray": MemoryError("Out of memory allocating 512 bytes")}},
        ["allocating memory on cuda:0 fails", "Out of memory", "nvidia-smi"],
    ),
    "wrong numbers": ({"wrong": True}, ["wrong", "2.68", "2.828", 'pip install "cupy-cuda13x[ctk]"']),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_told_apart(monkeypatch, case):
    options, words = CASES[case]
    fake_cupy.install(monkeypatch, **options)
    reason = CuPyBackend().unavailable()
    assert reason is not None
    assert "\n" not in reason
    assert [word for word in words if word not in reason] == []


def test_the_reasons_differ(monkeypatch):
    reasons = set()
    for options, _ in CASES.values():
        fake_cupy.install(monkeypatch, **options)
        reasons.add(CuPyBackend().unavailable())
    assert len(reasons) == len(CASES) - 1, "only the two ways of having no device are one"


def test_a_working_device_has_no_problem(monkeypatch):
    fake_cupy.install(monkeypatch, count=2)
    assert CuPyBackend().unavailable() is None
    assert CuPyBackend().devices() == ["cuda:0", "cuda:1"]


# ---- processes that chose a CPU, and devices one by one


def test_no_device_is_touched_by_a_process_that_only_asks(monkeypatch):
    """Memory, handles and kernels are another process's: a context takes hundreds of megabytes, and seconds."""
    cupy = fake_cupy.install(monkeypatch, count=2)
    tried = []
    monkeypatch.setattr(trial, "tried_elsewhere", lambda names: tried.append(names) or dict.fromkeys(names))
    for name in ("asarray", "matmul", "sqrt", "asnumpy", "from_dlpack", "get_default_memory_pool"):
        monkeypatch.setattr(cupy, name, None)
    monkeypatch.setattr(cupy.cuda.Device, "__enter__", None)
    backend = CuPyBackend()
    assert backend.unavailable() is None
    assert backend.devices() == ["cuda:0", "cuda:1"]
    assert backend.precisions == ("float64", "float32", "tf32", "bfloat16")
    assert tried == [["cuda:0", "cuda:1"]]


def test_what_computed_once_is_not_tried_again(monkeypatch):
    tried = []
    monkeypatch.setattr(trial, "tried_elsewhere", lambda names: tried.append(names) or dict.fromkeys(names))
    for driver, times in ((13020, 1), (13020, 1), (13030, 2)):
        fake_cupy.install(monkeypatch, driver=driver)
        assert CuPyBackend().unavailable() is None
        assert len(tried) == times
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    assert CuPyBackend().unavailable() is None
    assert len(tried) == 3
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    (kept,) = [path for path in cache_folder().iterdir() if path.name.startswith("trial")][:1]
    kept.unlink()
    assert CuPyBackend().unavailable() is None
    assert len(tried) == 3


def test_a_failure_is_tried_again(monkeypatch):
    fake_cupy.install(monkeypatch, wrong=True)
    assert "wrong" in CuPyBackend().unavailable()
    fake_cupy.install(monkeypatch)
    assert CuPyBackend().unavailable() is None


def test_an_old_card_hides_no_good_one(monkeypatch, caplog):
    fake_cupy.install(monkeypatch, count=2, capabilities=("61", "90"))
    backend = CuPyBackend()
    with caplog.at_level("WARNING", "gdkernels"):
        assert backend.unavailable() is None
        assert backend.devices() == ["cuda:1"]
    assert caplog.text.count("cuda:0 is not used: cuda:0 has compute capability 6.1") == 1
    assert backend.lacks("bfloat16") is None


def test_cards_that_are_all_too_old_are_a_reason(monkeypatch):
    fake_cupy.install(monkeypatch, count=2, capabilities=("61", "70"))
    reason = CuPyBackend().unavailable()
    assert "cuda:0 has compute capability 6.1, and CUDA 13 compiles for 7.5 and newer" in reason
    assert 'pip install "gdkernels[cuda12]"' in reason
    fake_cupy.install(monkeypatch, count=2, capabilities=("61", "70"), needed=12090)
    assert CuPyBackend().unavailable() is None


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_card_without_a_matrix_unit_for_a_precision_says_so(monkeypatch, precision):
    fake_cupy.install(monkeypatch, capabilities=("75",))
    backend = CuPyBackend()
    assert backend.unavailable() is None
    assert backend.precisions == ("float64", "float32")
    reason = backend.lacks(precision)
    assert f"{precision} needs compute capability 8.0, and cuda:0 has 7.5" in reason
    assert "precision='float32'" in reason


def test_a_device_that_fails_alone_is_left_out_alone(monkeypatch, caplog):
    fake_cupy.install(monkeypatch, count=2)
    monkeypatch.setattr(trial, "tried_elsewhere", lambda names: {"cuda:0": "it is on fire", "cuda:1": None})
    backend = CuPyBackend()
    with caplog.at_level("WARNING", "gdkernels"):
        assert backend.unavailable() is None
        assert backend.devices() == ["cuda:1"]
    assert "cuda:0 is not used: it is on fire" in caplog.text


def test_another_process_tries_and_says_what_is_wrong():
    """The real one: without a GPU it ends in a reason for each device, in place of an exception."""
    pytest.importorskip("cupy")
    found = TRIED_ELSEWHERE(["cuda:77"])
    assert list(found) == ["cuda:77"]
    assert "allocating memory on cuda:77 fails" in found["cuda:77"]


def test_a_process_that_dies_is_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = TRIED_ELSEWHERE(["cuda:0"])
    assert "a process that tries it ends with code 1" in found["cuda:0"]


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    reason = CuPyBackend().unavailable()
    assert "not installed" in reason
    assert 'pip install "gdkernels[cuda13]"' in reason
    assert "gdkernels[cuda12]" in reason


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import not_there_either", ["lacks not_there_either", "pip install not_there_either"]),
        (
            "raise ImportError('\\n=====\\nFailed to import CuPy.\\n\\nOriginal error:\\n  bad ELF header\\n=====\\n')",
            ["cannot be imported (bad ELF header)", "uninstall it"],
        ),
    ],
)
def test_installed_but_broken(monkeypatch, tmp_path, source, words):
    (tmp_path / "cupy.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    reason = CuPyBackend().unavailable()
    assert "\n" not in reason
    assert [word for word in words if word not in reason] == []


def test_hidden_devices_are_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    fake_cupy.install(monkeypatch, count_error=NO_DEVICE)
    reason = CuPyBackend().unavailable()
    assert "CUDA_VISIBLE_DEVICES is set to '7'" in reason
    assert "`unset CUDA_VISIBLE_DEVICES`" in reason


def test_tf32_by_environment_is_refused(monkeypatch):
    fake_cupy.install(monkeypatch)
    monkeypatch.setenv("CUPY_TF32", "1")
    assert "`unset CUPY_TF32`" in CuPyBackend().unavailable()
    monkeypatch.setenv("CUPY_TF32", "0")
    assert CuPyBackend().unavailable() is None


@pytest.mark.parametrize(
    ("nodes", "visible", "expected"),
    [
        ((), None, False),
        (("dev/nvidia0",), None, True),
        (("dev/nvidia3",), None, True),  # a container is given some devices, not always the first
        (("dev/nvidiactl",), None, False),  # the driver without a device
        (("proc/0000:01:00.0",), None, True),
        (("dev/nvidia0",), "0", True),
        (("dev/nvidia0",), "", False),
        (("dev/nvidia0",), "-1", False),
    ],
)
def test_expected_is_hardware_that_nobody_hid(monkeypatch, tmp_path, nodes, visible, expected):
    for folder in ("dev", "proc"):
        (tmp_path / folder).mkdir()
    for node in nodes:
        (tmp_path / node).touch()
    monkeypatch.setattr(presence, "_DEV", tmp_path / "dev")
    monkeypatch.setattr(presence, "_PROC", tmp_path / "proc")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert CuPyBackend().expected() is expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (("dev/dxg",), False),  # Windows shows it for any graphics card
        (("dev/dxg", "wsl/libcuda.so.1"), True),
        (("wsl/libcuda.so.1",), False),
        (("dev/nvhost-gpu",), True),  # Jetson
        (("dev/nvgpu",), True),
    ],
)
def test_wsl_and_jetson_are_expected_too(monkeypatch, tmp_path, nodes, expected):
    for folder in ("dev", "proc", "wsl"):
        (tmp_path / folder).mkdir()
    for node in nodes:
        (tmp_path / node).touch()
    monkeypatch.setattr(presence, "_DEV", tmp_path / "dev")
    monkeypatch.setattr(presence, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(presence, "_WSL", tmp_path / "wsl" / "libcuda.so.1")
    assert CuPyBackend().expected() is expected


def test_nothing_is_expected_without_the_folders_of_the_driver(monkeypatch):
    monkeypatch.setattr(presence, "_DEV", Path("/nowhere"))
    monkeypatch.setattr(presence, "_PROC", Path("/nowhere"))
    assert not CuPyBackend().expected()


class OnlyDLPack:
    """What another library's array looks like to us."""

    def __init__(self, values, device):
        self.values, self._device = values, device

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._device


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: OnlyDLPack(x, (1, 0)), list], ids=["NumPy", "DLPack", "list"])
def test_host_arrays_go_to_the_device(monkeypatch, wrap):
    fake_cupy.install(monkeypatch, count=2)
    x = np.arange(3.0)
    a = CuPyBackend().asarray(wrap(x), dtype="float32", device="cuda:1")
    assert (a.device.id, a.dtype) == (1, np.float32)
    assert np.array_equal(CuPyBackend().to_numpy(a), x)


def test_device_arrays_stay_and_take_the_dtype(monkeypatch):
    fake_cupy.install(monkeypatch, count=2)
    backend = CuPyBackend()
    a = backend.asarray(np.arange(3.0), dtype="float32", device="cuda:1")
    assert backend.asarray(a, dtype="float32", device="cuda:1").values is a.values
    assert backend.asarray(a, dtype="float64", device="cuda:1").dtype == np.float64
    b = backend.asarray(OnlyDLPack(np.arange(3.0), (2, 1)), dtype="float32", device="cuda:1")
    assert (b.device.id, b.dtype) == (1, np.float32)


def test_an_array_on_another_device_is_an_error_that_names_both(monkeypatch):
    fake_cupy.install(monkeypatch, count=2)
    backend = CuPyBackend()
    a = backend.asarray(np.arange(3.0), dtype="float32", device="cuda:1")
    for x in (a, OnlyDLPack(np.arange(3.0), (2, 1))):
        with pytest.raises(BackendError, match=r"on cuda:1, but the work is on cuda:0.*device='cuda:1'"):
            backend.asarray(x, dtype="float32", device="cuda:0")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:", "cuda:-1", "gpu:0"])
def test_a_wrong_device_name_is_refused(monkeypatch, device):
    fake_cupy.install(monkeypatch)
    with pytest.raises(InputError, match=r"cuda:0"):
        CuPyBackend().asarray(np.ones(1), dtype="float32", device=device)


def test_the_current_device_is_set_and_put_back(monkeypatch):
    cupy = fake_cupy.install(monkeypatch, count=2)
    with CuPyBackend().on_device("cuda:1"):
        assert cupy.cuda.Device().id == 1
    assert cupy.cuda.Device().id == 0


def test_synchronize_waits_for_the_current_stream_of_the_device(monkeypatch):
    cupy = fake_cupy.install(monkeypatch, count=2)
    CuPyBackend().synchronize("cuda:1")
    assert cupy.synchronized == [1]


def test_memory_counts_what_the_pool_holds_as_free(monkeypatch):
    fake_cupy.install(monkeypatch, count=2, free=(30, 100), pool=5)
    assert CuPyBackend().memory("cuda:1") == (30 + 5 + 1, 100)  # the stand-in's pool holds a byte more on cuda:1


def test_the_real_cupy_answers():
    """What is asked of CuPy exists in the installed release; without a GPU it ends in a reason, not in an exception."""
    cupy = pytest.importorskip("cupy")
    backend = CuPyBackend()
    reason = backend.unavailable()
    if cupy.cuda.is_available():
        assert reason is None
        assert backend.devices()[0] == "cuda:0"
    else:
        assert "no NVIDIA driver" in reason or "no CUDA device" in reason or "too old" in reason
    assert backend.xp.__name__ == "array_api_compat.cupy"
    runtime = {"memGetInfo", "driverGetVersion", "getDeviceCount", "memcpyAsync", "memcpy2DAsync", "CUDARuntimeError"}
    assert runtime | {"pointerGetAttributes", "memoryTypeHost"} <= set(dir(cupy.cuda.runtime))
    assert {"alloc", "Stream", "get_current_stream", "UnownedMemory", "MemoryPointer"} <= set(dir(cupy.cuda))
    assert cupy.cuda.PinnedMemory(0, cupy.cuda.runtime.hostAllocPortable).ptr == 0
    assert callable(cupy.ndarray.set)
    assert {"from_dlpack", "asnumpy", "get_default_memory_pool"} <= set(dir(cupy))
