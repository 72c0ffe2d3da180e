"""A stand-in for CuPy that computes: device memory is the host's, kernels are their twins, graphs are replayed.

It is strict where CUDA is: while a graph is captured nothing runs, and allocating, waiting or copying to the host is an
error, as is waiting for the device in whatever thread, work on a stream that is not in the capture, or one that is not
joined when it ends, and an event of another capture or of none; a capture ends when it is told to, and not before. What
is captured has run before, so that it is loaded, and names no memory but the device's own: a caller's arrays are others
next time. A graph is not launched after some of its memory was freed. A launch keeps to the limits of all devices; an
argument has the size that its kernel's parameter has; new memory holds NaN, and the caller's stream may still write to
what it was given. A copy goes where it is said to go, and a product finds its scalars where its mode says. A graph's
streams run as early, or as late, as their events allow.
"""

import ctypes
import sys
import threading
import types
import weakref
from contextlib import contextmanager

import numpy as np
import standin
from gdkernels_cupy.cuda import cublaslt, errors
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.cuda.cublaslt import DescriptorAttribute
from gdkernels_cupy.graphs import session
from gdkernels_cupy.graphs.probe import probed
from host_arrays import PENDING, Array, CaptureError, CUDARuntimeError, OutOfMemoryError
from host_module import cupy_of
from programs import module
from twin import Twin


class Host:
    """One machine with its GPUs."""

    def __init__(self, directory, free):
        self.directory, self.free, self.total = directory, free, free
        self.current = [0]
        self.captured = None  # while a graph is captured, its nodes: stream, what comes before, work
        self.tails = {}  # then: for each stream that takes part, the nodes that its next one comes after
        self.streams = []  # those that are current, the innermost last
        self.copies_early = False
        self.unfinished = False  # whether something may still run that nobody has waited for
        self.followed = []  # how much had been launched whenever a stream waited for the caller's own
        self.launches = 0
        self.clock = 0.0  # seconds: what is launched takes as long as anything else, unless a test says otherwise
        self.graphs = 0
        self.loaded = weakref.WeakSet()  # what has run outside of a capture: descriptors of products
        self.loaded_kernels = set()  # likewise, by text and name
        self.fail_after = None  # launches until the device fails
        self.interrupt_at = None  # the node of a graph before which Ctrl-C is pressed
        self.largest = free  # what can be had at once: free memory may be in pieces
        self.released = 0  # how often the pool was told to give back what it keeps
        self.pinned = []  # ranges of addresses
        self.pinnable = 1 << 30  # bytes
        self._twins = {}
        self.cupy = cupy_of(self)

    # ---- launching

    def execute(self, work, addresses=()):
        """Do some work, or note it while a graph is captured, with the memory that it names."""
        if self.captured is not None:
            stream = self.streams[-1]
            if stream not in self.tails:
                raise CaptureError("work on a stream that is not in the capture")
            if len(self.captured) == self.interrupt_at:
                raise KeyboardInterrupt
            memory = [standin.holder_of(address) for address in addresses if address]
            if any(one is None for one in memory):
                raise CaptureError("memory that is not the device's own, in a graph that is launched again")
            self.captured.append((stream, self.tails[stream], work, [weakref.ref(one) for one in memory]))
            self.tails[stream] = frozenset({len(self.captured) - 1})
        else:
            self.unfinished = True
            if self.fail_after is not None:
                self.fail_after -= 1
                if self.fail_after < 0:
                    raise OutOfMemoryError("out of memory, in the middle")
            self.launches += 1
            self.clock += 1e-5
            work()

    def multiply(self, *given):
        assert self.captured is None or given[-1] == self.streams[-1].ptr, "a product on another stream"
        scalars, cells = standin.scalars_now(given[1], given[4])
        if any((standin.holder_of(address) is None) == (cells is None) for address in given[4]):
            raise CUDARuntimeError("a product looks for its scalars on the other side of the bus")
        address, size = given[6]
        assert address % 256 == 0, "a workspace whose address cublasLt does not take"
        assert size <= len(standin.holder_of(address)), "a workspace that is smaller than was said"
        if self.captured is None:
            self.loaded.add(given[1])
        elif given[1] not in self.loaded:
            raise CaptureError("a product that has never run, while a graph is captured")
        beside = (given[1][DescriptorAttribute[name]] for name in ("BIAS_POINTER", "EPILOGUE_AUX_POINTER"))
        addresses = [*given[3], *([] if cells is not None else scalars), *beside, given[6][0]]
        self.execute(lambda kept=cells: standin.matmul(*given[:4], scalars, *given[5:]), addresses)

    def algorithms(self, *given):
        self.not_captured("a heuristic")  # of CUDA 13.3, it fails then
        return standin.algorithms(*given)

    def can_run(self, *given):
        self.not_captured("a heuristic")
        return standin.can_run(*given)

    def not_captured(self, what):
        if self.captured is not None:
            raise CaptureError(f"{what} while a graph is captured")

    def twin(self, text, name):
        for key in () if name.startswith("models_") else ("float32", "bfloat16", "float64"):
            if f" {name}(" in module(key):
                if key not in self._twins:  # each takes seconds to compile
                    self._twins[key] = Twin(module(key), self.directory), module(key)
                return self._twins[key]
        if text not in self._twins:
            self._twins[text] = Twin(text, self.directory), text
        return self._twins[text]

    # ---- memory

    def release(self):
        self.not_captured("freeing")
        self.released += 1

    def pinned_memory(self, size, flags):
        self.not_captured("allocating")
        assert flags == 1, "portable: for every device"
        if size > self.pinnable:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        block = np.zeros(size, np.uint8)
        addresses = range(block.ctypes.data, block.ctypes.data + size)
        self.pinned.append(addresses)
        weakref.finalize(block, self.pinned.remove, addresses)  # others may have the addresses after it
        return types.SimpleNamespace(ptr=block.ctypes.data, bytes=block)

    def attributes(self, address):
        return types.SimpleNamespace(type=1 if any(address in addresses for addresses in self.pinned) else 2)

    def asnumpy(self, a):
        self.not_captured("copying")
        return np.array(a)

    def asarray(self, x, dtype=None):
        self.not_captured("allocating")
        array = np.asarray(x, dtype).view(Array)
        if isinstance(x, Array):
            array.move(x.device.id)
        else:
            array = array.copy()  # what is on the host is copied to the device
            array.move(self.current[-1])
        return array

    def ascontiguousarray(self, a, dtype=None):
        fits = isinstance(a, Array) and a.flags.c_contiguous and a.dtype == (dtype or a.dtype)
        return a if fits else self.asarray(np.ascontiguousarray(a), dtype)

    def check_copy(self, to, source, kind):
        """Raise what CUDA does for a copy in another direction than was said."""
        on_device = [standin.holder_of(address) is not None for address in (to, source)]
        if on_device != {1: [True, False], 2: [False, True]}.get(kind, on_device):
            raise CUDARuntimeError("cudaErrorInvalidMemcpyDirection: invalid copy direction for memcpy")

    def memcpy(self, to, source, size, kind, stream):
        self.not_captured("copying")
        self.check_copy(to, source, kind)
        self.unfinished = True
        ctypes.memmove(to, source, size)

    def memcpy2d(self, to, pitch, source, source_pitch, width, rows, kind, stream):
        assert pitch >= width <= source_pitch
        self.not_captured("copying")
        self.unfinished = True
        for k in range(rows):
            ctypes.memmove(to + k * pitch, source + k * source_pitch, width)


