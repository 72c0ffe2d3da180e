"""Fixtures that all tests share: the namespaces that the definition runs on, and the skips without a GPU."""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_once import host_compiler, remove_unused
from nvrtc_compiler import NVRTC, library_of_cuda_12
from plugins import Plugins

with contextlib.suppress(ModuleNotFoundError):  # machines with a GPU may lack it, and run no test that draws
    import hypothesis

    # Examples are the same in every run, and may take as long as the machine lets them: a test does not fail by chance.
    # ``pytest --hypothesis-profile=explore`` draws others each time.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("explore", deadline=None, suppress_health_check=slow)
    hypothesis.settings.register_profile("gate", hypothesis.settings.get_profile("explore"), derandomize=True)
    hypothesis.settings.load_profile("gate")


@dataclass(frozen=True)
class Namespace:
    """An array namespace, with one of its devices."""

    name: str
    xp: Any
    device: Any = None

    def array(self, values: Any, dtype: str = "float64") -> Any:
        """Return `values` as an array of this namespace, on this device."""
        host = np.asarray(values)
        if self.name.startswith("strict"):  # takes no NumPy array as such
            return self.xp.asarray(host.tolist(), dtype=getattr(self.xp, dtype), device=self.device)
        return self.xp.asarray(host, dtype=getattr(self.xp, dtype))

    def numpy(self, array: Any) -> Any:
        """Return a NumPy copy, after asserting that `array` belongs to this namespace and device."""
        import array_api_compat

        if self.name.startswith("strict"):
            import array_api_strict

            assert type(array) is array_api_strict._array_object.Array
            assert array.device == self.device
            return np.asarray(array.to_device(array_api_strict.Device("CPU_DEVICE")))
        belongs = {
            "numpy": lambda a: isinstance(a, np.ndarray | np.generic),
            "jax": array_api_compat.is_jax_array,
            "torch": array_api_compat.is_torch_array,
        }
        assert belongs[self.name](array), f"a {type(array)} is no array of {self.name}"
        return np.asarray(array)


NAMESPACES = ("numpy", "strict", "strict-device1", "jax", "torch")


def _strict(device: str) -> Namespace:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    strict.set_array_api_strict_flags(api_version="2024.12")
    return Namespace("strict" if device == "CPU_DEVICE" else f"strict-{device}", strict, strict.Device(device))


@contextlib.contextmanager
def open_namespace(name: str) -> Iterator[Namespace]:
    if name == "numpy":
        import array_api_compat.numpy

        yield Namespace(name, array_api_compat.numpy)
    elif name.startswith("strict"):
        yield _strict("device1" if name.endswith("device1") else "CPU_DEVICE")
    elif name == "jax":
        jax = pytest.importorskip("jax", reason="jax is not installed")
        with jax.enable_x64(True):
            yield Namespace(name, jax.numpy)
    else:
        pytest.importorskip("torch", reason="torch is not installed")
        import array_api_compat.torch

        yield Namespace(name, array_api_compat.torch)


@pytest.fixture(params=NAMESPACES)
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """Each array namespace in turn; those that are not installed are skipped."""
    with open_namespace(request.param) as opened:
        yield opened


@cache
def no_gpu() -> str | None:
    from gdkernels_cupy import CuPyBackend

    return CuPyBackend().unavailable()


