"""The module `cupy` of the stand-in: devices, streams, graphs, kernels and memory, each as strict as CUDA is."""

import re
import threading
import types

import numpy as np
import standin
from host_arrays import Array, CaptureError, CUDARuntimeError, OutOfMemoryError, finish_copies
from host_nccl import nccl_of

SIZES = {"double": 8, "int": 4, "long long": 8}
MOST_ARGUMENTS, MOST_THREADS, MOST_BLOCKS = 4096, 1024, (2**31 - 1, 65_535, 65_535)  # of every device
CALLER = "what the caller's stream still has to do"
_ONE_TWIN = threading.Lock()  # where a thread of it is, they keep in variables


def cupy_of(host):
    """Return the module `cupy` of a machine."""
    runtime = types.SimpleNamespace(
        memcpyHostToDevice=1,
        memcpyDeviceToHost=2,
        memcpyDeviceToDevice=3,
        memcpyAsync=host.memcpy,
        memcpy2DAsync=host.memcpy2d,
        memGetInfo=lambda: (host.free, host.total),
        getDeviceCount=lambda: 4,
        deviceGetAttribute=lambda attribute, device: 0,
        getDeviceProperties=lambda device: {"name": b"the host", "major": 7, "minor": 0, "totalGlobalMem": 1},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        memoryTypeHost=1,
        hostAllocPortable=1,
        CUDARuntimeError=CUDARuntimeError,
        pointerGetAttributes=host.attributes,
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
            self.ptr, self.device_id = id(self), host.current[-1]

        def __enter__(self):
            if self.device_id != host.current[-1]:
                raise RuntimeError(f"the stream is of device {self.device_id}, the current one is {host.current[-1]}")
            host.streams.append(self)

        def __exit__(self, *error):
            host.streams.pop()

        def synchronize(self):
            host.not_captured("waiting")
            host.unfinished = False

        def wait_event(self, event):
            if event == CALLER:
                host.followed.append(host.launches)
                return
            capture, nodes = event
            if capture is not None and capture is not host.captured:
                raise CaptureError("an event of a capture that has ended")
            if capture is not None:
                host.tails[self] = host.tails.get(self, frozenset()) | nodes
            elif host.captured is not None and self in host.tails:
                raise CaptureError("an event from outside of the capture")

        def record(self):
            """Return an event: the capture that it is of, if any, and the nodes that it comes after."""
            captured = host.captured if host.captured is not None and self in host.tails else None
            return captured, frozenset() if captured is None else host.tails[self]

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
            if any(memory() is None for node in self.nodes for memory in node[3]):
                raise CaptureError("a graph is launched after memory that it works on was freed")
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
            assert code.isascii(), "CuPy writes it to a file, in whatever encoding the locale has"
            self.code = code

        def get_function(self, name):
            return Kernel(self.code, name)

    class Kernel:
        def __init__(self, code, name):
            self.name, self.key = name, (code, name)
            self.twin, text = host.twin(code, name)
            found = re.search(rf"void {name}\(([^)]*)\)", text)[1].split(",")
            self.sizes, self.pointers = [self.size(p) for p in found], ["*" in p for p in found]

        @staticmethod
        def size(parameter):
            return 8 if "*" in parameter else SIZES[parameter.strip().rsplit(" ", 1)[0]]

        def __call__(self, grid, block, arguments):
            assert [a.nbytes for a in arguments] == self.sizes
            assert sum(8 * -(-size // 8) for size in self.sizes) <= MOST_ARGUMENTS, "bytes of arguments"
            assert 0 < np.prod(block) <= MOST_THREADS
            assert all(0 < n <= most for n, most in zip(grid, MOST_BLOCKS, strict=False))
            if host.captured is None:
                host.loaded_kernels.add(self.key)
            elif self.key not in host.loaded_kernels:
                raise CaptureError(f"{self.name} has never run, while a graph is captured")
            addresses = [int(a) for a, pointer in zip(arguments, self.pointers, strict=True) if pointer]
            host.execute(lambda: self.work(grid, block, arguments), addresses)

        def work(self, grid, block, arguments):
            with _ONE_TWIN:
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
    cupy.asarray = host.asarray
    cupy.ascontiguousarray = host.ascontiguousarray
    cupy.empty = lambda shape, dtype: host.asarray(np.full(shape, np.nan), dtype)
    cupy.asnumpy = host.asnumpy
    cupy.take = lambda a, at, axis: host.asarray(np.take(a, at, axis))
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
