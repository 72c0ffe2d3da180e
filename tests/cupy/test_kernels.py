"""The generated kernels, compiled by the host's compiler, do what the interpreter does: operation by operation."""

import re
from functools import partial

import numpy as np
import pytest
from gdkernels_cupy.cuda.keyed_order import order_words
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import CONTROL, calls_of, fill_order
from gdkernels_cupy.graphs.interpret import Interpreter, to_bfloat16
from gdkernels_cupy.graphs.operations import OperationList, matrix
from programs import module, started
from twin import HEADERS, Twin, digest

from gdkernels.lowering.allocation import ALIGNMENT
from gdkernels.lowering.task import DATA
from gdkernels.randomness import KeyedOrder
from gdkernels.testing.cases import CASES

PLAIN = frozenset({
    "load", "constant", "negative", "abs", "add", "subtract", "multiply", "divide", "where", "sqrt", "sign",
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "maximum", "minimum",
    "logical_and", "logical_or", "logical_not",
})  # fmt: skip


def aligned(memory):
    """Return a copy that begins where memory of a device does."""
    room = np.empty(memory.nbytes + ALIGNMENT, np.uint8)
    copy = room[-room.ctypes.data % ALIGNMENT :][: memory.nbytes]
    copy[:] = memory
    return copy


class Kernels(Interpreter):
    """The same list in memory of its own, with the kernels themselves in place of NumPy's; products stay NumPy's."""

    twin = None

    def __init__(self, op_list, precision):
        super().__init__(op_list, precision)
        self.memory = aligned(self.memory)
        self.float32_numbers = np.full(op_list.numbers, np.nan, np.float32)
        self.cells = np.zeros(len(CONTROL), np.int64)
        self.control, self.sums_at = self.cells.ctypes.data, self.sums.ctypes.data

    def of(self, buffer):
        return self.memory.ctypes.data + self.offsets[buffer.name]

    def number(self, cell):
        return self.numbers.ctypes.data + 8 * cell

    def float32_number(self, cell):
        return self.float32_numbers.ctypes.data + 4 * cell

    def begin_step(self, arrays, order, scalars):
        self._order, self._arrays = np.ascontiguousarray(order, np.int64), dict(arrays)
        self._table = np.full((2, 2 + len(scalars)), np.nan)
        self._table[0] = 0.0, 1.0, *scalars
        records = len(arrays["x"])
        sources = [arrays[name].ctypes.data if name in arrays else 0 for name in DATA]
        self.cells[:] = [0, 0, self._order.ctypes.data, self._table.ctypes.data, records, *sources]

    def run(self, operation):
        if isinstance(operation, ops.MatrixProduct):
            self.multiply(operation)
            return
        for call in calls_of(operation, self.op_list, len(self._order), self):
            self.twin(call.name, call.shape.grid, call.shape.block, call.arguments)


@pytest.fixture(scope="session")
def twin(made):
    def make(precision, direction=1, change=lambda text: text):
        return Twin(change(module(precision)), made, direction=direction)

    return make


def written(operation, op_list):
    """Return the buffers that an operation writes."""
    match operation:
        case ops.GatherRows(border=True):
            return [ops.with_border(operation.target)]
        case ops.BiasRows():
            return [operation.weights]
        case ops.GatherRows() | ops.ColumnSums() | ops.Cast() | ops.ColumnCopy() | ops.TableLookUp() | ops.SumByCode():
            return [operation.target]
        case ops.Transpose():
            return [operation.target]
        case ops.LoopPass():
            groups = [w for w in operation.writes if isinstance(w, tuple)]
            return [*(b for group in groups for b in group), *operation.reductions, *operation.column_parts]
        case _:
            return []


def differences(name, precision, twins, *, pieces=None, poison=False):
    """Yield, for each operation by itself, the operation and by how much kernel and interpreter differ.

    With `poison`, one of the weights is NaN, which neither may lose.
    """
    wanted, given = started(name, precision, pieces=pieces)
    found, _ = started(name, precision, make=Kernels, pieces=pieces)
    found.twin = twins
    if poison:
        wanted.bits(wanted.op_list.parameters["W0"])[0, 1] = np.nan
    found.begin_step(*given)
    wanted._arrays, wanted._order, wanted._scalars = given
    for operation in wanted.op_list.operations:
        found.memory[:], found.numbers[:], found.sums[:] = wanted.memory, wanted.numbers, wanted.sums
        with np.errstate(all="ignore"):
            wanted._run[type(operation)](operation)
            found.run(operation)
        off = [relative(found.numbers, wanted.numbers), relative(found.sums, wanted.sums)]
        if isinstance(operation, ops.RecordNumbers) and list(found.cells[:2]) != [1, len(found._order)]:
            off.append(np.inf)  # the next step does not begin where this one ended
        for buffer in written(operation, wanted.op_list):
            a, b = found.read(buffer), wanted.read(buffer)
            if buffer in getattr(operation, "reductions", ()) and buffer.storage == "float64" and a.size > 1:
                a, b = a.sum(), b.sum()  # of parts: how they are shared out is the kernel's own
            if buffer in getattr(operation, "column_parts", ()):
                a, b = a.sum(axis=0), b.sum(axis=0)
            off.append(relative(a, b))
        yield operation, max(off)


def relative(a, b):
    """Return the largest difference over the largest value; infinite where one is NaN and the other is not."""
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    return float(np.abs(a - b).max(initial=0.0) / (np.abs(b).max(initial=0.0) or 1.0))