def pytest_configure(config: pytest.Config) -> None:
    """Let BLAS run on one thread in a worker of pytest-xdist, as there is one for each core.

    BLAS would start a thread for each core in each worker, and these wait for each other in loops: where workers share
    the cores, a small training then takes a minute in place of a second.

    Child processes keep Python's byte code, even where you have told Python to keep none. They are hundreds, and to
    load gdkernels from its source takes longer than most of what they show.

    That a product of NumPy had an invalid operation is no error. OpenBLAS's products of one or two vectors of five
    numbers also compute with what lies beside them, and leave it out of the result: one process in 300 was told so.
    """
    config.addinivalue_line("filterwarnings", "ignore:invalid value encountered in matmul:RuntimeWarning")
    for name in [n for n in os.environ if n.startswith("GDKERNELS_") and not n.startswith("GDKERNELS_TEST_")]:
        del os.environ[name]  # the backend, device or limits of whoever runs the tests
    if hasattr(config, "workerinput"):
        import threadpoolctl

        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of child processes, and of what is loaded later
        threadpoolctl.threadpool_limits(int(os.environ["OPENBLAS_NUM_THREADS"]), user_api="blas")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect in half of the time, and let the tests that follow be quicker too.

    Each worker of pytest-xdist collects all tests. Byte code is kept meanwhile, even where you have told Python to keep
    none: to rewrite the assertions of all test modules again takes as long as the rest. And Python's garbage collector
    is kept off the million objects that are there in the end: each of its full passes would take half a second.
    """
    keeps_none, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        sys.dont_write_bytecode = keeps_none


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that name no GPU where only tests on one are wanted: such a machine may lack their needs."""
    if config.option.markexpr == "gpu" and collection_path.suffix == ".py":
        return True if "gpu" not in collection_path.read_text("utf-8") else None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless -m asks for it."""
    for marker in ("slow", "fuzz"):
        if marker not in config.option.markexpr:
            config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(marker)])
            items[:] = [item for item in items if not item.get_closest_marker(marker)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    problem = no_gpu() if item.get_closest_marker("gpu") else None
    if problem:
        pytest.skip(problem)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on one thread, for what a long training shows that has nothing to do with threads.

    Where two workers of pytest-xdist share two cores, two threads in each wait for each other in loops: what takes ten
    seconds on one thread then takes two minutes.
    """
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.fixture
def signals_heard() -> Iterator[None]:
    """Let this process and its children hear signals that end a program, also where nohup or ``&`` has them ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder that workers, child processes and, if pytest keeps a cache, later sessions share."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        return cache.mkdir(name)
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_directory(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compile into a folder that workers, child processes and later sessions share, and not into the user's.

    The CPU engine takes a second or two to compile. Its code is kept by a digest of all that it is made of, so that
    what a change makes new is compiled again. ``pytest --cache-clear`` empties the folder.
    """
    from gdkernels_numba.cpu import jit

    folder = shared_folder(pytestconfig, tmp_path_factory, "compiled")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDKERNELS_CACHE", str(folder))
        jit._folder()  # it keeps to the folder that is set when it first compiles, and a test may set another one
        yield folder


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put every file that is written whole or not at all on a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, which is always full")
    real = os.open

    def open_full(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        return real("/dev/full", os.O_WRONLY) if str(path).endswith(".tmp") else real(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", open_full)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Return where a test installs the only plug-ins that there are."""
    for name in ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    plugins = Plugins(tmp_path, monkeypatch)
    yield plugins
    plugins.forget()


@pytest.fixture(autouse=True)
def numbers_of_no_seed() -> None:
    """Have estimators without a ``random_state``, which draw from NumPy's own generator, do so alike in every run."""
    np.random.seed(0)  # noqa: NPY002  # scikit-learn's estimators use this one


@pytest.fixture(autouse=True)
def no_calibration_of_whoever_runs_the_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "cache" not in request.fixturenames:  # a test with a folder of its own
        monkeypatch.setattr("gdkernels.dispatch.calibration.path", lambda precision: Path("none"))


@pytest.fixture(scope="session")
def made(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what compilers take seconds to make, which workers and later sessions share.

    What is in it is named by a digest of all that it was made of, and the folder by the host's compiler and processor.
    What nobody has asked for in a week is removed. ``pytest --cache-clear`` empties the folder.
    """
    made = shared_folder(pytestconfig, tmp_path_factory, "made")
    remove_unused(made)
    folder = made / host_compiler()
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def nvrtc(made: Path) -> NVRTC:
    """Return NVRTC by the binding that CuPy brings."""
    pytest.importorskip("cupy", reason="CuPy is not installed: it brings the binding of NVRTC")
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be loaded ({error}): pip install nvidia-cuda-nvrtc")
    return NVRTC(nvrtc, made)


@pytest.fixture(scope="session")
def nvrtc_12(made: Path) -> NVRTC:
    """Return NVRTC of CUDA 12, which makes other machine code of the same text."""
    library = library_of_cuda_12()
    if library is None:
        pytest.skip("NVRTC of CUDA 12 is not installed: pip install nvidia-cuda-nvrtc-cu12")
    return NVRTC(library, made, "12")
