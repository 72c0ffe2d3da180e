"""The recording namespace: equal nodes are one node, simplifications keep values, sizes are symbols."""

import math
import struct

import numpy as np
import pytest

from gdkernels.errors import TraceError
from gdkernels.graph import Graph, interpret, topological, trace, value_and_pullback, vjp
from gdkernels.graph.operations import REAL, SCALAR


@pytest.fixture
def graph():
    return Graph()


@pytest.fixture
def z(graph):
    return graph.input("z", (graph.dim("B"), graph.dim("n")))


def test_equal_nodes_are_one_node(graph, z):
    assert graph.tanh(z) is graph.tanh(z)
    assert z * 2.0 is 2.0 * z
    assert 0.5 * z + 1.0 is 0.5 * z + 1.0
    assert graph.sum(z, axis=-1) is graph.sum(z, axis=1)
    assert graph.sum(z, axis=1) is not graph.sum(z, axis=0)
    assert graph.sum(z) is graph.sum(z, axis=(1, 0))
    assert graph.where(z > 0, z, 0.0) is graph.where(z > 0.0, z, 0)
    assert z - 1.0 is not 1.0 - z
    assert graph.lift(0.0) is not graph.lift(-0.0)
    assert graph.lift(math.nan) is graph.lift(math.nan)
    assert graph.input("z", z.shape) is z
    before = len(graph.nodes)
    graph.logaddexp(z, 0.0)
    first = len(graph.nodes)
    graph.logaddexp(z, 0.0)
    assert len(graph.nodes) == first > before


def test_operands_are_numbered_before_their_users(graph, z):
    output = vjp(graph.sum(graph.tanh(z) * z), z, graph.lift(1.0))
    order = topological(output)
    assert [n.id for n in order] == sorted(n.id for n in order)
    assert all(a.id < n.id for n in order for a in n.args)
    assert all(graph.nodes[n.id] is n for n in order)


def test_a_name_stands_for_one_input(graph, z):
    with pytest.raises(TraceError, match=r"an input 'z' already, of shape \[B, n\]"):
        graph.input("z", z.shape[:1])


def test_shapes_follow_from_the_operands(graph, z):
    b, n = z.shape
    assert (z + graph.sum(z, axis=0)).shape == (b, n)
    assert graph.sum(z, axis=0, keepdims=True).shape == (1, n)
    assert graph.sum(z).shape == ()
    assert graph.sum(z, keepdims=True).shape == (1, 1)
    assert z.T.shape == (n, b)
    assert (z @ z.T).shape == (b, b)
    assert z.T.T is z
    assert z[:, None, :].shape == (b, 1, n)
    assert z[..., None].shape == (b, n, 1)
    assert z[None].shape == (1, b, n)
    assert z[:] is z
    assert z[...] is z
    assert graph.squeeze(z[:, None], axis=1) is z
    assert graph.expand_dims(z, axis=-1).shape == (b, n, 1)
    assert graph.permute_dims(z, (0, 1)) is z
    assert graph.permute_dims(z, (-1, 0)) is z.T
    assert graph.mean(z, axis=1, keepdims=True).shape == (b, 1)
    assert z.ndim == 2
    assert (z > 0).dtype == "bool"
    assert repr(graph.tanh(z)) == f"%{graph.tanh(z).id} = tanh(%0) [B, n]"


def test_numbers_of_the_program_stay_scalars_until_they_meet_an_array(graph, z):
    rate, t = graph.input("learning_rate", dtype=SCALAR), graph.input("t", dtype=SCALAR)
    correction = rate * graph.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
    assert correction.dtype == SCALAR
    assert (1.0 / z.shape[0]).dtype == SCALAR
    assert (z.shape[1] ** 0.5).dtype == SCALAR
    assert (correction * z).dtype == REAL
    point = np.ones((3, 2), dtype=np.float32)
    value, moved = interpret([correction, z - correction * z], {"z": point, "learning_rate": 1e-3, "t": 7.0}, xp=np)
    assert value == 1e-3 * math.sqrt(1 - 0.999**7.0) / (1 - 0.9**7.0)  # float64, to the bit
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, point - value * point)


def test_numbers_of_numpy_do_not_promote(graph, z):
    rate = graph.input("learning_rate", dtype=SCALAR)
    point = np.ones((3, 2), dtype=np.float32)
    for number in (np.float64(0.1), np.float32(0.1), 1):
        (moved,) = interpret([z - rate * z], {"z": point, "learning_rate": number}, xp=np)
        assert moved.dtype == np.float32
    value, pull_back = value_and_pullback(lambda a, *, xp: xp.sum(a * a))(point, xp=np)
    assert value.dtype == np.float32
    assert pull_back(np.float64(1.0)).dtype == np.float32


