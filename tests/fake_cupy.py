"""A small stand-in for CuPy on a machine without a GPU: NumPy arrays that know on which device they are said to be."""

import sys
import types

import numpy as np


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class DynamicLibNotFoundError(RuntimeError):
    """As cuda.pathfinder raises it where NVRTC is missing."""


class CompileException(Exception):  # noqa: N818 (CuPy's name)
    """As CuPy raises it where NVRTC refuses the source."""


class Array:
    def __init__(self, values, device):
        self.values = values
        self.device = device

    @property
    def dtype(self):
        return self.values.dtype

    def __dlpack_device__(self):
        return (2, self.device.id)


def make(
    *,
    driver=13020,
    needed=13020,
    count=1,
    count_error=None,
    breaks=None,
    free=(3, 10),
    pool=2,
    wrong=False,
    capabilities=("90", "90"),
):
    """Return a module; `breaks` maps the name of a function to the exception that it raises."""
    current = [0]
    breaks = breaks or {}

    class Device:
        def __init__(self, number=None):
            self.id = current[-1] if number is None else number
            self.compute_capability = capabilities[self.id]

        def __enter__(self):
            current.append(self.id)

        def __exit__(self, *error):
            current.pop()

    def may_break(function):
        def call(*args, **kwargs):
            if function.__name__ in breaks:
                raise breaks[function.__name__]
            return function(*args, **kwargs)

        return call

    def get_device_count():
        if count_error is not None:
            raise count_error
        return count

    @may_break
    def asarray(x, dtype=None):
        # As CuPy does it: host arrays go to the current device, device arrays stay where they are.
        device = x.device if isinstance(x, Array) else Device()
        return Array(np.asarray(x.values if isinstance(x, Array) else x, dtype=dtype), device)

    @may_break
    def matmul(a, b):
        return Array(a.values @ b.values * (0.9 if wrong else 1), a.device)

    @may_break
    def sqrt(a):
        return Array(np.sqrt(a.values), a.device)

    def from_dlpack(x):
        return Array(x.values, Device(x.__dlpack_device__()[1]))

    cupy = types.ModuleType("cupy")
    cupy.synchronized = []
    cupy.__version__ = "14.2.0"
    cupy.ndarray = Array
    cupy.asarray, cupy.matmul, cupy.sqrt, cupy.from_dlpack = asarray, matmul, sqrt, from_dlpack
    cupy.asnumpy = lambda x: x.values.copy()
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: pool + current[-1])
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: needed,
        getDeviceCount=get_device_count,
        memGetInfo=lambda: free,
        getDeviceProperties=lambda number: {"name": b"made up", "uuid": bytes([number])},
    )
    stream = types.SimpleNamespace(synchronize=lambda: cupy.synchronized.append(current[-1]))
    cupy.cuda = types.SimpleNamespace(Device=Device, runtime=runtime, get_current_stream=lambda: stream)
    return cupy


def install(monkeypatch, **options):
    """Put a stand-in where ``import cupy`` finds it, and return it."""
    cupy = make(**options)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy
