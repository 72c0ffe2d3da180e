"""The vector–Jacobian product of every operation against finite differences, on every way that it broadcasts."""

import expected
import numpy as np
import pytest

from gdkernels.graph import Graph, derivative, interpret, vjp
from gdkernels.graph.operations import COMPARISONS, ELEMENTWISE, MOVES

B, N, M = 3, 4, 2


def away_from_zero(shape, rng):
    return rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.3, 2.0, size=shape)


def positive(shape, rng):
    return rng.uniform(0.3, 2.0, size=shape)


SYMBOLS = {B: "B", N: "n", M: "m"}


def check(f, shapes, draw=away_from_zero, seed=0):
    """Compare the vjp of f with finite differences, for each of its operands of these shapes (1 stays the number 1)."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    dims = {size: graph.dim(name) for size, name in SYMBOLS.items()}
    operands = [graph.input(f"a{k}", tuple(dims.get(d, d) for d in shape)) for k, shape in enumerate(shapes)]
    output = f(*operands, xp=graph)
    point = {f"a{k}": draw(shape, rng) for k, shape in enumerate(shapes)}
    direct = np.asarray(f(*point.values(), xp=np))
    np.testing.assert_allclose(interpret([output], point, xp=np)[0], direct, rtol=1e-14, atol=1e-15)
    cotangent = graph.input("cotangent", output.shape)
    weights = rng.standard_normal(direct.shape)
    for k, operand in enumerate(operands):
        result = vjp(output, operand, cotangent)
        assert result.shape == operand.shape
        found = np.asarray(interpret([result], point | {"cotangent": weights}, xp=np)[0])

        def total(a, name=f"a{k}"):
            return np.sum(weights * f(*(point | {name: a}).values(), xp=np))

        for index in np.ndindex(operand_shape := point[f"a{k}"].shape):
            direction = np.zeros(operand_shape)
            direction[index] = 1.0
            slope = expected.directional_derivative(total, point[f"a{k}"], direction)
            np.testing.assert_allclose(found[index], slope, rtol=1e-8, atol=1e-9)


UNARY = {
    "negative": (lambda a, *, xp: -a, away_from_zero),
    "abs": (lambda a, *, xp: abs(a), away_from_zero),
    "sign": (lambda a, *, xp: xp.sign(a), away_from_zero),
    "sqrt": (lambda a, *, xp: xp.sqrt(a), positive),
    "exp": (lambda a, *, xp: xp.exp(a), away_from_zero),
    "expm1": (lambda a, *, xp: xp.expm1(a), away_from_zero),
    "log": (lambda a, *, xp: xp.log(a), positive),
    "log1p": (lambda a, *, xp: xp.log1p(a), positive),
    "tanh": (lambda a, *, xp: xp.tanh(a), away_from_zero),
    "sin": (lambda a, *, xp: xp.sin(a), away_from_zero),
    "cos": (lambda a, *, xp: xp.cos(a), away_from_zero),
    "square": (lambda a, *, xp: xp.square(a), away_from_zero),
    "reciprocal": (lambda a, *, xp: xp.reciprocal(a), away_from_zero),
    "clip": (lambda a, *, xp: xp.clip(a, -1.0, 0.7), away_from_zero),
    "clip from below": (lambda a, *, xp: xp.clip(a, min=0.1), away_from_zero),
    "power 2": (lambda a, *, xp: a**2, away_from_zero),
    "power 3": (lambda a, *, xp: a**3, away_from_zero),
    "power -1": (lambda a, *, xp: a**-1.0, away_from_zero),
    "power 0": (lambda a, *, xp: a**0 + a, away_from_zero),
    "power 0.5": (lambda a, *, xp: a**0.5, positive),
    "of 2": (lambda a, *, xp: 2.0**a, away_from_zero),
    "where": (lambda a, *, xp: xp.where(a > 0, a * a, 3.0 * a), away_from_zero),
    "where not": (lambda a, *, xp: xp.where(xp.logical_not(a > 0.5), xp.exp(a), 0.0), away_from_zero),
    "where and, or": (
        lambda a, *, xp: xp.where(((a > 0) & (a < 1)) | (a < -1), a**3, xp.sin(a)),
        away_from_zero,
    ),
    "twice": (lambda a, *, xp: a * xp.tanh(a) + a / (1.0 + a * a), away_from_zero),
    "itself": (lambda a, *, xp: a, away_from_zero),
    "constant": (lambda a, *, xp: 0.0 * a + 2.0, away_from_zero),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name):
    f, draw = UNARY[name]
    check(f, [(B, N)], draw)
    check(f, [()], draw)


BINARY = {
    "add": (lambda a, b, *, xp: a + b, away_from_zero),
    "subtract": (lambda a, b, *, xp: a - b, away_from_zero),
    "multiply": (lambda a, b, *, xp: a * b, away_from_zero),
    "divide": (lambda a, b, *, xp: a / b, away_from_zero),
    "pow": (lambda a, b, *, xp: a**b, positive),
    "maximum": (lambda a, b, *, xp: xp.maximum(a, b), away_from_zero),
    "minimum": (lambda a, b, *, xp: xp.minimum(a, b), away_from_zero),
    "logaddexp": (lambda a, b, *, xp: xp.logaddexp(a, b), away_from_zero),
    "where": (lambda a, b, *, xp: xp.where(a > b, a * b, b), away_from_zero),
    "mixed": (lambda a, b, *, xp: (a + b) * a - b / (1.0 + a * a), away_from_zero),
}


@pytest.mark.parametrize(
    "shapes",
    [
        [(B, N), (B, N)],
        [(B, N), (N,)],
        [(N,), (B, N)],
        [(B, N), (B, 1)],
        [(B, 1), (1, N)],
        [(B, N), ()],
        [(1,), (B, N)],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name, shapes):
    f, draw = BINARY[name]
    check(f, shapes, draw)


OTHERS = {
    "sum of all": (lambda a, *, xp: xp.sum(a * a), [(B, N)]),
    "sum over records": (lambda a, *, xp: xp.sum(a * a, axis=0), [(B, N)]),
    "sum over units": (lambda a, *, xp: xp.sum(a * a, axis=-1), [(B, N)]),
    "sum over both": (lambda a, *, xp: xp.sum(a * a, axis=(0, 1)), [(B, N)]),
    "sum, kept": (lambda a, *, xp: a * xp.sum(a * a, axis=1, keepdims=True), [(B, N)]),
    "mean of all": (lambda a, *, xp: xp.mean(a * a), [(B, N)]),
    "variance over units": (lambda a, *, xp: xp.var(a, axis=1), [(B, N)]),
    "variance, corrected": (lambda a, *, xp: a / xp.var(a, axis=1, correction=1, keepdims=True), [(B, N)]),
    "deviation of all": (lambda a, *, xp: xp.std(a), [(B, N)]),
    "deviation over units, kept": (lambda a, *, xp: a / (0.1 + xp.std(a, axis=-1, keepdims=True)), [(B, N)]),
    "mean over units": (lambda a, *, xp: xp.mean(a**3, axis=1), [(B, N)]),
    "mean over records, kept": (lambda a, *, xp: a - xp.mean(a, axis=0, keepdims=True), [(B, N)]),
    "max": (lambda a, *, xp: xp.max(a, axis=1), [(B, N)]),
    "max of all": (lambda a, *, xp: xp.max(a) * a, [(B, N)]),
    "min, kept": (lambda a, *, xp: a * xp.min(a, axis=0, keepdims=True), [(B, N)]),
    "expand": (lambda a, b, *, xp: xp.expand_dims(a, axis=1) * b, [(B,), (B, N)]),
    "None": (lambda a, b, *, xp: a[:, None] * b + a[..., None], [(B,), (B, N)]),
    "None first": (lambda a, *, xp: a[None, :] * a[:, None], [(B,)]),
    "squeeze": (lambda a, *, xp: xp.squeeze(xp.sum(a * a, axis=1, keepdims=True), axis=1), [(B, N)]),
    "broadcast_to": (lambda a, b, *, xp: xp.broadcast_to(a, b.shape) * b, [(N,), (B, N)]),
    "like": (lambda a, *, xp: a * xp.ones_like(a) + xp.zeros_like(a) + xp.full_like(a, 2.0), [(B, N)]),
    "size": (lambda a, *, xp: a * a.shape[0] / a.shape[1] + a.shape[1] ** 0.5, [(B, N)]),
    "matmul": (lambda a, b, *, xp: xp.matmul(a, b), [(B, N), (N, M)]),
    "@ and T": (lambda a, b, *, xp: (a.T @ b).T, [(N, B), (N, M)]),
    "matrix_transpose": (lambda a, *, xp: xp.matrix_transpose(a) * xp.permute_dims(a, (1, 0)) + a.mT, [(B, N)]),
    "products": (lambda a, b, c, *, xp: xp.tanh(a @ b + c) @ b.T, [(B, N), (N, M), (M,)]),
    "softmax": (
        lambda a, *, xp: (
            xp.exp(a - xp.max(a, axis=1, keepdims=True))
            / xp.sum(xp.exp(a - xp.max(a, axis=1, keepdims=True)), axis=1, keepdims=True)
        ),
        [(B, N)],
    ),
    "norm": (lambda a, *, xp: a / xp.sqrt(xp.sum(a * a, axis=-1))[:, None], [(B, N)]),
    "astype": (lambda a, *, xp: a * xp.astype(a > 0.5, a.dtype), [(B, N)]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_reductions_shapes_and_products(name):
    check(*OTHERS[name])


def test_every_operation_has_a_rule_and_every_rule_is_reached():
    shapes = {"sum", "max", "min", "matmul", "transpose", "broadcast_to", "expand_dims", "squeeze", "detach"}
    shapes |= MOVES | {"add_rows", "row_outer"}  # tests/graph/test_moves.py, tests/graph/test_record_wise.py
    shapes |= {"row_product"}  # tests/graph/test_row_products.py
    columns = {"column", "columns"}  # whose cotangents are put side by side: shares_of
    assert set(derivative._RULES) == (set(ELEMENTWISE) | shapes) - columns
    assert set(ELEMENTWISE) > COMPARISONS


@pytest.mark.parametrize("op", ["sqrt", "log", "sin", "cos", "minimum", "pow", "max", "matmul", "transpose", "squeeze"])
def test_one_percent_in_a_rule_is_noticed(op, monkeypatch):
    rule = derivative._RULES[op]

    def wrong(graph, node, cotangent):
        return tuple(None if part is None else 1.01 * part for part in rule(graph, node, cotangent))

    monkeypatch.setitem(derivative._RULES, op, wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_everything()


def check_everything():
    for f, draw in UNARY.values():
        check(f, [(B, N)], draw)
    for f, draw in BINARY.values():
        check(f, [(B, N), (N,)], draw)
    for f, shapes in OTHERS.values():
        check(f, shapes)


# ---- ties, and places where a slope is a convention


def slopes_at(f, *points):
    graph = Graph()
    n = graph.dim("n")
    operands = [graph.input(f"a{k}", (n,)) for k in range(len(points))]
    output = f(*operands, xp=graph)
    given = {f"a{k}": np.asarray(p, dtype=np.float64) for k, p in enumerate(points)}
    cotangent = graph.ones_like(output)
    return interpret([vjp(output, a, cotangent) for a in operands], given, xp=np)


def test_ties_are_split_evenly():
    a, b = slopes_at(lambda a, b, *, xp: xp.maximum(a, b), [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(a, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(b, [1.0, 0.5, 0.0])
    a, b = slopes_at(lambda a, b, *, xp: xp.minimum(a, b), [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(a, [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(b, [0.0, 0.5, 1.0])
    (a,) = slopes_at(lambda a, *, xp: xp.max(a), [1.0, 5.0, 5.0, 2.0])
    np.testing.assert_array_equal(a, [0.0, 0.5, 0.5, 0.0])
    (a,) = slopes_at(lambda a, *, xp: xp.min(a), [1.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(a, [1 / 3, 1 / 3, 1 / 3, 0.0])
    (a,) = slopes_at(lambda a, *, xp: xp.abs(a), [-2.0, 0.0, 2.0])
    np.testing.assert_array_equal(a, [-1.0, 0.0, 1.0])


def test_logaddexp_at_infinities_is_right_and_silent():
    inf = np.inf
    a, b = [inf, inf, -inf, -inf, 0.0, 0.0, 1.0, 1.0], [inf, -inf, inf, -inf, inf, -inf, inf, 1.0]
    graph = Graph()
    n = graph.dim("n")
    x, y = graph.input("x", (n,)), graph.input("y", (n,))
    (found,) = interpret([graph.logaddexp(x, y)], {"x": np.asarray(a), "y": np.asarray(b)}, xp=np)
    np.testing.assert_allclose(found, np.logaddexp(a, b), rtol=1e-15)
    slope_a, slope_b = slopes_at(lambda a, b, *, xp: xp.logaddexp(a, b), a, b)
    np.testing.assert_allclose(slope_a, [0.5, 1, 0, 0.5, 0, 1, 0, 0.5])
    np.testing.assert_allclose(slope_b, [0.5, 0, 1, 0.5, 1, 0, 1, 0.5])


def test_an_infinity_on_the_other_branch_does_not_reach_the_slope():
    def safe(a, *, xp):
        positive = a > 0
        return xp.where(positive, xp.log(xp.where(positive, a, 1.0)), 0.0)

    (slope,) = slopes_at(safe, [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(slope, [0.0, 0.0, 0.5])
    (slope,) = slopes_at(lambda a, *, xp: xp.where(a < 1e3, a, 0.0), [np.inf, 1.0])
    np.testing.assert_array_equal(slope, [0.0, 1.0])


def test_nan_among_the_numbers_of_a_max_is_silent():
    (slope,) = slopes_at(lambda a, *, xp: xp.max(a), [1.0, np.nan])
    np.testing.assert_array_equal(slope, [0.0, 0.0])


def test_what_does_not_depend_has_slope_zero():
    graph = Graph()
    n = graph.dim("n")
    x, y = graph.input("x", (n,)), graph.input("y", (n,))
    for output in (y * y, graph.detach(x), graph.sign(x), graph.where(x > 0, y, 1.0)):
        (slope,) = interpret([vjp(output, x, graph.ones_like(output))], {"x": np.ones(3), "y": np.ones(3)}, xp=np)
        np.testing.assert_array_equal(slope, np.zeros(3))


def test_derivatives_can_be_derived_again():
    graph = Graph()
    x = graph.input("x", (graph.dim("n"),))
    output = graph.tanh(x) * x
    once = vjp(output, x, graph.ones_like(x))
    twice = vjp(once, x, graph.ones_like(x))
    point = np.linspace(-2, 2, 7)
    t = np.tanh(point)
    (found,) = interpret([twice], {"x": point}, xp=np)
    np.testing.assert_allclose(found, 2 * (1 - t**2) - 2 * point * t * (1 - t**2), rtol=1e-12, atol=1e-14)
