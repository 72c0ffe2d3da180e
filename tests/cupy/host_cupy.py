"""A stand-in for CuPy that computes: device memory is the host's, kernels are their twins, graphs are replayed.

It is strict where CUDA is: while a graph is captured nothing runs, and allocating, waiting or copying to the host is an
error, as is waiting for the device in whatever thread, work on a stream that is not in the capture, or one that is not
joined when it ends; a capture ends when it is told to, and not before; an argument has the size that its kernel's
parameter has; new memory holds NaN, and the caller's stream may still write to what it was given. A graph's streams run
as early, or as late, as their events allow.
"""

import ctypes
import re
import sys
import threading
import types
import weakref
from contextlib import contextmanager

import numpy as np
import standin
from gdkernels_cupy.cuda import cublaslt, errors
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.graphs import session
from gdkernels_cupy.graphs.probe import probed
from host_nccl import nccl_of
from programs import module
from twin import Twin

SIZES = {"double": 8, "int": 4, "long long": 8}
CALLER = "what the caller's stream still has to do"


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
        self.fail_after = None  # launches until the device fails
        self.interrupt_at = None  # the node of a graph before which Ctrl-C is pressed
        self.largest = free  # what can be had at once: free memory may be in pieces
        self.released = 0  # how often the pool was told to give back what it keeps
        self.pinned = []  # ranges of addresses
        self.pinnable = 1 << 30  # bytes
        self._twins = {}
        self.cupy = _module(self)

    # ---- launching

    def execute(self, work):
        if self.captured is not None:
            stream = self.streams[-1]
            if stream not in self.tails:
                raise CaptureError("work on a stream that is not in the capture")
            if len(self.captured) == self.interrupt_at:
                raise KeyboardInterrupt
            self.captured.append((stream, self.tails[stream], work))
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
        self.execute(lambda kept=cells: standin.matmul(*given[:4], scalars, *given[5:]))

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
        self.released += 1

    def pinned_memory(self, size, flags):
        assert flags == 1, "portable: for every device"
        if size > self.pinnable:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        block = np.zeros(size, np.uint8)
        addresses = range(block.ctypes.data, block.ctypes.data + size)
        self.pinned.append(addresses)
        weakref.finalize(block, self.pinned.remove, addresses)  # others may have the addresses after it
        return types.SimpleNamespace(ptr=block.ctypes.data, bytes=block)

    def _attributes(self, address):
        return types.SimpleNamespace(type=1 if any(address in addresses for addresses in self.pinned) else 2)

    def _asarray(self, x, dtype=None):
        self.not_captured("allocating")
        array = np.asarray(x, dtype).view(Array)
        if isinstance(x, Array):
            array._where = x.device
        else:
            array = array.copy()  # what is on the host is copied to the device
            array._where = types.SimpleNamespace(id=self.current[-1])
        return array

    def _ascontiguousarray(self, a, dtype=None):
        fits = isinstance(a, Array) and a.flags.c_contiguous and a.dtype == (dtype or a.dtype)
        return a if fits else self._asarray(np.ascontiguousarray(a), dtype)

    def _memcpy(self, to, source, size, kind, stream):
        self.not_captured("copying")
        self.unfinished = True
        ctypes.memmove(to, source, size)

    def _memcpy2d(self, to, pitch, source, source_pitch, width, rows, kind, stream):
        assert pitch >= width <= source_pitch
        self.not_captured("copying")
        self.unfinished = True
        for k in range(rows):
            ctypes.memmove(to + k * pitch, source + k * source_pitch, width)


