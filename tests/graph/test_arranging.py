"""Functions of the standard that are made of others: they have NumPy's values, and the slopes of finite differences."""

import array_api_compat.numpy as np
import expected
import pytest

from gdkernels.errors import TraceError
from gdkernels.graph import Graph, value_and_pullbacks

RANDOM = np.random.default_rng(0)
W, X = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal((5, 4))

# Of a parameter [3, 4] and of records [5, 4].
FUNCTIONS = {
    "axes of 1": lambda w, x, xp: xp.reshape(xp.reshape(x, (x.shape[0], 1, -1)), (-1, 4)),
    "a column": lambda w, x, xp: xp.reshape(xp.reshape(x[:, 1], (-1, 1)) * xp.reshape(w[0], (1, 4)), x.shape),
    "one number each": lambda w, x, xp: xp.reshape(xp.sum(x, axis=1, keepdims=True), (-1,)),
    "in one row": lambda w, x, xp: x[:, :1] * xp.reshape(w, (-1,)),
    "in other rows": lambda w, x, xp: x @ xp.reshape(w, (4, -1)),
    "in rows of a row": lambda w, x, xp: x @ xp.reshape(xp.reshape(w, 12), [4, 3]),
    "flipped": lambda w, x, xp: xp.flip(x, axis=1) @ xp.flip(w).T,
    "flipped rows": lambda w, x, xp: x @ xp.flip(w, axis=0).T,
    "rolled": lambda w, x, xp: xp.roll(x, 1, axis=1) @ xp.roll(w, (2, -1), axis=(0, 1)).T,
    "all rolled": lambda w, x, xp: x @ xp.roll(w, 5).T,
    "repeated": lambda w, x, xp: xp.repeat(x, 3, axis=-1) * xp.repeat(w, 1),
    "repeated rows": lambda w, x, xp: x @ xp.repeat(w, 2, axis=0).T,
    "tiled": lambda w, x, xp: xp.tile(x, (1, 3)) * xp.reshape(w, -1),
    "a row tiled": lambda w, x, xp: x @ xp.tile(w[1], (4, 2)),
    "single columns": lambda w, x, xp: xp.stack([xp.tanh(c) for c in xp.unstack(x, axis=1)], axis=1),
    "single rows": lambda w, x, xp: sum(x * row for row in xp.unstack(w)),
    "axes moved": lambda w, x, xp: x @ xp.moveaxis(w, 0, -1),
    "repeated for each other": lambda w, x, xp: xp.broadcast_arrays(w[0], x)[0] * x,
    "grids": lambda w, x, xp: x @ (xp.meshgrid(w[:, 0], w[0])[0] - xp.meshgrid(w[:, 0], w[0])[1]),
    "grids by rows": lambda w, x, xp: x @ xp.meshgrid(w[0], w[:, 1], indexing="ij")[0],
    "every second": lambda w, x, xp: x[:, 1::2] * w[::2, 0],
    "backwards": lambda w, x, xp: x[:, ::-1] * w[::-2, 3:0:-1][0, 1],
    "sums so far": lambda w, x, xp: xp.cumulative_sum(x, axis=1) @ xp.cumulative_sum(w, axis=0).T,
    "sums from 0": lambda w, x, xp: x[:, :1] * xp.cumulative_sum(w[0], include_initial=True),
    "products so far": lambda w, x, xp: xp.cumulative_prod(x, axis=-1) * xp.cumulative_prod(w[:, 0])[2],
    "products from 1": lambda w, x, xp: xp.cumulative_prod(x, axis=1, include_initial=True),
    "a product": lambda w, x, xp: xp.prod(x[:, :3], axis=1, keepdims=True) * xp.prod(w, axis=0),
    "a product of all": lambda w, x, xp: xp.prod(x, axis=1) * xp.prod(w),
    "differences": lambda w, x, xp: xp.diff(x, axis=-1) @ xp.diff(w, axis=1, n=3)[:, 0][:, None],
    "differences from 1": lambda w, x, xp: xp.diff(x, prepend=xp.ones_like(x[:, :1])),
    "outer": lambda w, x, xp: x @ xp.linalg.outer(w[0], w[:, 0]),
    "over one axis": lambda w, x, xp: xp.tensordot(x, w, axes=((1,), (1,))) @ xp.tensordot(w, w.T, axes=1),
    "over the first": lambda w, x, xp: xp.tensordot(xp.tensordot(w, w, axes=([0], [0])), x, axes=([0], [1])).T,
    "over both": lambda w, x, xp: x * xp.tensordot(w, xp.exp(w)) + xp.tensordot(w, w.T, axes=((0, 1), (1, 0))),
    "over none": lambda w, x, xp: x @ xp.tensordot(w[0], w[1], axes=0),
    "norms": lambda w, x, xp: xp.linalg.vector_norm(x, axis=1) * xp.linalg.vector_norm(w),
    "other norms": lambda w, x, xp: sum(
        xp.linalg.vector_norm(x, axis=-1, keepdims=True, ord=k) for k in (0, 1, 3, np.inf, -np.inf)
    ),
    "norms of matrices": lambda w, x, xp: (
        x * sum(xp.linalg.matrix_norm(w, ord=k) for k in ("fro", 1, -1, np.inf, -np.inf))
    ),
    "diagonals": lambda w, x, xp: x[:, :3] * xp.linalg.diagonal(w) + xp.linalg.trace(w, offset=-1),
    "powers": lambda w, x, xp: x @ xp.linalg.matrix_power(w.T @ w, 5) + x @ xp.linalg.matrix_power(w.T @ w, 2),
    "hyperbolic": lambda w, x, xp: xp.sinh(x) / xp.cosh(0.5 * x) + xp.asinh(x) * xp.atanh(0.3 * xp.tanh(x)),
    "logarithms": lambda w, x, xp: xp.log2(1.0 + x * x) - xp.log10(2.0 + x * x) + xp.tan(0.2 * x) + xp.positive(x),
    "either": lambda w, x, xp: xp.where(xp.logical_xor(x > 0, x > -0.5), x, 0.25 * x),
}

