"""Calling the kernels for operands in bfloat16, on matrices as NumPy has them."""

import ctypes

import numpy as np
from bf16_reference import left_form, right_form
from gdkernels_numba.bytecode.arena import allocate
from gdkernels_numba.compilation import shared_kernels
from gdkernels_numba.ir.format import GRANULE, LINE, Format, padded


class Bf16Kernels:
    """The kernels of a route."""

    def __init__(self, route):
        self._kernels = shared_kernels(Format("float32", 16, route))

    def __call__(self, name, *values):
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))(self._kernels.address[name])
        function(*(v if isinstance(v, int) else v.ctypes.data for v in values))

    def product(self, a, b, start, goes_on):
        """Return a b, plus `start` where it goes on."""
        (rows, depth), columns = a.shape, b.shape[1]
        left, right = (room(form.shape, form) for form in (left_form(a), right_form(b)))
        result = panel_of(start)
        height, width = result.shape
        words, vectors = -(-depth // 2), -(-columns // 16)
        strides = (LINE, height * LINE, right, width * 4, result, width * 4)
        self("product", rows, words, vectors, left, *strides, goes_on)
        return result[:rows, :columns]


def room(shape, value=0, dtype=np.uint32):
    """Return an array that begins a page."""
    memory, address = allocate(int(np.prod(shape)) * 4)
    begin = address - memory.ctypes.data
    array = memory[begin : begin + int(np.prod(shape)) * 4].view(dtype).reshape(shape)
    array[...] = value
    return array


def panel_of(values):
    """Return a panel with the values, and what is not a number behind them."""
    rows, columns = (padded(n, GRANULE) for n in values.shape)
    panel = room((rows, columns), np.nan, np.float32)
    panel[: values.shape[0], : values.shape[1]] = values
    return panel


def random_values(shape, seed=0):
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape).astype(np.float32) * np.exp(random.uniform(-8, 8, shape)).astype(np.float32)
    values.flat[0] = 1 + 2.0**-8  # half way between two: goes to the even one
    values.flat[-1] = 1e-40  # denormal
    return values
