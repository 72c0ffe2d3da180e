"""JᵀJ, the gradient and the error by compiled code, against the definition in float64."""

import logging

import numpy as np
import pytest
from compared_products import compare_with_definition, drawn
from record_wise_blocks import BLOCKS, Own

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.backend.least_squares import NormalEquations
from gdkernels.backend.least_squares.products import Products
from gdkernels.backend.program import Program
from gdkernels.checking.checked_products import CheckedProducts
from gdkernels.definition import activations, losses
from gdkernels.dispatch import registry

NUMBA = registry.get("numba")
# Of which the engine does not compile the forward pass either.


def program_of(*layers, inputs=3):
    return Program(gd.blocks.Sequential(*layers), inputs)


def compiled(program, loss, dtype="float64", **choices):
    products = NUMBA.compile_products(program, Plan("numba", "cpu", dtype, {"threads": 1, **choices}))
    return NormalEquations(NUMBA, "cpu", program, loss, products)


def compare(program, dtype, records, loss="sse", weights=None, **choices):
    compare_with_definition(
        lambda function: compiled(program, function, dtype, **choices), program, dtype, records, loss, weights
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_as_the_definition_has_it(name, dtype):
    program = Program(BLOCKS[name], 3)
    compare(program, dtype, 5)
    compare(program, dtype, 700)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(dtype):
    """Side by side in one network: each has columns of J of its own, and one compilation serves them all."""
    ways = [gd.blocks.Sequential(gd.blocks.Dense(3, name), gd.blocks.Dense(2)) for name in activations.BY_NAME]
    compare(program_of(gd.blocks.Mean(*ways)), dtype, 40)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", losses.BY_NAME)
def test_each_loss(loss, outputs, weighted):
    if loss == "cross_entropy" and outputs == 1:
        pytest.skip("a class has at least two")
    weights = np.random.default_rng(1).integers(0, 3, 60).astype(float) if weighted else None
    program = program_of(gd.blocks.Dense(4, "tanh"), gd.blocks.Dense(outputs))
    compare(program, "float64", 60, loss, weights)
    compare(program, "float32", 60, loss, weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(1, 1, 1), (1, 63, 1), (2, 17, 33, 3), (65, 3, 1), (5, 70, 2)], ids=str)
def test_awkward_sizes(widths, dtype):
    """Columns of J that begin and end anywhere in a panel; one record, a tile and one more, several tiles."""
    inputs, *hidden, outputs = widths
    program = program_of(*(gd.blocks.Dense(n, "tanh") for n in hidden), gd.blocks.Dense(outputs), inputs=inputs)
    rows = compiled(program, losses.BY_NAME["sse"]).rows(dtype)
    for records in (1, 97, min(rows, 600) + 1):
        compare(program, dtype, records)


@pytest.mark.slow
@pytest.mark.parametrize("vector_width", [4, 8])
def test_narrower_vectors(vector_width):
    program = program_of(gd.blocks.Dense(17, "tanh"), gd.blocks.Dense(9, "tanh"), gd.blocks.Dense(2))
    compare(program, "float64", 50, vector_width=vector_width)
    compare(program, "float32", 50, vector_width=vector_width)


def test_bits_do_not_depend_on_threads():
    program = program_of(gd.blocks.Dense(20, "tanh"), gd.blocks.Dense(20, "tanh"), gd.blocks.Dense(1))
    vector, constants, x, y = drawn(program, 3000)
    found = []
    for threads in (1, 2, 3):
        equations = compiled(program, losses.BY_NAME["sse"], threads=threads)
        at = equations.at(vector, constants, list(equations.tiles([(x, y, None)], "float32")), "float32")
        found.append((at.error, at.gradient.tobytes(), np.tril(at.hessian).tobytes()))
    assert found[0] == found[1] == found[2]


def test_more_records_than_are_added_up_in_float32():
    program = program_of(gd.blocks.Dense(3, "tanh"), gd.blocks.Dense(1))
    compare(program, "float32", 20_000)


def test_a_fit_says_where_it_ran_and_why_as_a_definition():
    x = np.random.default_rng(0).normal(size=(50, 3))
    run = {"solver": "lm", "epochs": 3, "progress": False}
    history = gd.MLP([3, 5, 1], backend="numba", seed=0).fit(x, x[:, :1], **run)
    assert (history.origin, history.backend) == ("compiled", "numba")
    whole = Own({"W": (3, 2)}, lambda p, a, *, xp: a @ xp.astype(xp.astype(9 * p["W"], xp.int32), a.dtype), 2)
    network = gd.Network(gd.blocks.Sequential(whole, gd.blocks.Dense(2)), inputs=3, seed=0, backend="numba")
    history = network.fit(x, x[:, :2], **run)
    assert history.origin == "definition"
    assert "the definition runs as it is, because it cannot be compiled: " in history.reason
    assert gd.MLP([3, 5, 1], backend="numpy", seed=0).fit(x, x[:, :1], **run).origin == "definition"


def test_a_block_whose_output_is_a_sum_that_keeps_its_axis():
    network = gd.Network(BLOCKS["a column"], inputs=3, seed=0, backend="numba", precision="float64")
    x = np.random.default_rng(0).normal(size=(40, 3))
    history = network.fit(x, 2.0 * x[:, :1], epochs=20, solver="lm", progress=False)
    assert history.loss[-1] < 1e-20
    np.testing.assert_allclose(network.predict(x), 2.0 * x[:, :1], atol=1e-9)
    other = gd.Network(BLOCKS["a column"], inputs=3, seed=0, backend="numba", precision="float64")
    assert other.fit(x, x[:, :1], epochs=3, progress=False).origin == "compiled"


class Wrong(Products):
    """Adds up a little too much."""

    choices = None

    def __init__(self, right):
        self.right = right

    def rows(self, dtype):
        return self.right.rows(dtype)

    def workspace(self, dtype):
        return self.right.workspace(dtype)

    def predict(self, arrays, x):
        return self.right.predict(arrays, x)

    def add(self, arrays, x, y, r, total):
        self.right.add(arrays, x, y, r, total)
        total[0, 0] *= 1.01


@pytest.mark.parametrize("name", ["dense", "residual", "embedding", "unused"])
def test_it_is_compared_with_the_definition_where_somebody_asks(name, caplog):
    program = Program(BLOCKS[name], 3)
    vector, constants, x, y = drawn(program, 90)
    right = NUMBA.compile_products(program, Plan("numba", "cpu", "float64", {"threads": 1}))
    loss = losses.BY_NAME["sse"]
    expected = NormalEquations(NUMBA, "cpu", program, loss).at(vector, constants, [(x, y, None)], "float64")
    for products, warned in ((right, False), (Wrong(right), True)):
        checked = NormalEquations(NUMBA, "cpu", program, loss, CheckedProducts(program, products, NUMBA, "it"))
        with caplog.at_level(logging.WARNING, "gdkernels"):
            found = checked.at(vector, constants, [(x, y, None)], "float64")
        assert ("computes other least squares here than the definition" in caplog.text) is warned
        np.testing.assert_allclose(np.tril(found.hessian), np.tril(expected.hessian), rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-9, atol=1e-10)


def test_the_variable_asks_for_it(monkeypatch):
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    program = Program(BLOCKS["dense"], 3)
    assert isinstance(NUMBA.compile_products(program, Plan("numba", "cpu", "float64", {})), CheckedProducts)