# With an axis of groups.
GROUPED = {
    "in groups": lambda w, x, xp: xp.reshape(xp.tanh(xp.reshape(x, (-1, 2, 2))) @ w[:2, :3], (-1, 6)),
    "distances": lambda w, x, xp: xp.sum((x[:, None, :] - w[None, :, :]) ** 2, axis=-1),
    "bins": lambda w, x, xp: xp.reshape(xp.maximum(0.0, 1.0 - xp.abs(x[:, :, None] - w[:, 0])), (x.shape[0], -1)),
    "pairs": lambda w, x, xp: xp.reshape(x[:, :, None] * (x * w[0])[:, None, :], (-1, 16)),
    "of groups": lambda w, x, xp: (
        xp.mean(xp.reshape(x, (-1, 2, 2)), axis=1) + xp.max(xp.reshape(x, (-1, 2, 2)), axis=2)
    ),
    "of all": lambda w, x, xp: xp.sum(xp.reshape(x, (-1, 2, 2)) * w[:2, :2], axis=(1, 2)),
    "variances": lambda w, x, xp: xp.var(xp.reshape(x, (-1, 2, 2)), axis=2) * xp.std(xp.exp(x[:, None, :]), axis=2),
    "attention": lambda w, x, xp: attention(xp.reshape(x, (-1, 2, 2)), w, xp),
    "by a vector": lambda w, x, xp: xp.reshape(x, (-1, 2, 2)) @ w[0, :2],
    "parts": lambda w, x, xp: xp.reshape(x, (-1, 2, 2))[:, 1] * xp.reshape(x, (-1, 2, 2))[:, :, 0],
    "some": lambda w, x, xp: xp.reshape(xp.reshape(x, (-1, 2, 2))[..., :1] * w[0, :1], (-1, 2)),
    "joined": lambda w, x, xp: xp.sum(xp.concat([x[:, None, :], xp.stack([x * x, x], axis=1)], axis=1) * w, axis=1),
    "joined units": lambda w, x, xp: xp.sum(xp.concat([x[:, None, :], w[0] * x[:, None, :]], axis=2), axis=1),
    "one taken out": lambda w, x, xp: xp.squeeze(xp.sum(x[:, :, None] * w[0], axis=2, keepdims=True), axis=2),
    "either": lambda w, x, xp: xp.max(
        xp.where((x[:, :, None] > w[:, 0]) & (x[:, :, None] < 1.0), x[:, :, None], 0.0), axis=2
    ),
    "rounded": lambda w, x, xp: xp.linalg.vector_norm(xp.logaddexp(xp.reshape(x, (-1, 2, 2)), w[:2, :2]), axis=-1),
    "of parameters": lambda w, x, xp: x @ xp.sum(xp.exp(-((w[:, None, :] - 0.5 * w[None, :, :]) ** 2)), axis=0).T,
    "of all parameters": lambda w, x, xp: x * xp.mean(xp.reshape(w, (3, 2, 2)) * w[:2, :2], axis=(0, 1, 2)),
    "rows of parameters": lambda w, x, xp: x[:, :2] * xp.max(xp.reshape(w, (3, 2, 2)), axis=(0, 2)),
    "sizes": lambda w, x, xp: xp.reshape(x[:, :, None] * w[:, 1], (-1, w.shape[0] * x.shape[1])) / float(x.shape[1]),
    "half": lambda w, x, xp: x[:, : x.shape[1] // 2] * x[:, x.shape[1] - 2 : 5 - x.shape[1] % 3],
    "turned": lambda w, x, xp: xp.reshape(xp.permute_dims(xp.reshape(x, (-1, 2, 2)), (0, 2, 1)), (-1, 4)) * w[0],
}


def attention(tokens, w, xp):
    scores = (tokens @ w[:2, :2]) @ xp.matrix_transpose(tokens @ w[:2, 2:])
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return xp.reshape((e / xp.sum(e, axis=-1, keepdims=True)) @ tokens, (-1, 4))


FUNCTIONS |= GROUPED


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_numpy_and_slopes_those_of_finite_differences(name):
    def f(w, x, *, xp):
        return FUNCTIONS[name](w, x, xp)

    value, pull_back = value_and_pullbacks(f, 2, per_record=1)(W, X, xp=np)
    np.testing.assert_allclose(value, f(W, X, xp=np), rtol=1e-13, atol=1e-13)
    given = np.random.default_rng(1).standard_normal(value.shape)
    for k, (found, at) in enumerate(zip(pull_back(given), (W, X), strict=True)):
        for index in np.ndindex(at.shape):
            direction = np.zeros(at.shape)
            direction[index] = 1.0
            slope = expected.directional_derivative(
                lambda a, k=k: np.sum(given * f(*((a, X) if k == 0 else (W, a)), xp=np)), at, direction
            )
            np.testing.assert_allclose(found[index], slope, rtol=1e-7, atol=1e-7)


def test_products_have_slopes_where_a_factor_is_0():
    x = np.asarray([[2.0, 0.0, 3.0, -1.0], [0.0, 5.0, 0.0, 1.0]])
    _, pull_back = value_and_pullbacks(lambda x, *, xp: xp.prod(x, axis=1), 1, per_record=1)(x, xp=np)
    np.testing.assert_array_equal(pull_back(np.ones(2))[0], [[0, -6, 0, 0], [0, 0, 0, 0]])
    norms = value_and_pullbacks(lambda x, *, xp: xp.linalg.vector_norm(x, axis=1), 1, per_record=1)
    np.testing.assert_array_equal(norms(0 * x, xp=np)[1](np.ones(2))[0], 0 * x)


def test_columns_that_are_read_one_by_one_have_one_cotangent():
    graph = Graph()
    z = graph.input("z", (graph.dim("B"), graph.dim("n6", 6)))
    from gdkernels.graph import topological, vjp

    slope = vjp(graph.sum(graph.flip(graph.tanh(z), axis=1) * z), z, graph.lift(1.0))
    nodes = topological(slope)
    assert sum(n.op == "concat" for n in nodes) == 2  # that of the flip, and that of its derivative
    assert not any(n.op == "constant" and n.attribute == 0 for n in nodes)


REFUSED = {
    "four sizes": (
        lambda z, g: g.reshape(z, (-1, 2, 3, 1)),
        r"reshape of \[B, n6\] to \[B, n2, n3, 1\] .* for each group",
    ),
    "records beside groups": (lambda z, g: g.reshape(z, (-1, 2, 3)) * z, "it needs an axis of its own"),
    "groups that differ": (
        lambda z, g: g.reshape(z, (-1, 2, 3)) + g.reshape(z, (-1, 3, 2)),
        r"add: shapes .* do not fit",
    ),
    "sums over records": (lambda z, g: g.sum(g.reshape(z, (-1, 2, 3))), "over records cannot be traced"),
    "groups rolled": (lambda z, g: g.roll(g.reshape(z, (-1, 2, 3)), 1, axis=1), "of an array of three dimensions"),
    "records of groups": (lambda z, g: g.reshape(z, (-1, 2, 3))[0], "is a group, a"),
    "no matrices": (lambda z, g: g.matmul(z, g.reshape(z, (-1, 6, 1))), "has a matrix of one row"),
    "records parted": (lambda z, g: g.reshape(z, (-1, 3)), r"parts records or joins them"),
    "no such size": (lambda z, g: g.reshape(z[:, 0], (z.shape[1],)), r"does not fit|has no size"),
    "too many numbers": (lambda z, g: g.reshape(z, (z.shape[0], 7)), r"\[B, n6\] does not fit \[B, 7\]"),
    "no whole number": (lambda z, g: g.reshape(z, (z.shape[0], 6.0)), "whole numbers and of sizes"),
    "records rolled": (lambda z, g: g.roll(z, 1, axis=0), "roll of .* along axis 0 .* a record is computed by itself"),
    "records summed up": (lambda z, g: g.cumulative_sum(z, axis=0), "cumulative_sum of .* along axis 0"),
    "no axis": (lambda z, g: g.cumulative_sum(z), "needs an axis"),
    "a condition": (lambda z, g: g.prod(z > 0, axis=1), "prod takes numbers"),
    "repeats that are an array": (lambda z, g: g.repeat(z, z[:, 0], axis=1), "repeat takes whole numbers"),
    "singular values": (lambda z, g: g.linalg.matrix_norm(z, ord=2), "steps of a power iteration"),
    "three dimensions": (lambda z, g: g.tensordot(z, z, axes=0), "tensordot of .* have one or two dimensions"),
    "a root": (lambda z, g: g.linalg.matrix_power(z, -1), "whole powers of at least 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_refused_by_name(what):
    graph = Graph()
    make, words = REFUSED[what]
    z = graph.input("z", (graph.dim("B"), graph.width(6)))
    with pytest.raises(TraceError, match=words):
        make(z, graph)