SIZES = {
    "over a size": lambda z, *, xp: z / z.shape[1],
    "a size alone": lambda z, *, xp: xp.zeros_like(z) + z.shape[1],
    "a size in a choice": lambda z, *, xp: xp.where(z > 0, z.shape[1], 0.5),
    "a size's root": lambda z, *, xp: z * z.shape[0] ** 0.5,
    "numbers alone": lambda z, *, xp: xp.ones_like(z) * 3 + xp.zeros_like(z),
    "a choice by a size": lambda z, *, xp: xp.where(z.shape[1] > 2, z, -z),
    "a choice of a number by a size": lambda z, *, xp: z + xp.where(z.shape[1] > 2, 1.5, z),
    "a condition of both": lambda z, *, xp: xp.where((z.shape[1] > 2) & (z > 0) | (z.shape[0] < 1), z, 0.5),
    "known conditions": lambda z, *, xp: xp.where(xp.logical_not((z > 0) & (xp.pi < 2.0)), z, 0.5),
    "a choice of numbers": lambda z, *, xp: xp.where(z > 0, 1, 0),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_numbers_become_arrays_of_the_right_precision(namespace, name):
    point = np.asarray([[1.0, -2.0, 3.0]])
    value, pull_back = value_and_pullback(SIZES[name])(namespace.array(point, "float32"), xp=namespace.xp)
    found = namespace.numpy(value)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, SIZES[name](point, xp=np), rtol=1e-6)
    slope = namespace.numpy(pull_back(namespace.array(np.ones((1, 3)), "float32")))
    assert slope.dtype == np.float32
    assert slope.shape == (1, 3)


# ---- simplifications: each keeps the value to the bit, NaN, infinities and the sign of zero included

SPECIAL = np.asarray([0.0, -0.0, 1.0, -1.5, 1e-310, 1e308, -1e308, np.inf, -np.inf, np.nan])

KEPT = {
    "+ 0": lambda z, *, xp: z + 0.0,
    "0 +": lambda z, *, xp: 0.0 + z,
    "+ -0": lambda z, *, xp: z + (-0.0),
    "- 0": lambda z, *, xp: z - 0.0,
    "- -0": lambda z, *, xp: z - (-0.0),
    "0 -": lambda z, *, xp: 0.0 - z,
    "* 1": lambda z, *, xp: z * 1.0,
    "1 *": lambda z, *, xp: 1.0 * z,
    "* 0": lambda z, *, xp: z * 0.0,
    "* -1": lambda z, *, xp: z * -1.0,
    "/ 1": lambda z, *, xp: z / 1.0,
    "1 /": lambda z, *, xp: 1.0 / z,
    "** 0": lambda z, *, xp: z**0,
    "** 1": lambda z, *, xp: z**1,
    "** 2": lambda z, *, xp: z**2,
    "- - ": lambda z, *, xp: xp.negative(-z),
    "where same": lambda z, *, xp: xp.where(z > 0, z, z),
    "2 * (0.5 * )": lambda z, *, xp: 2.0 * (0.25 * z),
    "0.1 * (0.7 * )": lambda z, *, xp: 0.1 * (0.7 * z),
    "3 * (0.1 * (0.3 * ))": lambda z, *, xp: 3.0 * ((0.1 * z) * 0.3),
    "folded": lambda z, *, xp: z * (0.1 + 0.2) / (3.0 - 1.0) + 2.0**0.5,
    "abs": lambda z, *, xp: xp.abs(z),
    "max": lambda z, *, xp: xp.maximum(z, -0.0),
    "clip": lambda z, *, xp: xp.clip(z, -1.0, 1.0),
    "sign": lambda z, *, xp: xp.sign(z),
}


def bits(array):
    # NaN has many; which one comes out is nobody's promise.
    return [math.nan if math.isnan(v) else struct.pack("d", v) for v in np.asarray(array, dtype=float).ravel().tolist()]


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("name", KEPT)
def test_simplifications_keep_every_value_to_the_bit(name):
    f = KEPT[name]
    direct = f(SPECIAL[:, None], xp=np)
    traced, _ = value_and_pullback(f)(SPECIAL[:, None], xp=np)
    assert list(map(str, bits(traced))) == list(map(str, bits(direct)))


