"""Operands in bfloat16, bit by bit: the forms that kernels write, and the products that they make of them."""

import ctypes

import numpy as np
import pytest
from engine_runs import needs_pairs
from gdkernels_numba.lower import shared_kernels
from gdkernels_numba.machine import AVX512_BF16
from gdkernels_numba.memory import allocate, padded
from gdkernels_numba.vector import GRANULE, LINE, Format
from pairs_reference import left_form, pairs_along_rows, product_of_vectors, right_form

pytestmark = needs_pairs

FORM = Format("float32", 16, AVX512_BF16)
SHAPES = [(32, 32), (64, 64), (1, 1), (33, 17), (70, 64), (31, 50), (2, 63)]


@pytest.fixture(scope="module")
def kernel():
    kernels = shared_kernels(FORM)

    def call(name, *values):
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))(kernels.address[name])
        function(*(v if isinstance(v, int) else v.ctypes.data for v in values))

    return call


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_forms_of_a_value(kernel, shape):
    values = random_values(shape)
    panel = panel_of(values)
    rows, columns = panel.shape
    left, right = room((columns // 32, rows, 16), 7), room((rows // 2, columns), 7)
    turned = room((rows // 32, columns, 16), 7)
    bytes_of = (rows * LINE, columns * 4, columns * LINE)
    kernel("narrow_rows", *shape, panel, columns * 4, left, bytes_of[0], right, bytes_of[1], turned, bytes_of[2])
    assert np.array_equal(left, left_form(values))
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(turned, left_form(values.T))


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] <= 64], ids=str)
def test_the_forms_of_a_block_of_weights(kernel, shape):
    values = random_values(shape)
    panel = panel_of(values)
    rows, columns = panel.shape
    right, back = room((rows // 2, columns), 7), room((columns // 2, rows), 7)
    kernel("narrow_weights", *shape, panel, columns * 4, right, columns * 4, back, rows * 4)
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(back, right_form(values.T)[0])


def test_forms_that_nobody_wants_are_not_written(kernel):
    values = random_values((40, 40))
    panel = panel_of(values)
    right, back = room((32, 64), 7), room((32, 64), 7)
    kernel("narrow_rows", 40, 40, panel, 256, 0, 0, 0, 0, 0, 0)
    kernel("narrow_weights", 40, 40, panel, 256, 0, 0, back, 256)
    kernel("narrow_weights", 40, 40, panel, 256, right, 256, 0, 0)
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(back, right_form(values.T)[0])


@pytest.mark.parametrize("shape", [(32, 32, 64), (1, 1, 1), (13, 70, 49), (7, 33, 16), (66, 130, 64)], ids=str)
@pytest.mark.parametrize("goes_on", [0, 1])
def test_products_are_the_sums_of_the_reference(kernel, shape, goes_on):
    rows, depth, columns = shape
    a, b = random_values((rows, depth), 1), random_values((depth, columns), 2)
    left, right = (room(form.shape, form) for form in (left_form(a), right_form(b)))
    height, width = (padded(n, GRANULE) for n in (rows, columns))
    start = random_values((height, width), 3)
    result = room((height, width), start, np.float32)
    words, vectors = -(-depth // 2), -(-columns // 16)
    strides = (LINE, height * LINE, right, width * 4, result, width * 4)
    kernel("product", rows, words, vectors, left, *strides, goes_on)
    wanted = product_of_vectors(pairs_along_rows(a), pairs_along_rows(b.T).T, np.zeros((height, width), np.float32))
    if goes_on:
        wanted = wanted + start
    assert np.array_equal(result[:rows, :columns], wanted[:rows, :columns])
