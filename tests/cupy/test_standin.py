"""The stand-ins themselves: nothing reads memory after whoever had it let go of it."""

import ctypes
import gc
import weakref

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.cuda.cublaslt import Compute
from gdkernels_cupy.graphs.operations import MatrixProduct, matrix
from gdkernels_cupy.graphs.products import Matmul
from gdkernels_cupy.graphs.session_memory import SessionAddresses
from host_arrays import CUDARuntimeError

FLOAT = np.dtype(np.float32)


def test_memory_lives_as_long_as_a_view_of_it():
    memory, address = standin.give(1000)
    whole, seen = weakref.ref(memory.base), standin.view(address + 8, FLOAT, (4, 5), (4, 32))
    seen[...] = 7
    del memory
    gc.collect()
    others = [np.zeros(1256, np.uint8) for _ in range(50)]  # they would get the memory
    assert whole() is not None
    assert (seen == 7).all()
    assert others
    del seen
    gc.collect()
    assert whole() is None


def test_addresses_that_were_pinned_are_so_no_more(host):
    block = host.pinned_memory(64, 1)
    address = block.ptr
    assert host.attributes(address).type == 1
    del block
    gc.collect()
    assert host.pinned == []
    assert host.attributes(address).type == 2


def test_what_is_on_the_other_side_of_the_bus_is_refused(host):
    gpu, numbers = device_module.device(0), np.ones(2, np.float32)
    with gpu.working():
        memory = gpu.put(np.zeros(4096, np.uint8))
        runtime = host.cupy.cuda.runtime
        for kind, to, source in (
            (runtime.memcpyHostToDevice, numbers.ctypes.data, memory.address),
            (runtime.memcpyDeviceToHost, memory.address, numbers.ctypes.data),
        ):
            with pytest.raises(CUDARuntimeError, match="direction"):
                runtime.memcpyAsync(to, source, 8, kind, gpu.stream.ptr)
        buffers = [matrix(name, 8, 8, "float32") for name in "abc"]
        at = SessionAddresses(memory.address, {"a": 0, "b": 256, "c": 512}, memory.address + 1024, 2)
        for number, scalars in ((1.0, (memory.address,) * 2), (1, (numbers.ctypes.data,) * 2)):
            product = Matmul(MatrixProduct(*buffers, alpha=number, beta=number), "float32", at)
            product.settle(gpu.handle, None, gpu.workspace.address, gpu.stream.ptr)
            product.scalars = scalars
            with pytest.raises(CUDARuntimeError, match="scalars"):
                product(gpu.handle, gpu.workspace.address, gpu.stream.ptr)


def test_scalars_on_the_host_are_read_when_a_product_is_called():
    descriptor = cublaslt.Descriptor(Compute.F32)
    cells = ctypes.c_float(2.0), ctypes.c_float(0.5)
    scalars, kept = standin.scalars_now(descriptor, tuple(map(ctypes.addressof, cells)))
    cells[0].value = cells[1].value = 99.0
    assert [standin.view(at, FLOAT, (1,), (0,))[0] for at in scalars] == [2.0, 0.5]
    assert kept is not None
