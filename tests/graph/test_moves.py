"""Columns, arrays side by side, and rows of a table by code: recorded, differentiated, on every namespace."""

import expected
import numpy as np
import pytest

from gdkernels.errors import TraceError
from gdkernels.graph import Graph, cost, interpret, value_and_pullbacks, vjp
from gdkernels.graph.codes import sum_by_code

CODES = np.array([3.0, 0.0, 3.0, 2.0, 3.0, 0.0])
MATRIX = np.random.default_rng(0).standard_normal((6, 5))
TABLE = np.random.default_rng(1).standard_normal((4, 3))


def of_codes(x, xp):
    return xp.astype(x[:, 4], xp.int32)


# Of a table, then of records, whose last column holds codes.
FUNCTIONS = {
    "a column": lambda table, x, *, xp: xp.sum(x[:, 1] * x[:, -2]),
    "columns": lambda table, x, *, xp: xp.sum(xp.tanh(x[:, 1:4]) * x[:, :3]),
    "columns of columns": lambda table, x, *, xp: xp.sum(xp.exp(x[:, 1:4][:, 1:])) + xp.sum(x[:, 1:4][:, 0] ** 2),
    "side by side": lambda table, x, *, xp: xp.sum(
        xp.exp(xp.concat([x[:, 2:4], xp.tanh(x), x[:, :1]], axis=1)) * xp.concat([x, x[:, 1:4]], axis=-1)
    ),
    "parts of what is side by side": lambda table, x, *, xp: xp.sum(
        xp.concat([xp.tanh(x), x[:, 1:2]], axis=1)[:, 3:6] ** 2
    ),
    "a column as a matrix": lambda table, x, *, xp: xp.sum(xp.concat([x[:, 2][:, None], x], axis=1) ** 3),
    "rows by code": lambda table, x, *, xp: xp.sum(xp.tanh(xp.take(table, of_codes(x, xp), axis=0)) * x[:, :3]),
    "rows twice": lambda table, x, *, xp: xp.sum(
        xp.take(table, of_codes(x, xp), axis=0) * xp.take(xp.tanh(table), of_codes(x, xp), axis=0)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_on_every_namespace(namespace, name):
    f = FUNCTIONS[name]
    x = np.concatenate([MATRIX[:, :4], CODES[:, None]], axis=1)
    value, pull_back = value_and_pullbacks(f, 2, per_record=1)(*map(namespace.array, (TABLE, x)), xp=namespace.xp)
    np.testing.assert_allclose(namespace.numpy(value), f(TABLE, x, xp=np), rtol=1e-13)
    of_table, of_x = map(namespace.numpy, pull_back(1.0))
    for found, at, total in (
        (of_table, TABLE, lambda a: f(a, x, xp=np)),
        (of_x[:, :4], x[:, :4], lambda a: f(TABLE, np.concatenate([a, CODES[:, None]], axis=1), xp=np)),
    ):
        for index in np.ndindex(at.shape):
            direction = np.zeros(at.shape)
            direction[index] = 1.0
            slope = expected.directional_derivative(total, at, direction)
            np.testing.assert_allclose(found[index], slope, rtol=1e-8, atol=1e-9)


def test_the_sum_by_code_has_a_derivative_too():
    graph = Graph()
    b, rows, n = graph.dim("B"), graph.dim("n4", 4), graph.dim("n3", 3)
    x, d, table = graph.input("x", (b, graph.dim("n1", 1))), graph.input("d", (b, n)), graph.input("t", (rows, n))
    sums = graph.add_rows(graph.astype(x[:, 0], graph.int32), d, table.shape)
    slope = vjp(graph.sum(sums * sums * table), d, graph.lift(1.0))
    given = {"x": CODES[:, None], "d": MATRIX[:, :3], "t": TABLE}
    codes = CODES.astype(int)
    total = np.zeros((4, 3))
    np.add.at(total, codes, MATRIX[:, :3])
    np.testing.assert_allclose(interpret([sums], given, xp=np)[0], total, rtol=1e-14)
    np.testing.assert_allclose(interpret([slope], given, xp=np)[0], (2 * total * TABLE)[codes], rtol=1e-14)


@pytest.mark.parametrize("at_once", [1, 5, 1 << 22])
def test_sums_by_code(namespace, at_once, monkeypatch):
    from gdkernels.graph import codes as module

    monkeypatch.setattr(module, "_ELEMENTS", 6 * at_once)
    xp = namespace.xp
    codes = xp.astype(namespace.array(CODES), xp.int32)
    found = namespace.numpy(sum_by_code(codes, namespace.array(MATRIX), 7, xp=xp))
    wanted = np.zeros((7, 5))
    np.add.at(wanted, CODES.astype(int), MATRIX)
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_sums_of_no_records_are_0():
    codes = np.zeros(0, np.int32)
    np.testing.assert_array_equal(sum_by_code(codes, MATRIX[:0], 5, xp=np), np.zeros((5, 5)))


@pytest.fixture
def z():
    graph = Graph()
    return graph.input("z", (graph.dim("B"), graph.dim("n5", 5)))


def test_equal_moves_are_one_and_nothing_is_moved_twice(z):
    graph = z.graph
    assert z[:, 1:3] is z[:, 1:-2]
    assert z[:, 0:5] is z
    assert z[:, 1:4][:, 1:] is z[:, 2:4]
    assert z[:, 1:4][:, 0] is z[:, 1]
    assert graph.concat([z[:, :2], z[:, 2:5]], axis=1) is z
    assert graph.concat([z[:, 1:2], z[:, 2:4]], axis=1) is z[:, 1:4]
    both = graph.concat([graph.tanh(z), z], axis=1)
    assert both.shape[1] is graph.width(10)
    assert both[:, 5:] is z
    assert both[:, 6] is z[:, 1]
    assert graph.concat([graph.concat([z[:, 3:4], graph.tanh(z)], axis=1), z], axis=1).op == "concat"
    assert len(graph.concat([graph.concat([z[:, 3:4], graph.tanh(z)], axis=1), z], axis=1).args) == 3


REFUSED = {
    "a step to nothing": (lambda z, g: z[:, 4:4:2], r"no columns at \[4:4:2\] among 5"),
    "records": (lambda z, g: z[2:], "only new axes such as"),
    "numbers of records": (lambda z, g: z[:, 0][1:], "only new axes such as"),
    "an array as index": (lambda z, g: z[:, z], "only new axes such as"),
    "beyond": (lambda z, g: z[:, 5], "there is no column 5 among 5"),
    "nothing": (lambda z, g: z[:, 3:3], "there are no columns from 3 to 3 among 5"),
    "below each other": (lambda z, g: g.concat([z, z]), "side by side, along axis 1"),
    "vectors and matrices": (lambda z, g: g.concat([z, z[:, 0]]), "all matrices or all vectors"),
    "conditions": (lambda z, g: g.concat([z > 0, z > 1], axis=1), "concat takes numbers"),
    "columns of a table": (lambda z, g: g.take(z, g.astype(z[:, 0], g.int32), axis=1), r"np\.eye\(n\)\[:, indices\]"),
    "numbers that are not whole": (lambda z, g: g.take(z, z[:, 0], axis=0), r"xp\.astype\(codes, xp\.int32\)"),
    "an unknown width": (lambda z, g: g.input("a", (z.shape[0], g.dim("n")))[:, 0], "its columns cannot be counted"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_refused(what, z):
    make, words = REFUSED[what]
    with pytest.raises(TraceError, match=words):
        make(z, z.graph)


def test_only_the_rows_that_are_looked_up_cost_something():
    graph = Graph()
    b, n = graph.dim("B"), graph.dim("n8", 8)
    x, table = graph.input("x", (b, graph.dim("n1", 1))), graph.input("t", (graph.dim("rows", 10_000), n))
    found = graph.take(table, graph.astype(x[:, 0], graph.int32), axis=0)
    d = graph.add_rows(graph.astype(x[:, 0], graph.int32), found * found, table.shape)
    sizes = {"B": 16, "n8": 8, "n1": 1, "rows": 10_000}
    assert cost([found], sizes, itemsize=4).bytes_unfused < 16 * 8 * 4 * 4
    assert cost([found], sizes, itemsize=4).flops == 0
    assert cost([d], sizes, itemsize=4).flops == 2 * 16 * 8