def is_exact(operation):
    if isinstance(operation, ops.LoopPass):
        recipe = operation.kernel.recipe
        return not recipe.reductions and not operation.column_parts and {i.op for i in recipe.code} <= PLAIN
    moves = ops.GatherRows | ops.ColumnCopy | ops.TableLookUp | ops.SumByCode | ops.Transpose | ops.Cast | ops.BiasRows
    return isinstance(operation, ops.BeginStep | moves | ops.MatrixProduct)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_kernels_are_the_interpreter(twin, precision):
    """Equal to the bit where there is only arithmetic; to rounding where there are functions or sums."""
    allowed = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 8e-3}[precision]
    kernels, exact = twin(precision), 0
    for name in CASES:
        for operation, off in differences(name, precision, kernels):
            if is_exact(operation):
                exact += 1
                assert off == 0, f"{name}: {operation}"
            assert off <= allowed, f"{name}: {operation} is off by {off:.1e}"
    assert exact > 1000


def test_threads_in_any_order_give_the_same_bits(twin):
    forward, backward = twin("float32"), twin("float32", direction=-1)
    for name in ("wide", "norm of a clipped gradient", "softmax-mse", "narrow in, wide out"):
        results = []
        for kernels in (forward, backward):
            run, given = started(name, "float32", make=Kernels)
            run.twin = kernels
            run.begin_step(*given)
            for operation in run.op_list.operations:
                run.run(operation)
            results.append((run.memory.tobytes(), run.sums.tobytes()))
        assert results[0] == results[1]


@pytest.mark.parametrize("columns", [1, 3, 4, 8, 64])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(
    ("source", "storage"), [("float32", "float32"), ("float32", "bfloat16"), ("float64", "float64")]
)
def test_rows_are_gathered_from_anywhere(twin, source, storage, columns, shift):
    """In vectors where rows begin at the right addresses, one by one where they do not."""
    gathered(twin, source, storage, columns, shift)


def test_a_gather_that_does_not_look_at_where_rows_begin_is_caught(twin):
    """The host's processor would take it; the twin looks."""
    look = "reinterpret_cast<unsigned long long>(from) % alignof(Four<T>) == 0"
    blind = partial(twin, change=lambda text: text.replace(look, "true"))
    gathered(blind, "float32", "float32", 8, 0)
    with pytest.raises(AssertionError, match="takes vectors from 74 addresses that a device refuses"):
        gathered(blind, "float32", "float32", 8, 1)


def gathered(twin, source, storage, columns, shift):
    rows, records = 37, 50
    random = np.random.default_rng(0)
    flat = np.zeros(records * columns + 64, source)
    begin = -(flat.ctypes.data // flat.itemsize) % 16 + shift
    x = flat[begin : begin + records * columns].reshape(records, columns)
    x[...] = random.standard_normal(x.shape)
    order = random.integers(0, records, rows + 5)
    target = ops.GatherRows("x", 5, rows, columns, matrix("x there", rows, columns, storage))
    memory = Interpreter(OperationList((target,), (target.target,), {}, {}, (), 2), storage)
    memory.memory = aligned(memory.memory)
    cells = np.array([0, 0, order.ctypes.data, 0, records, x.ctypes.data, 0, 0])

    class At:
        control = cells.ctypes.data

        @staticmethod
        def of(buffer):
            return memory.memory.ctypes.data + memory.offsets[buffer.name]

    (call,) = calls_of(target, memory.op_list, rows, At)
    twin({"float64": "float64"}.get(storage, "bfloat16"))(call.name, call.shape.grid, call.shape.block, call.arguments)
    wanted = x[order[5:]]
    found = memory.bits(target.target)
    assert np.array_equal(found, to_bfloat16(wanted) if storage == "bfloat16" else wanted)


def test_a_twin_is_built_anew_for_other_headers(tmp_path):
    changed = tmp_path / "twin.h"
    changed.write_text(HEADERS[0].read_text() + "\n")
    assert len({digest("text", ()), digest("text", (), (changed, *HEADERS[1:])), digest("other text", ())}) == 3
    assert digest("text", ()) == digest("text", ())
    included = {name for h in HEADERS for name in re.findall(r'#include "(.+)"', h.read_text())}
    assert included <= {h.name for h in HEADERS}


# ---- keyed orders


def first_difference(a, b):
    return int(np.flatnonzero(a != b)[0]) if (a != b).any() else None


@pytest.mark.parametrize(("records", "first", "stop"), [(1, 0, 1), (1000, 0, 1000), (65_537, 300, 65_537)])
def test_the_device_computes_the_order_that_numpy_does(twin, records, first, stop):
    order = KeyedOrder.of(2**33 + 7, 5, records)[first:stop]
    words, found = order_words(order), np.full(len(order), -1, np.int64)
    call = fill_order(words.ctypes.data, order.first, len(order), found.ctypes.data)
    twin("float32")(call.name, call.shape.grid, call.shape.block, call.arguments)
    assert first_difference(found, np.asarray(order)) is None


def test_a_device_that_walks_no_cycle_is_caught(twin):
    order = KeyedOrder.of(0, 0, 1000)
    words, found = order_words(order), np.full(len(order), -1, np.int64)
    call = fill_order(words.ctypes.data, 0, len(order), found.ctypes.data)
    once = twin("float32", change=lambda text: text.replace("while (place >= records)", "while (false)"))
    once(call.name, call.shape.grid, call.shape.block, call.arguments)
    assert first_difference(found, np.asarray(order)) is not None