def _module(host):
    runtime = types.SimpleNamespace(
        memcpyHostToDevice=1,
        memcpyDeviceToHost=2,
        memcpyDeviceToDevice=3,
        memcpyAsync=host._memcpy,
        memcpy2DAsync=host._memcpy2d,
        memGetInfo=lambda: (host.free, host.total),
        getDeviceCount=lambda: 4,
        deviceGetAttribute=lambda attribute, device: 0,
        getDeviceProperties=lambda device: {"name": b"the host", "major": 7, "minor": 0, "totalGlobalMem": 1},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        memoryTypeHost=1,
        hostAllocPortable=1,
        CUDARuntimeError=CUDARuntimeError,
        pointerGetAttributes=host._attributes,
    )

    class Device:
        compute_capability = "75"

        def __init__(self, number=None):
            self.id = host.current[-1] if number is None else number

        def __enter__(self):
            host.current.append(self.id)

        def __exit__(self, *error):
            host.current.pop()

        def synchronize(self):
            host.not_captured("waiting")

    class Stream:
        def __init__(self, non_blocking=False):
            assert non_blocking, "the null stream cannot be captured"
            self.ptr = id(self)

        def __enter__(self):
            host.streams.append(self)

        def __exit__(self, *error):
            host.streams.pop()

        def synchronize(self):
            host.not_captured("waiting")
            host.unfinished = False

        def wait_event(self, event):
            if event == CALLER:
                host.followed.append(host.launches)
            elif host.captured is not None:
                host.tails[self] = host.tails.get(self, frozenset()) | event

        def record(self):
            return host.tails[self] if host.captured is not None else frozenset()

        def begin_capture(self):
            host.not_captured("a capture")
            host.captured, host.tails = [], {self: frozenset()}

        def end_capture(self):
            nodes, host.captured = host.captured, None
            if nodes is None:
                raise CaptureError("the stream is not captured")
            joined, pending = set(), [*host.tails[self]]
            while pending:
                node = pending.pop()
                joined.add(node)
                pending += nodes[node][1] - joined
            if len(joined) < len(nodes):
                raise CaptureError("a stream of the capture is not joined")
            return Graph(self, nodes)

    class Graph:
        def __init__(self, stream, nodes):
            self.stream, self.nodes = stream, nodes
            host.graphs += 1

        def launch(self, stream):
            left, done = list(range(len(self.nodes))), set()
            while left:
                ready = [k for k in left[:64] if self.nodes[k][1] <= done]
                copies = [k for k in ready if self.nodes[k][0] is not self.stream]
                others = [k for k in ready if self.nodes[k][0] is self.stream]
                first, then = (copies, others) if host.copies_early else (others, copies)
                node = (first or then)[0]
                host.execute(self.nodes[node][2])
                left.remove(node)
                done.add(node)

    class RawModule:
        def __init__(self, code, options):
            assert options == ("-std=c++17",)
            self.code = code

        def get_function(self, name):
            return Kernel(self.code, name)

    class Kernel:
        def __init__(self, code, name):
            self.name = name
            self.twin, text = host.twin(code, name)
            found = re.search(rf"void {name}\(([^)]*)\)", text)
            self.sizes = [self.size(p) for p in found[1].split(",")] if found else None

        @staticmethod
        def size(parameter):
            return 8 if "*" in parameter else SIZES[parameter.strip().rsplit(" ", 1)[0]]

        def __call__(self, grid, block, arguments):
            assert self.sizes is None or [a.nbytes for a in arguments] == self.sizes
            host.execute(lambda: self.work(grid, block, arguments))

        def work(self, grid, block, arguments):
            with _one_twin:
                self.twin(self.name, grid, block, arguments)

    class Block:
        def __init__(self, size):
            host.not_captured("allocating")
            assert host.streams, "memory that the caller's stream may still be writing to"
            if size > min(host.free, host.largest):
                raise OutOfMemoryError(f"{size} bytes")
            self._bytes, self.ptr = standin.give(size)

    cupy = types.ModuleType("cupy")
    cupy.ndarray = Array
    cupy.asarray = host._asarray
    cupy.ascontiguousarray = host._ascontiguousarray
    cupy.empty = lambda shape, dtype: host._asarray(np.full(shape, np.nan), dtype)
    cupy.asnumpy = lambda a: np.array(a)
    cupy.from_dlpack = np.from_dlpack
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=host.release)
    cupy.__version__ = "14.2.0"
    caller = types.SimpleNamespace(record=lambda: CALLER, synchronize=finish_copies)
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        Stream=Stream,
        alloc=Block,
        runtime=runtime,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        get_current_stream=lambda: caller,
        PinnedMemory=host.pinned_memory,
        UnownedMemory=lambda ptr, size, owner, device_id: types.SimpleNamespace(
            ptr=ptr, owner=owner, device_id=device_id
        ),
        nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 5)),
        MemoryPointer=lambda memory, offset: types.SimpleNamespace(memory=memory),
    )
    cupy.RawModule = RawModule
    cupy.cuda.nccl = nccl_of(host)
    return cupy


# ---- ranks: each thread may have a host of its own

_of_thread = threading.local()
_one_twin = threading.Lock()  # where a thread of it is, they keep in variables


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