def test_what_is_simplified_is_gone(graph, z):
    assert graph.asarray(2.0) is graph.lift(2.0)
    assert (graph.lift(2.0) > 3.0) is graph.lift(False)
    assert (z > 0) & True is (z > 0)
    assert False | (z > 0) is (z > 0)
    assert (z > 0) & False is graph.broadcast_to(graph.lift(False), z.shape)
    assert graph.where(True, z, 0.0) is z
    assert (z >= 1.0).op == "greater_equal"
    assert z * 1.0 is z
    assert z / 1.0 is z
    assert z - 0.0 is z
    assert z + (-0.0) is z
    assert z**1 is z
    assert z**2 is z * z
    assert graph.negative(-z) is z
    assert graph.where(z > 0, z, z) is z
    assert 2.0 * (0.5 * z) is z
    assert graph.ones_like(z) * z is z
    assert graph.lift(2.0) * 3.0 is graph.lift(6.0)
    assert graph.sqrt(4.0) is graph.lift(2.0)
    assert graph.broadcast_to(z, z.shape) is z
    assert graph.sum(graph.sum(z, axis=1, keepdims=True), axis=1) is graph.sum(z, axis=1)
    assert graph.full_like(z, 2.0) * z is 2.0 * z


def test_numbers_that_do_not_fold_are_left_to_the_namespace(graph, z):
    assert (z + graph.log(graph.lift(0.0))).op == "add"
    assert graph.lift(1.0) / 0.0 is not None
    assert graph.exp(graph.lift(1e4)).op == "exp"
    assert graph.lift(-8.0) ** (1 / 3) is not None


def test_the_same_nodes_for_inputs_of_other_names():
    graphs = [trace(lambda a, *, xp: xp.tanh(a) * a, (2,))[0] for _ in range(2)]
    assert list(map(repr, graphs[0].nodes)) == list(map(repr, graphs[1].nodes))


# ---- the rest of the namespace, directly and through the trace

OTHERS = {
    "clip both": lambda z, *, xp: xp.clip(z, -1.0, 0.5),
    "clip above": lambda z, *, xp: xp.clip(z, max=0.5),
    "clip below": lambda z, *, xp: xp.clip(z, min=-0.5),
    "square": lambda z, *, xp: xp.square(z),
    "reciprocal": lambda z, *, xp: xp.reciprocal(z),
    "logaddexp": lambda z, *, xp: xp.logaddexp(z, 2.0 * z) + xp.logaddexp(z, 1.0),
    "mean": lambda z, *, xp: z - xp.mean(z, axis=-1, keepdims=True) + xp.mean(z),
    "max and min": lambda z, *, xp: z * xp.max(z, axis=0) - xp.min(z, axis=1, keepdims=True),
    "None": lambda z, *, xp: z * xp.sum(z, axis=1)[:, None] + xp.sum(z, axis=0)[None, :],
    "expand and squeeze": lambda z, *, xp: xp.squeeze(xp.expand_dims(z, axis=0) * 2.0, axis=0),
    "likes": lambda z, *, xp: xp.ones_like(z) + xp.zeros_like(z) * z + xp.full_like(z, 3.0),
    "product": lambda z, *, xp: xp.matmul(z, xp.matmul(xp.matrix_transpose(z), z)),
    "operators": lambda z, *, xp: abs(-z) ** 1.5 + 2.0 ** (0.1 * z) - (1.0 - z) / (4.0 + z * z),
    "logic": lambda z, *, xp: xp.where(((z > 0) | (z <= -1)) & ~(z == 1.0) & (z != 2.0), z, 0.5),
    "comparisons": lambda z, *, xp: xp.where(xp.less(z, 0.0), xp.where(xp.greater_equal(z, -1.0), 1.0, z), -z),
    "constants": lambda z, *, xp: xp.pi * z + xp.e + xp.where(z > xp.inf, xp.nan, z),
    "transcendental": lambda z, *, xp: xp.sin(z) * xp.cos(z) + xp.expm1(z) * xp.log1p(z * z) + xp.log(xp.exp(z)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_trace_computes_what_the_function_does(namespace, name):
    f = OTHERS[name]
    point = np.asarray([[1.0, -2.0, 0.5], [2.0, 0.25, -1.0]])
    given = namespace.array(point)
    direct = namespace.numpy(f(given, xp=namespace.xp))
    traced, _ = value_and_pullback(f)(given, xp=namespace.xp)
    np.testing.assert_allclose(namespace.numpy(traced), direct, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(direct, f(point, xp=np), rtol=1e-13, atol=1e-14)
