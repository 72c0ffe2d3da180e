"""Random expressions: the trace computes what the function does, and its derivative what finite differences say."""

import expected
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gdkernels.graph import Graph, interpret, value_and_pullback, vjp

# Each operation keeps numbers of moderate size moderate, and its fourth derivative too.
UNARY = {
    "-": lambda a, xp: -a,
    "abs": lambda a, xp: xp.abs(a),
    "tanh": lambda a, xp: xp.tanh(a),
    "sin": lambda a, xp: xp.sin(a),
    "cos": lambda a, xp: xp.cos(a),
    "exp": lambda a, xp: xp.exp(-xp.abs(a)),
    "expm1": lambda a, xp: xp.expm1(-xp.square(a)),
    "log1p": lambda a, xp: xp.log1p(xp.square(a)),
    "sqrt": lambda a, xp: xp.sqrt(1.0 + a * a),
    "log": lambda a, xp: xp.log(2.0 + xp.sin(a)),
    "clip": lambda a, xp: xp.clip(a, -1.5, 1.5),
    "square": lambda a, xp: xp.tanh(a) ** 2,
    "sum units": lambda a, xp: xp.sum(a, axis=-1, keepdims=True) * 0.5,
    "mean records": lambda a, xp: xp.mean(a, axis=0, keepdims=True),
    "max": lambda a, xp: xp.max(a, axis=-1, keepdims=True),
}
BINARY = {
    "+": lambda a, b, xp: a + b,
    "-": lambda a, b, xp: a - b,
    "*": lambda a, b, xp: a * xp.tanh(b),
    "/": lambda a, b, xp: a / (1.0 + b * b),
    "maximum": lambda a, b, xp: xp.maximum(a, b),
    "minimum": lambda a, b, xp: xp.minimum(a, b),
    "logaddexp": lambda a, b, xp: xp.logaddexp(a, b),
    "where": lambda a, b, xp: xp.where(a > b, a, 0.5 * b),
    "where ~": lambda a, b, xp: xp.where(~(a <= 0.25) | (b != 0.5), b, xp.sin(a)),
}
NUMBERS = st.floats(-2, 2, allow_nan=False, allow_subnormal=False)

LEAVES = st.one_of(
    st.sampled_from(["x", "y", "row"]).map(lambda name: ("input", name)), NUMBERS.map(lambda v: ("number", v))
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), inner), st.tuples(st.sampled_from(sorted(BINARY)), inner, inner)
    ),
    max_leaves=12,
)
SHAPES = {"x": (3, 4), "y": (3, 4), "row": (4,)}
FAST = settings(max_examples=60)


def evaluate(expression, inputs, xp):
    """Compute an expression; a number becomes an array where it would stand alone, as the standard wants."""
    op, *operands = expression
    if op == "input":
        return inputs[operands[0]]
    if op == "number":
        return xp.zeros_like(inputs["x"]) + operands[0]
    values = [evaluate(e, inputs, xp) for e in operands]
    table = UNARY if len(values) == 1 else BINARY
    return table[op](*values, xp)


def whole(expression, inputs, xp):
    return evaluate(expression, inputs, xp) + 0.0 * inputs["x"]


def record(expression):
    graph = Graph()
    b, n = graph.dim("B"), graph.dim("n")
    nodes = {"x": graph.input("x", (b, n)), "y": graph.input("y", (b, n)), "row": graph.input("row", (n,))}
    return graph, nodes, whole(expression, nodes, graph)


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: scale * rng.standard_normal(shape) for name, shape in SHAPES.items()}


@FAST
@given(EXPRESSIONS, st.integers(0, 1000))
def test_the_trace_computes_what_the_expression_does(expression, seed):
    _, _, output = record(expression)
    inputs = draw(seed)
    direct = whole(expression, inputs, np)
    (found,) = interpret([output], inputs, xp=np)
    np.testing.assert_allclose(found, direct, rtol=1e-12, atol=1e-13)
    single = {name: a.astype(np.float32) for name, a in inputs.items()}
    assert interpret([output], single, xp=np)[0].dtype == np.float32


@FAST
@given(EXPRESSIONS, st.integers(0, 1000))
def test_a_trace_interpreted_on_a_graph_computes_the_same(expression, seed):
    graph, nodes, output = record(expression)
    again = Graph()
    dims = {d: again.dim(d.name) for d in nodes["x"].shape}
    inputs = {name: again.input(name, tuple(dims[d] for d in node.shape)) for name, node in nodes.items()}
    (retraced,) = interpret([output], inputs, xp=again)
    assert len(again.nodes) <= len(graph.nodes)
    point = draw(seed)
    np.testing.assert_array_equal(interpret([retraced], point, xp=np)[0], interpret([output], point, xp=np)[0])


@FAST
@given(EXPRESSIONS, st.integers(0, 1000))
def test_the_derivative_is_that_of_finite_differences(expression, seed):
    graph, nodes, output = record(expression)
    inputs = draw(seed)
    rng = np.random.default_rng(seed + 1)
    direction, weights = rng.standard_normal((3, 4)), np.linspace(0.5, 1.5, 12).reshape(3, 4)
    cotangent = graph.input("cotangent", output.shape)
    (found,) = interpret([vjp(output, nodes["x"], cotangent)], inputs | {"cotangent": weights}, xp=np)
    assert found.shape == (3, 4)
    slopes = [
        expected.directional_derivative(
            lambda x: np.sum(weights * whole(expression, {**inputs, "x": x}, np)), inputs["x"], direction, h
        )
        for h in (1e-4, 3e-5)
    ]
    # Otherwise there is a kink within reach of one of the differences.
    assume(abs(slopes[0] - slopes[1]) <= 1e-7 * (1 + abs(slopes[0])))
    np.testing.assert_allclose(np.sum(found * direction), slopes[0], rtol=1e-6, atol=1e-6)


@FAST
@given(EXPRESSIONS, st.integers(0, 1000))
def test_the_pull_back_is_linear_in_what_it_is_given(expression, seed):
    inputs = draw(seed)

    def f(x, *, xp):
        return expression_of_x(x, xp)

    def expression_of_x(x, xp):
        ones = xp.ones_like(x)
        return whole(expression, {"x": x, "y": 0.3 * ones, "row": 0.7 * xp.max(ones, axis=0)}, xp)

    _, pull_back = value_and_pullback(f)(inputs["x"], xp=np)
    a, b = draw(seed + 1)["x"], draw(seed + 2)["x"]
    combined = 2.0 * pull_back(a) - pull_back(b)
    np.testing.assert_allclose(pull_back(2.0 * a - b), combined, rtol=1e-10, atol=1e-12)


SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e4, -1e4, np.inf, -np.inf, np.nan])


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@FAST
@given(EXPRESSIONS, st.lists(SPECIAL, min_size=28, max_size=28))
def test_special_numbers_come_out_alike(expression, numbers):
    array = np.asarray(numbers)
    inputs = {"x": array[:12].reshape(3, 4), "y": array[12:24].reshape(3, 4), "row": array[24:]}
    direct = whole(expression, inputs, np)
    (found,) = interpret([record(expression)[2]], inputs, xp=np)
    np.testing.assert_allclose(found, direct, rtol=1e-12, atol=1e-12)
