"""Arrays of the stand-in for CuPy, and the errors that CUDA raises."""

import types

import numpy as np
import standin


class CaptureError(RuntimeError):
    """What CUDA refuses while a stream is captured."""


class OutOfMemoryError(MemoryError):
    """As CuPy's own."""

    __module__ = "cupy.cuda.memory"


class CUDARuntimeError(RuntimeError):
    """As CuPy's own."""

    __module__ = "cupy_backends.cuda.api.runtime"


class Array(np.ndarray):
    """A NumPy array that says on which device it is."""

    def __new__(cls, shape, dtype, memptr):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        flat = standin.bytes_at(memptr.memory.ptr, size)
        array = flat.view(dtype).reshape(shape).view(cls)
        array._where = types.SimpleNamespace(id=memptr.memory.device_id)
        array._owner = memptr.memory.owner
        return array

    def __array_finalize__(self, other):
        self._where = getattr(other, "_where", types.SimpleNamespace(id=0))

    device = property(lambda self: self._where)

    def move(self, device):
        """Say that it is on the device of this number."""
        self._where = types.SimpleNamespace(id=device)

    def set(self, values):
        assert (values.shape, values.dtype) == (self.shape, self.dtype)
        PENDING.append((self, values))  # nobody promises that it is read before the stream has come to it

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])


PENDING = []


def finish_copies():
    while PENDING:
        target, values = PENDING.pop()
        target[...] = values
