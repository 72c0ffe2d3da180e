"""Sparse rows on the CPU engine: products with entries and ordered sums, beside the definition on the dense rows."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from gdkernels_numba import NumbaBackend

from gdkernels.backend import Plan, verification
from gdkernels.backend.entries import Entries
from gdkernels.backend.program import Program
from gdkernels.data.sparse import SparseRows
from gdkernels.data.taking_sparse import taking
from gdkernels.definition import losses
from gdkernels.definition.blocks import Dense, Dropout, Gated, LayerNorm, Mean, Residual, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError

INPUTS, RECORDS, BATCH = 301, 53, 20
NETWORKS = {
    "one unit": (Dense(1, "tanh"), Dense(2)),
    "four units": (Dense(4, "relu"), Dense(2)),
    "beyond a panel": (Dense(100, "tanh"), Dense(5, "relu"), Dense(2)),
    "no hidden layer": (Dense(2),),
    "two products": (Gated(70), Dense(2)),
    "several": (Mean(Dense(3, "relu"), Sequential(Dense(9, "tanh"), Dense(3))), Residual(Dense(3)), Dense(2)),
    "dropout": (Dense(33, "relu"), Dropout(0.3), Dense(2)),
}
SETTINGS = {
    "momentum": {"optimizer": SGD(momentum=0.9)},
    "Adam, clipped": {"optimizer": Adam(), "clip_norm": 0.1, "gradient_norm": True},
    "decay, weights": {"optimizer": AdamW(weight_decay=0.1), "l2": 0.05, "weighted": True},
}


def program(blocks, **settings):
    objective = Objective(losses.sse)
    of_objective = {name: settings.pop(name) for name in ("clip_norm", "l2") if name in settings}
    return Program(Sequential(*blocks), INPUTS, objective=replace(objective, **of_objective), **settings)


def drawn(p, density=0.03):
    random = np.random.default_rng(5)
    matrix = scipy.sparse.random_array((RECORDS, INPUTS), density=density, rng=random, format="csr", dtype=np.float64)
    matrix.data[matrix.indptr[7] : matrix.indptr[8]] = 0  # a row without entries
    matrix.eliminate_zeros()
    start = {
        name: (random.standard_normal(told.shape) / max(told.shape) ** 0.5).astype(np.float32)
        for name, told in p.parameters.items()
    }
    y = random.standard_normal((RECORDS, p.outputs), dtype=np.float32)
    weights = np.floor(random.uniform(0.0, 4.0, RECORDS)).astype(np.float32) if p.weighted else None
    return matrix.astype(np.float32), y, weights, random.permutation(RECORDS), start


def trained(p, threads, precision, data, **choices):
    matrix, y, weights, order, start = data
    executable = NumbaBackend().compile(p, Plan("numba", "cpu", precision, {"threads": threads, **choices}))
    assert executable.takes_entries
    entries = SparseRows(matrix).entries(precision)
    state = verification.start(p, start, lambda a: np.array(a, precision))
    given = () if weights is None else (weights.astype(precision),)
    rates = np.full(-(-RECORDS // BATCH), 0.01)
    loss, norm = executable.run(state, entries, y.astype(precision), order, BATCH, rates, *given)
    assert executable.plan.choices["threads"] == threads
    return loss, norm, state, executable.predict(state.parameters, entries)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_those_of_dense_rows(name, setting, threads, precision):
    p = program(NETWORKS[name], **SETTINGS[setting])
    data = drawn(p)
    matrix, y, weights, order, start = data
    loss, norm, found, output = trained(p, threads, precision, data)
    x, rates = matrix.toarray(), np.full(-(-RECORDS // BATCH), 0.01)
    results = []
    for kind in (precision, "float64"):
        state = verification.start(p, start, lambda a, kind=kind: np.array(a, kind))
        total, length = verification.continue_on_numpy(p, state, x, y, order, BATCH, rates, kind, weights)
        results.append({"the loss": total, "the norm": length or 0.0, **dict(verification.named_arrays(state))})
    own, wanted = results
    arrays = {"the loss": loss, "the norm": norm or 0.0, **dict(verification.named_arrays(found))}
    for which, a64 in wanted.items():
        allowed = verification.bound(verification.relative_error(own[which], a64), precision, 1)
        assert verification.relative_error(arrays[which], a64) <= allowed, which
    exact = verification.predict_on_numpy(p, found.parameters, x.astype(np.float64))
    usual = verification.relative_error(verification.predict_on_numpy(p, found.parameters, x, precision), exact)
    assert verification.relative_error(output, exact) <= verification.bound(usual, precision, 1)


@pytest.mark.parametrize("units", [1, 4, 70])
def test_bits_are_the_same_on_any_number_of_threads(units):
    p = program((Dense(units, "tanh", bias=False),), optimizer=SGD(momentum=0.9))
    data, found = drawn(p), []
    for threads in (1, 2, 3):
        _, _, state, output = trained(p, threads, "float32", data)
        found.append([output.tobytes(), *(a.tobytes() for _, a in verification.named_arrays(state))])
    assert found[0] == found[1] == found[2]


def test_what_a_plan_asks_for_does_not_change_the_results():
    p = program(NETWORKS["beyond a panel"], optimizer=Adam())
    data = drawn(p)
    plans = ({"by_units": True}, {"depth_first": True, "tile_rows": 8}, {"depth_first": False, "tile_rows": 4})
    found = [trained(p, 2, "float64", data, **plan)[2].parameters for plan in plans]
    for other in found[1:]:
        for name, a in other.items():
            np.testing.assert_allclose(a, found[0][name], rtol=1e-10, atol=1e-12)


def test_rows_with_an_entry_in_every_column_and_entries_that_come_twice():
    p = program(NETWORKS["four units"], optimizer=SGD())
    matrix, y, weights, order, start = drawn(p, density=1.0)
    found = trained(p, 2, "float64", (matrix.astype(np.float64), y, weights, order, start))
    doubled = scipy.sparse.csr_array(
        (np.repeat(matrix.data.astype(np.float64) / 2, 2), np.repeat(matrix.indices, 2), matrix.indptr * 2),
        matrix.shape,
    )
    again = trained(p, 2, "float64", (doubled, y, weights, order, start))
    np.testing.assert_allclose(again[3], found[3], rtol=1e-10)


@pytest.mark.parametrize(
    "blocks",
    [(LayerNorm(), Dense(2)), (Dropout(0.1), Dense(2)), (Residual(Dense(INPUTS)), Dense(2))],
    ids=["normalised", "dropped", "residual"],
)
def test_a_network_that_needs_whole_rows_takes_no_entries(blocks):
    p = program(blocks, optimizer=SGD())
    executable = NumbaBackend().compile(p, Plan("numba", "cpu", "float32"))
    assert executable.origin == "compiled"
    assert not executable.takes_entries


def test_bfloat16_rounds_dense_rows():
    if NumbaBackend().lacks("bfloat16"):
        pytest.skip(str(NumbaBackend().lacks("bfloat16")))
    p = program(NETWORKS["four units"], optimizer=SGD())
    assert not NumbaBackend().compile(p, Plan("numba", "cpu", "bfloat16")).takes_entries


DAMAGE = {
    "a column beyond": ("indices", 0, INPUTS),
    "a column below": ("indices", 3, -1),
    "rows that run back": ("indptr", 2, 10_000),
    "a beginning": ("indptr", 0, 1),
    "an end beyond": ("indptr", -1, 10_000),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_matrix_is_refused_before_anything_reads_it(what):
    p = program(NETWORKS["four units"], optimizer=SGD())
    matrix = drawn(p)[0]
    field, at, value = DAMAGE[what]
    getattr(matrix, field)[at] = value
    rows = SparseRows(matrix)
    backend = NumbaBackend()
    binding = Binding(backend, "cpu", "float32", "a test")
    executable = taking(rows, backend.compile(p, Plan("numba", "cpu", "float32")), p, binding)
    with pytest.raises(InputError, match="a damaged sparse matrix"):
        executable.predict({n: np.zeros(t.shape, np.float32) for n, t in p.parameters.items()}, rows)


def test_entries_share_the_memory_of_the_matrix():
    matrix = drawn(program(NETWORKS["four units"], optimizer=SGD()))[0]
    rows = SparseRows(matrix)
    entries = rows.entries("float32")
    assert isinstance(entries, Entries)
    assert np.shares_memory(entries.values, matrix.data)
    assert np.shares_memory(entries.columns, matrix.indices)
    assert rows.entries("float32") is entries
    part = entries.rows(10, 20)
    assert part.shape == (10, INPUTS)
    assert part.per_row == pytest.approx(matrix[10:20].nnz / 10)
