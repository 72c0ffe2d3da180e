"""JᵀJ, its gradient and the error as lists of operations, against the definition in float64."""

import logging
from functools import partial

import numpy as np
import pytest
from compared_products import compare_with_definition, drawn
from gdkernels_cupy.graphs import row_products
from gdkernels_cupy.graphs.row_products import GraphProducts
from host_runs import OnHost
from interpreted import Interpreted
from programs import PRODUCTS
from record_wise_blocks import BLOCKS, Own

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.backend.least_squares import NormalEquations
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.errors import BackendError


class Wide(OnHost):
    precisions = ("float32", "float64")

    def devices(self):
        return ["cuda:0"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_as_a_list(name, dtype):
    """Interpreted, one tile and several, each in one piece and in three."""
    program = Program(BLOCKS[name], 3)
    for pieces in (1, 3):
        backend = Interpreted(pieces=pieces)
        products = backend.compile_products(program, Plan("interpreted", "cpu", dtype))
        for records in (1, 40):
            compare_with_definition(
                partial(NormalEquations, backend, "cpu", program, products=products), program, dtype, records
            )


def on_host(program, dtype="float32", backend=None, **choices):
    """Return what makes the equations for a loss by CUDA graphs on the host."""
    backend = backend or Wide()
    products = backend.compile_products(program, Plan("cupy", "cuda:0", dtype, choices))
    return lambda loss: NormalEquations(backend, "cuda:0", program, loss, products)


def in_turns():
    """Return each of the networks in one precision, by turns; in the other where there is time."""
    for k, name in enumerate(PRODUCTS):
        for turn, dtype in enumerate(("float32", "float64")):
            yield pytest.param(name, dtype, marks=[pytest.mark.slow] if (k + turn) % 2 else [])


@pytest.mark.parametrize(("name", "dtype"), list(in_turns()))
def test_the_kernels_on_the_host(host, name, dtype, monkeypatch):
    """Every activation is in one of them; tiles that are full and one that is not."""
    monkeypatch.setattr(row_products, "_MOST_ROWS", 16)
    compare_with_definition(on_host(PRODUCTS[name]), PRODUCTS[name], dtype, 40)


@pytest.mark.parametrize("loss", losses.BY_NAME)
def test_each_loss_with_weights(host, loss):
    outputs = 1 if loss == "huber" else 3
    weights = np.random.default_rng(1).integers(0, 3, 30).astype(float)
    program = Program(gd.blocks.Sequential(gd.blocks.Dense(4, "tanh"), gd.blocks.Dense(outputs)), 3)
    compare_with_definition(on_host(program), program, "float32", 30, loss, weights)


X = np.random.default_rng(0).normal(size=(50, 3))
RUN = {"solver": "lm", "epochs": 4, "progress": False}


def fitted(block="dense", precision="float64", epochs=4):
    network = gd.Network(BLOCKS[block], inputs=3, seed=0, backend=Wide(), precision=precision)
    return network.fit(X, X[:, :2], **{**RUN, "epochs": epochs})


def test_a_fit_takes_the_steps_of_other_backends_and_tells_where_it_ran(host):
    history = fitted()
    other = gd.Network(BLOCKS["dense"], inputs=3, seed=0, backend="numpy", precision="float64")
    assert history.loss == pytest.approx(other.fit(X, X[:, :2], **RUN).loss, rel=1e-9)
    assert (history.origin, history.backend, history.device) == ("compiled", "cupy", "cuda:0")
    choices = history.plan.choices
    assert (choices["kernel"], choices["epilogues"]) == ("graphs", ())
    assert any(key.startswith("27x27x50 tn float64->float64") for key in choices["algorithms"]), choices


def test_what_cannot_be_compiled_runs_as_a_definition_and_says_so(host):
    whole = Own({"W": (3, 2)}, lambda p, a, *, xp: a @ xp.astype(xp.astype(9 * p["W"], xp.int32), a.dtype), 2)
    network = gd.Network(gd.blocks.Sequential(whole, gd.blocks.Dense(2)), inputs=3, seed=0, backend=Wide())
    history = network.fit(X, X[:, :2], **RUN)
    assert history.origin == "definition"
    assert "the definition runs as it is, because it cannot be compiled: " in history.reason


def test_wrong_products_are_found_on_your_rows_and_not_used(host, monkeypatch, caplog):
    monkeypatch.setenv("GDKERNELS_CHECK", "once")
    right = fitted()
    assert right.origin == "compiled"
    add = GraphProducts.add

    def wrong(self, arrays, x, y, r, total):
        add(self, arrays, x, y, r, total)
        total[0, 0] *= 1.01

    monkeypatch.setattr(GraphProducts, "add", wrong)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        history = fitted()
    assert "the engine of CUDA graphs computes other least squares here than the definition" in caplog.text
    assert history.origin == "definition"
    assert "the definition runs: the engine of CUDA graphs computes other least squares" in history.reason
    assert history.loss == pytest.approx(right.loss, rel=1e-9)


def test_tiles_shrink_where_memory_is_short_and_what_fits_nowhere_is_told(host, monkeypatch):
    program, (vector, constants, x, y) = PRODUCTS["dense"], drawn(PRODUCTS["dense"], 500)
    at = {}
    for largest in (1 << 30, 1 << 17):
        host.largest = largest
        equations = on_host(program)(losses.BY_NAME["sse"])
        tiles = list(equations.tiles([(x, y, None)], "float32"))
        at[largest] = equations.at(vector, constants, tiles, "float32")
    (whole, parts) = at.values()
    np.testing.assert_allclose(np.tril(parts.hessian), np.tril(whole.hessian), rtol=1e-4, atol=1e-3)
    host.largest = 1 << 10
    equations = on_host(program)(losses.BY_NAME["sse"])
    with pytest.raises(BackendError, match="are free"):
        equations.at(vector, constants, list(equations.tiles([(x, y, None)], "float32")), "float32")
