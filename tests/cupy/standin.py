"""cublasLt without a device: the real descriptors are read back, and done on host memory as cublasLt.h says."""

import ctypes
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda.cublaslt import Compute, DataType, DescriptorAttribute, LayoutAttribute, PointerMode
from gdkernels_cupy.graphs.interpret import from_bfloat16, round_to_tf32, to_bfloat16

STORED = {DataType.R_32F: np.float32, DataType.R_64F: np.float64, DataType.R_16BF: np.uint16}
RELU, BIAS, DRELU, BGRAD, GELU, DGELU, AUX, BGRADA = 2, 4, 8, 16, 32, 64, 128, 256


# Memory that a stand-in for a device has given away, by its address: bytes that go when whoever has them lets go.
_given = WeakValueDictionary()


def give(size):
    """Return bytes of new memory, at an address that is a multiple of 256, and that address."""
    whole = np.full(size + 256, 0xFF, np.uint8)
    address = -(-whole.ctypes.data // 256) * 256
    start = address - whole.ctypes.data
    memory = whole[start : start + size]
    _given[address] = memory
    return memory, address


def holder_of(address):
    """Return the memory of `give` that an address is in, or None."""
    return next((m for start, m in list(_given.items()) if start <= address < start + len(m)), None)


def bytes_at(address, size):
    """Return the bytes there. Memory of `give` lives as long as they do, as an address alone would not keep it."""
    for start, memory in list(_given.items()):
        if start <= address and address + size <= start + len(memory):
            return memory[address - start : address - start + size]
    return np.frombuffer((ctypes.c_char * size).from_address(address), np.uint8)


def view(address, dtype, shape, strides):
    size = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
    return np.ndarray(shape, dtype, bytes_at(address, size), strides=strides)


_known = WeakKeyDictionary()


def attributes(thing):
    """Return what cublasLt has of a descriptor or a layout; once, as nobody changes them after they are made."""
    if thing not in _known:
        names = DescriptorAttribute if isinstance(thing, cublaslt.Descriptor) else LayoutAttribute
        _known[thing] = {name: thing[name] for name in names}
    return _known[thing]


def matrix(layout, address):
    """Return the column-major matrix that a layout describes."""
    get = attributes(layout)
    rows, columns, ld = (get[a] for a in (LayoutAttribute.ROWS, LayoutAttribute.COLS, LayoutAttribute.LD))
    assert get[LayoutAttribute.ORDER] == 0
    assert ld >= rows, "a leading dimension below the rows"
    assert address % 256 == 0, "what a preference says of A, B, C and D where nobody sets it"
    dtype = np.dtype(STORED[DataType(get[LayoutAttribute.TYPE])])
    return view(address, dtype, (rows, columns), (dtype.itemsize, ld * dtype.itemsize))


def numbers(bits):
    return from_bfloat16(bits) if bits.dtype == np.uint16 else bits


def cut_to_tf32(a):
    """Return what is left of float32 where the last bits are cut off, which nothing forbids a library for tf32."""
    bits = np.array(a, np.float32).view(np.uint32)
    return np.where(np.isfinite(a), (bits & np.uint32(0xFFFFE000)).view(np.float32), a)


def scalars_now(descriptor, scalars):
    """Return the scalars of a product at addresses that stay, and what keeps them.

    On the host, cublasLt reads them when it is called, also in a capture: they may be gone when a graph is launched.
    """
    get = attributes(descriptor)
    if get[DescriptorAttribute.POINTER_MODE] != PointerMode.HOST:
        return scalars, None
    real = np.float64 if get[DescriptorAttribute.COMPUTE_TYPE] == Compute.F64 else np.float32
    cells = np.array([view(at, np.dtype(real), (1,), (0,))[0] for at in scalars], real)
    return (cells.ctypes.data, cells.ctypes.data + cells.itemsize), cells


def matmul(handle, descriptor, layouts, addresses, scalars, algorithm, workspace, stream):
    """Do a product, or the same one for each matrix of a batch, whose strides are elements."""
    get, (count, *others) = attributes(descriptor), [attributes(one)[LayoutAttribute.BATCH_COUNT] for one in layouts]
    assert others == [count, count]
    aux, bias = (get[DescriptorAttribute[name]] for name in ("EPILOGUE_AUX_BATCH_STRIDE", "BIAS_BATCH_STRIDE"))
    epilogue, out = get[DescriptorAttribute.EPILOGUE], STORED[DataType(attributes(layouts[2])[LayoutAttribute.TYPE])]
    if epilogue & (RELU | DRELU):
        assert aux % 128 == 0, "the stride of bits"
        aux //= 8
    else:
        assert aux % 8 == 0
        aux *= np.dtype(out).itemsize
    for k in range(count):
        places = []
        for layout, address in zip(layouts, addresses, strict=True):
            kind, stride = (attributes(layout)[LayoutAttribute[n]] for n in ("TYPE", "STRIDED_BATCH_OFFSET"))
            assert count == 1 or stride, "matrices of a batch in one place"
            places.append(address + k * stride * np.dtype(STORED[DataType(kind)]).itemsize)
        beside = k * aux, k * bias * np.dtype(out).itemsize
        with np.errstate(all="ignore"):
            _product(descriptor, layouts, tuple(places), scalars, beside)


def _product(descriptor, layouts, addresses, scalars, beside):
    get = attributes(descriptor)
    compute, epilogue = Compute(get[DescriptorAttribute.COMPUTE_TYPE]), get[DescriptorAttribute.EPILOGUE]
    real = np.float64 if compute == Compute.F64 else np.float32
    assert get[DescriptorAttribute.SCALE_TYPE] == (DataType.R_64F if real is np.float64 else DataType.R_32F)
    assert get[DescriptorAttribute.POINTER_MODE] in (PointerMode.HOST, PointerMode.DEVICE)
    a, b, d = (matrix(layout, address) for layout, address in zip(layouts, addresses, strict=True))
    alpha, beta = (view(at, np.dtype(real), (1,), (0,))[0] for at in scalars)
    left, right = numbers(a), numbers(b)
    left = left.T if get[DescriptorAttribute.TRANSA] else left
    right = right.T if get[DescriptorAttribute.TRANSB] else right
    assert left.shape[1] == right.shape[0]
    assert d.shape == (left.shape[0], right.shape[1])
    summed = left
    if compute == Compute.F32_FAST_TF32:
        left, right = round_to_tf32(left), round_to_tf32(right)
    result = alpha * (left @ right)
    if beta != 0:
        result = result + beta * numbers(d)
    rows, columns = d.shape
    at = get[DescriptorAttribute.EPILOGUE_AUX_POINTER] + beside[0]
    if epilogue & AUX:
        ld = get[DescriptorAttribute.EPILOGUE_AUX_LD]
        assert ld >= rows
        assert at % 16 == 0
        if epilogue & (RELU | DRELU):
            assert ld % 128 == 0
            auxiliary = view(at, np.dtype(np.uint8), (columns, ld // 8), (ld // 8, 1))
        else:
            assert ld % 8 == 0
            auxiliary = view(at, d.dtype, (rows, columns), (d.dtype.itemsize, ld * d.dtype.itemsize))
    if epilogue & DRELU:
        result = np.where(np.unpackbits(auxiliary, axis=1, count=rows, bitorder="little").T, result, 0)
    elif epilogue & DGELU:
        result = result * gelu(numbers(auxiliary))[1]
    if epilogue & (BIAS | BGRAD | BGRADA):
        dtype = np.dtype(STORED[DataType(get[DescriptorAttribute.BIAS_DATA_TYPE])])
        assert dtype == d.dtype, "cuBLAS takes a bias in the type of the result"
        bias = view(get[DescriptorAttribute.BIAS_POINTER] + beside[1], dtype, (rows,), (dtype.itemsize,))
        if epilogue & BIAS:
            result = result + numbers(bias)[:, None]
        else:
            sums = (result if epilogue & BGRAD else summed).sum(axis=1)
            bias[...] = to_bfloat16(sums) if dtype == np.uint16 else sums
    if epilogue & RELU:
        if epilogue & AUX:
            auxiliary[:, : -(-rows // 8)] = np.packbits((result > 0).T, axis=1, bitorder="little")
        result = np.maximum(result, 0)
    elif epilogue & GELU:
        if epilogue & AUX:
            auxiliary[...] = to_bfloat16(result) if d.dtype == np.uint16 else result
        result = gelu(result)[0]
    d[...] = to_bfloat16(result) if d.dtype == np.uint16 else result


def gelu(z):
    """Return the tanh form and its derivative by z, as a library would write them."""
    with np.errstate(all="ignore"):
        z = np.asarray(z, np.float64)
        t = np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))
        slope = 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z * z)
        return 0.5 * z * (1 + t), slope


def algorithms(handle, descriptor, layouts, workspace, count=8):
    result = cublaslt.HeuristicResult()
    result.algorithm.data[0] = descriptor[DescriptorAttribute.EPILOGUE]
    return [result]


def can_run(handle, descriptor, layouts, algorithm, workspace):
    return algorithm.data[0] == descriptor[DescriptorAttribute.EPILOGUE]
