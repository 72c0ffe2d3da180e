"""The derivative of each record by itself, against finite differences, wherever records meet parameters."""

import numpy as np
import pytest
from record_wise_blocks import BLOCKS, Own

from gdkernels.backend.least_squares.jacobian import Jacobian
from gdkernels.backend.program import Program
from gdkernels.errors import InputError
from gdkernels.graph import Graph, interpret, vjps

RECORDS = 5


@pytest.mark.parametrize("name", BLOCKS)
def test_rows_of_the_jacobian_are_those_of_finite_differences(name):
    program = Program(BLOCKS[name], 3)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(RECORDS, 3))
    x[:, 0] = [0, 2, 1, 1, 0]  # codes, for the embedding
    arrays = {n: told.drawn(generator) + 0.1 for n, told in program.parameters.items() if told.trains}
    arrays |= {n: told.drawn(generator) for n, told in program.parameters.items() if not told.trains}
    jacobian = Jacobian(program)
    output, rows = jacobian.at(arrays, x, xp=np)
    np.testing.assert_allclose(output, program.forward(arrays, x, xp=np), rtol=1e-13)
    for k in range(program.outputs):
        cotangent = np.zeros_like(output)
        cotangent[:, k] = np.arange(1.0, RECORDS + 1)  # each record has a weight of its own
        found, back = rows(cotangent), jacobian.ways_back(arrays, np.asarray, xp=np)
        wider = np.full((RECORDS, jacobian.parameters + 3), np.nan)
        found.write(wider, back)
        written = wider[:, : jacobian.parameters].T
        np.testing.assert_allclose(written.T, found.joined(back, xp=np), rtol=1e-13)
        assert np.isnan(wider[:, jacobian.parameters :]).all()
        for parameter, place in jacobian.slices.items():
            size = arrays[parameter].size
            for j in range(size):
                step = np.zeros(size)
                step[j] = 1e-6
                step = step.reshape(arrays[parameter].shape)
                both = [
                    program.forward({**arrays, parameter: arrays[parameter] + sign * step}, x, xp=np)[:, k]
                    for sign in (1, -1)
                ]
                slope = (both[0] - both[1]) / 2e-6 * cotangent[:, k]
                np.testing.assert_allclose(written[place][j], slope, rtol=1e-6, atol=1e-7)


def test_records_that_depend_on_each_other_are_refused_with_what_to_use():
    mixing = Own({"W": (3, 2)}, lambda p, a, *, xp: xp.matmul(a - xp.mean(a, axis=0, keepdims=True), p["W"]), 2)
    with pytest.raises(InputError, match=r"several records together: sum of .*axis=1"):
        Jacobian(Program(mixing, 3))
    both = Own({"W": (3, 2)}, lambda p, a, *, xp: xp.matmul(xp.matmul(a, a.T), xp.matmul(a, p["W"])), 2)
    with pytest.raises(InputError, match=r"several records together: matmul"):
        Jacobian(Program(both, 3))


def test_the_row_wise_outer_product_and_its_own_derivative():
    graph = Graph()
    records, m, n = graph.dim("B"), graph.dim("n2", 2), graph.dim("n3", 3)
    a, d = graph.input("a", (records, m)), graph.input("d", (records, n))
    product = graph.row_outer(a, d)
    generator = np.random.default_rng(0)
    point = {"a": generator.normal(size=(4, 2)), "d": generator.normal(size=(4, 3))}
    (found,) = interpret([product], point, xp=np)
    np.testing.assert_array_equal(found, np.einsum("bi,bj->bij", point["a"], point["d"]).reshape(4, 6))
    cotangent = graph.input("ct", product.shape)
    weights = generator.normal(size=(4, 6))
    of_a, of_d = interpret(vjps(product, [a, d], cotangent), {**point, "ct": weights}, xp=np)
    np.testing.assert_allclose(of_a, np.einsum("bij,bj->bi", weights.reshape(4, 2, 3), point["d"]))
    np.testing.assert_allclose(of_d, np.einsum("bij,bi->bj", weights.reshape(4, 2, 3), point["a"]))