# ---- ranks: each thread may have a host of its own

_of_thread = threading.local()


class _OfThread(types.ModuleType):
    """A module of the host that this thread has."""

    def __init__(self, name, module):
        super().__init__(name)
        self.__dict__["module"] = module

    def __getattr__(self, name):
        return getattr(self.module(), name)


def this_host(default):
    return getattr(_of_thread, "host", default)


@contextmanager
def host_of_rank(directory, free=1 << 30):
    """Let this thread have a machine of its own, beside that of `install`."""
    _of_thread.host = Host(directory, free)
    try:
        yield _of_thread.host
    finally:
        del _of_thread.host


def install(monkeypatch, directory, free=1 << 30):
    """Put a machine where ``import cupy`` finds it, and return it."""
    PENDING.clear()  # what a test before left undone is not for this one to do
    host = Host(directory, free)
    monkeypatch.setitem(sys.modules, "cupy", _OfThread("cupy", lambda: this_host(host).cupy))
    monkeypatch.setitem(sys.modules, "cupy.cuda", _OfThread("cupy.cuda", lambda: this_host(host).cupy.cuda))
    monkeypatch.setattr(cublaslt, "Handle", object)
    monkeypatch.setattr(cublaslt, "algorithms", lambda *given: this_host(host).algorithms(*given))
    monkeypatch.setattr(cublaslt, "can_run", lambda *given: this_host(host).can_run(*given))
    monkeypatch.setattr(cublaslt, "matmul", lambda *given: this_host(host).multiply(*given))
    monkeypatch.setattr(session, "perf_counter", lambda: this_host(host).clock)
    device_module._device.cache_clear()
    monkeypatch.setattr(device_module, "_problems", {})
    monkeypatch.setattr(errors, "_used_by", set())
    probed.cache_clear()
    monkeypatch.setattr(session, "_TIMED_SECONDS", 6e-4)  # a few steps: a made-up clock has no noise
    monkeypatch.setattr(session, "_REPEATS", 2)
    return host
