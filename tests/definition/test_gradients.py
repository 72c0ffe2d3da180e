"""Every gradient against finite differences in float64, and against reverse mode over the whole graph."""

from itertools import pairwise

import expected
import numpy as np
import pytest
from layered import Layer, forward, gradient, map_layers

from gdkernels.definition import activations, losses, network
from gdkernels.graph import Graph, interpret, pullback, vjp

STRUCTURES = {
    "one hidden layer": ([3, 4, 2], 5),
    "no hidden layer": ([3, 2], 4),
    "width 1, batch 1": ([1, 1, 1], 1),
    "batch 1": ([3, 2, 3], 1),
    "five hidden layers": ([2, 3, 3, 2, 3, 3, 2], 4),
}


def problem(sizes, batch, loss, *, bias=True, seed=0):
    rng = np.random.default_rng([seed, batch, *sizes])
    parameters = tuple(
        Layer(rng.standard_normal((m, n)) / np.sqrt(m), 0.5 * rng.standard_normal(n) if bias else None)
        for m, n in pairwise(sizes)
    )
    return parameters, rng.standard_normal((batch, sizes[0])), expected.targets(loss, (batch, sizes[-1]), rng)


def flat(layers):
    return np.concatenate([a.ravel() for layer in layers for a in layer if a is not None])


def unflat(vector, like):
    arrays, start = [], 0
    for layer in like:
        pair = []
        for a in layer:
            pair.append(None if a is None else vector[start : start + a.size].reshape(a.shape))
            start += 0 if a is None else a.size
        arrays.append(Layer(*pair))
    return tuple(arrays)


def layers_of(f, sizes):
    """Return f for every hidden layer, or for the output where there is none."""
    hidden = len(sizes) - 2
    return [f] * hidden + [activations.identity] if hidden else [f]


def check_gradient(f, loss, sizes, batch, *, bias=True, reduction="mean"):
    parameters, x, y = problem(sizes, batch, loss, bias=bias)
    if f is activations.exp:  # five on top of each other leave the range of floats otherwise
        parameters = map_layers(lambda a: 0.4 * a, parameters)
    functions, ell = layers_of(f, sizes), losses.BY_NAME[loss]

    def total(vector):
        return np.sum(ell(forward(unflat(vector, parameters), x, activations=functions, xp=np), y, xp=np))

    error, gradients = gradient(parameters, x, y, activations=functions, loss=ell, reduction=reduction, xp=np)
    scale = batch if reduction == "mean" else 1
    point, found = flat(parameters), flat(gradients) * scale
    np.testing.assert_allclose(error, total(point), rtol=1e-13)
    assert [g.W.shape for g in gradients] == [p.W.shape for p in parameters]
    # Every parameter by itself in a small network, else directions in which all take part.
    rng = np.random.default_rng(1)
    directions = np.eye(point.size) if point.size <= 30 else rng.standard_normal((12, point.size))
    slopes = [expected.directional_derivative(total, point, d) for d in directions]
    np.testing.assert_allclose(directions @ found, slopes, rtol=2e-8, atol=2e-9 * (1 + np.abs(slopes).max()))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("loss", losses.BY_NAME)
@pytest.mark.parametrize("activation", activations.BY_NAME)
def test_gradients_are_those_of_finite_differences(activation, loss, structure):
    check_gradient(activations.BY_NAME[activation], loss, *STRUCTURES[structure])


@pytest.mark.parametrize("loss", losses.BY_NAME)
@pytest.mark.parametrize("activation", activations.BY_NAME)
def test_gradients_without_biases(activation, loss):
    check_gradient(activations.BY_NAME[activation], loss, [3, 4, 2], 5, bias=False, reduction="sum")


@pytest.mark.parametrize("f", [activations.LeakyReLU(0.3), activations.ELU(1.7)], ids=repr)
def test_gradients_of_other_parameters(f):
    check_gradient(f, "sse", [3, 4, 2], 5)


def test_gradients_of_the_users_own():
    def mish(z, *, xp):
        return z * xp.tanh(xp.logaddexp(z, 0.0))

    def centred(z, *, xp):  # a reduction over the units, and one with axes of its own
        return z - xp.mean(z, axis=-1, keepdims=True) * xp.sqrt(xp.sum(z * z, axis=1) + 1.0)[:, None]

    check_gradient(mish, "huber", [3, 4, 2], 5)
    check_gradient(centred, "sse", [3, 4, 2], 5)


@pytest.mark.parametrize("activation", activations.BY_NAME)
@pytest.mark.parametrize("loss", losses.BY_NAME)
def test_the_way_back_is_reverse_mode_over_what_is_recorded_of_the_whole_step(activation, loss):
    sizes = [3, 4, 3, 2]
    functions, ell = layers_of(activations.BY_NAME[activation], sizes), losses.BY_NAME[loss]
    arrays, x, y = problem(sizes, 5, loss)

    graph = Graph()
    batch, widths = graph.dim("B"), [graph.dim(f"n{k}") for k in range(len(sizes))]
    parameters = [
        Layer(graph.input(f"W{k}", (m, n)), graph.input(f"b{k}", (n,))) for k, (m, n) in enumerate(pairwise(widths))
    ]
    error, gradients = gradient(
        parameters,
        graph.input("x", (batch, widths[0])),
        graph.input("y", (batch, widths[-1])),
        activations=functions,
        loss=ell,
        reduction="sum",
        xp=graph,
    )
    inputs = (
        {"x": x, "y": y} | {f"W{k}": p.W for k, p in enumerate(arrays)} | {f"b{k}": p.b for k, p in enumerate(arrays)}
    )
    for p, g in zip(parameters, gradients, strict=True):
        for wrt, by_hand in zip(p, g, strict=True):
            derived = vjp(error, wrt, graph.lift(1.0))
            assert derived.shape == wrt.shape
            found, wanted = interpret([by_hand, derived], inputs, xp=np)
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


# ---- the checks above can fail


def check_all():
    for f in activations.BY_NAME.values():
        for loss in losses.BY_NAME:
            check_gradient(f, loss, [3, 2], 4)
            check_gradient(f, loss, [2, 2, 2], 3)


@pytest.mark.parametrize(
    "op",
    ["abs", "add", "divide", "exp", "expm1", "log", "log1p", "maximum", "multiply", "subtract", "sum", "tanh", "where"],
)
def test_one_percent_in_the_slope_of_an_operation_is_noticed(op, plant_one_percent):
    plant_one_percent(op)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_all()


def test_one_percent_in_the_way_back_is_noticed(monkeypatch):
    def wrong(*settings, **more):
        def run(*arrays, xp):
            value, pull_back = pullback.value_and_pullbacks(*settings, **more)(*arrays, xp=xp)
            return value, lambda cotangent: [1.01 * g for g in pull_back(cotangent)]

        return run

    monkeypatch.setattr(network, "value_and_pullbacks", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_gradient(activations.tanh, "sse", [3, 4, 2], 5)
