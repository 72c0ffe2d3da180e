"""Operands in bfloat16, bit by bit: the forms that kernels write, and the products that they make of them."""

import numpy as np
import pytest
from bf16_kernels import Bf16Kernels, panel_of, random_values, room
from bf16_reference import left_form, pairs_along_rows, product_of_vectors, right_form
from engine_runs import needs_bf16
from gdkernels_numba.cpu.features import AVX512_BF16
from gdkernels_numba.ir.format import LINE

pytestmark = needs_bf16

SHAPES = [(32, 32), (64, 64), (1, 1), (33, 17), (70, 64), (31, 50), (2, 63)]


@pytest.fixture(scope="module")
def kernel():
    return Bf16Kernels(AVX512_BF16)


@pytest.mark.parametrize("name", ["pack_bf16_rows", "pack_bf16_distant_rows"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_forms_of_a_value(kernel, shape, name):
    values = random_values(shape)
    panel = panel_of(values)
    rows, columns = panel.shape
    left, right = room((columns // 32, rows, 16), 7), room((rows // 2, columns), 7)
    transposed = room((rows // 32, columns, 16), 7)
    bytes_of = (rows * LINE, columns * 4, columns * LINE)
    kernel(name, *shape, panel, columns * 4, left, bytes_of[0], right, bytes_of[1], transposed, bytes_of[2])
    assert np.array_equal(left, left_form(values))
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(transposed, left_form(values.T))


@pytest.mark.parametrize("name", ["pack_bf16_weights", "pack_bf16_distant_weights"])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] <= 64], ids=str)
def test_the_forms_of_a_block_of_weights(kernel, shape, name):
    values = random_values(shape)
    panel = panel_of(values)
    rows, columns = panel.shape
    right, back = room((rows // 2, columns), 7), room((columns // 2, rows), 7)
    kernel(name, *shape, panel, columns * 4, right, columns * 4, back, rows * 4)
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(back, right_form(values.T)[0])


def test_forms_that_nobody_wants_are_not_written(kernel):
    values = random_values((40, 40))
    panel = panel_of(values)
    right, back = room((32, 64), 7), room((32, 64), 7)
    kernel("pack_bf16_rows", 40, 40, panel, 256, 0, 0, 0, 0, 0, 0)
    kernel("pack_bf16_weights", 40, 40, panel, 256, 0, 0, back, 256)
    kernel("pack_bf16_weights", 40, 40, panel, 256, right, 256, 0, 0)
    assert np.array_equal(right, right_form(values)[0])
    assert np.array_equal(back, right_form(values.T)[0])


@pytest.mark.parametrize("shape", [(32, 32, 64), (1, 1, 1), (13, 70, 49), (7, 33, 16), (66, 130, 64)], ids=str)
@pytest.mark.parametrize("goes_on", [0, 1])
def test_products_are_the_sums_of_the_reference(kernel, shape, goes_on):
    rows, depth, columns = shape
    a, b, start = (
        random_values(shape, k) for k, shape in enumerate([(rows, depth), (depth, columns), (rows, columns)])
    )
    found = kernel.product(a, b, start, goes_on)
    wanted = product_of_vectors(pairs_along_rows(a), pairs_along_rows(b.T).T, 0)
    assert np.array_equal(found, wanted[:rows, :columns] + (start if goes_on else 0))
