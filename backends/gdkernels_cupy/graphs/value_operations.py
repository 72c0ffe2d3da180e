"""The operations of what is computed of parameters alone, and of the way back from its gradient to them.

A value has two axes in the steps of `gdkernels.lowering.values`. Here a vector is one row in memory, whichever axis it
runs along, and a number has a place among those of the step. A transpose is made where a kernel reads it: products take
either operand transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.elementwise import ELEMENT
from gdkernels.lowering.steps import NUMBER, wide_dims
from gdkernels.lowering.value_steps import (
    NOUGHT,
    Pass,
    SummedColumns,
    ValueCopy,
    ValueProduct,
    ValueStep,
    ValueSteps,
    extents,
    is_matrix,
    number_of,
    vector_of,
)
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.launch_shapes import launch_shape_of
from gdkernels_cupy.graphs.loop_passes import SUMMED_AT_ONCE, factor_of_sum, sums_of_columns
from gdkernels_cupy.graphs.operations import DeviceBuffer, LoopKernel, matrix, vector
from gdkernels_cupy.graphs.step_numbers import StepNumbers
from gdkernels_cupy.graphs.value_store import ValueStore

__all__ = ["ValueOperations"]


class ValueOperations:
    """Makes the operations of a cut.

    Parameters
    ----------
    steps
        None where nothing is computed of parameters: there are no operations then.
    numbers, store
        Where the numbers of the step are, and the sums over the batch.
    parameters, copies
        The buffers of parameters and of what stands for values by name, and those that products read in place of them.
        What stands for a value that has a buffer of its own is given that.
    real
        The precision of loops over parameters; loops over numbers are in float64.
    """

    def __init__(
        self,
        steps: ValueSteps | None,
        numbers: StepNumbers,
        store: ValueStore,
        parameters: dict[str, DeviceBuffer],
        copies: Mapping[str, DeviceBuffer],
        real: str,
    ) -> None:
        self._steps, self._numbers, self._store = steps or ValueSteps(), numbers, store
        self._parameters, self._copies, self._real = parameters, copies, real
        self._made: dict[int, DeviceBuffer] = {}
        self._found: list[ops.Operation] = []

    def before(self) -> list[ops.Operation]:
        """Return what comes before the batch."""
        return self._operations(self._steps.before)

    def after(self) -> list[ops.Operation]:
        """Return what comes between the sums over the batch and the update."""
        return self._operations(self._steps.after)

    def _operations(self, steps: Iterable[ValueStep]) -> list[ops.Operation]:
        self._found = []
        for step in steps:
            if isinstance(step, Pass):
                self._add_pass(step)
            elif isinstance(step, ValueProduct):
                self._add_product(step)
            elif isinstance(step, ValueCopy):
                self._add_copy(step)
            elif isinstance(step, SummedColumns):
                name = f"parts of value {step.node.id}"
                self._found += sums_of_columns(self._array(step.source), self._new(step.node), name)
        return self._found

    # ---- places

    def _place(self, value: Node) -> DeviceBuffer | int:
        """Return where a value is: a buffer, or the place of a number."""
        value = vector_of(value)
        if value.dtype == SCALAR:
            return self._numbers.places[self._steps.scalars[value.id].id]
        if value.id in self._numbers.of_values:
            return self._numbers.of_values[value.id]
        if value.id in self._steps.sums:
            summed = self._steps.sums[value.id]
            return self._store.gradient(summed) if wide_dims(summed.shape) else self._numbers.places[summed.id]
        if value.id in self._steps.parameters:
            return self._parameters[self._steps.parameters[value.id]]
        if value.op == "transpose" and value.id not in self._made:
            source, target = self._array(value.args[0]), self._new(value)
            self._found.append(ops.Transpose(source, target))
        return self._made[value.id]

    def _array(self, value: Node) -> DeviceBuffer:
        place = self._place(value)
        assert isinstance(place, DeviceBuffer), "it is no number"
        return place

    def _new(self, value: Node) -> DeviceBuffer:
        """Return a buffer for a value: a new one, or that of the output whose place it takes."""
        name, (rows, columns) = f"value {value.id}", extents(value)
        if value.id in self._steps.placed:
            self._made[value.id] = self._parameters[self._steps.placed[value.id]]
        elif is_matrix(value):
            self._made[value.id] = matrix(name, rows, columns, self._real)
        else:
            self._made[value.id] = vector(name, columns, self._real)
        return self._made[value.id]

    def _targets(self, value: Node | str) -> tuple[DeviceBuffer, ...]:
        """Return where an array goes: what products read in another storage is written in both."""
        if isinstance(value, Node):
            first, name = self._new(value), self._steps.placed.get(value.id, "")
        else:
            first, name = self._parameters[value], value
        return (first, self._copies[name]) if name in self._copies else (first,)

    # ---- steps

    def _add_product(self, step: ValueProduct) -> None:
        (left, transpose_left), (right, transpose_right) = map(self._operand, (step.left, step.right))
        out, *copies = self._targets(step.node)
        self._found.append(ops.MatrixProduct(left, right, out, transpose_left, transpose_right))
        self._found += [ops.Cast(out, copy) for copy in copies]

    def _add_copy(self, step: ValueCopy) -> None:
        rows = number_of(step.node.shape[0])
        parts = [(None if part.source is None else self._array(part.source), part) for part in step.parts]
        for target in self._targets(step.node):
            for source, part in parts:
                self._found.append(ops.ColumnCopy(source, part.first, target, part.to, rows, part.count))

    def _operand(self, value: Node) -> tuple[DeviceBuffer, bool]:
        """Return an operand of a product, and whether the product has to transpose it."""
        turned = value.op == "transpose" and is_matrix(value)
        return self._array(value.args[0] if turned else value), turned

    def _add_pass(self, step: Pass) -> None:
        if step.recipe is NOUGHT or (step.copies and self._moves(step)):
            return  # a total does not add to what was there
        rows, columns = extents(step.over)
        reads = tuple(map(self._place, step.reads))
        factor = factor_of_sum(step.recipe) if rows == 1 and columns <= SUMMED_AT_ONCE else None
        if factor is not None and step.recipe.code[0].rate == ELEMENT and isinstance(terms := reads[0], DeviceBuffer):
            self._found.append(ops.Total(terms, self._number(step.writes[0]), accumulate=False, factor=factor))
            return
        outputs, reduced = step.writes[: len(step.recipe.outputs)], step.writes[len(step.recipe.outputs) :]
        number_loop = step.recipe.kind == NUMBER
        writes = tuple(self._number(value) if number_loop else self._targets(value) for value in outputs)
        shape = launch_shape_of(rows, columns, row_wise=step.recipe.row_wise)
        reductions, totals = [], []
        for (_, _, to_row), value in zip(step.recipe.reductions, reduced, strict=True):
            if to_row:
                assert isinstance(value, Node), "no reduction is an output itself"
                reductions.append(self._new(value))
            else:
                number = self._number(value)
                reductions.append(vector(f"parts of number {number}", shape.blocks, "float64"))
                totals.append(ops.Total(reductions[-1], number, accumulate=False))
        kernel = LoopKernel(
            step.recipe,
            "float64" if number_loop else self._real,
            tuple(r.storage if isinstance(r, DeviceBuffer) else "number" for r in reads),
            tuple(("number",) if isinstance(w, int) else tuple(b.storage for b in w) for w in writes),
        )
        self._found += [ops.LoopPass(kernel, rows, columns, reads, writes, tuple(reductions)), *totals]

    def _number(self, value: Node | str) -> int:
        assert isinstance(value, Node), "numbers are read where they are"
        return self._numbers.of_values[value.id]

    def _moves(self, step: Pass) -> bool:
        """Let a copy be a transpose, that of a column, or none at all; return whether it is one of these."""
        (source,), (written,) = step.reads, step.writes
        target, *copies = self._targets(written)
        if source.op == "transpose" and is_matrix(source) and source.id not in self._made:
            self._found.append(ops.Transpose(self._array(source.args[0]), target))
            self._found += [ops.Cast(target, copy) for copy in copies]
            return True
        place = self._array(source)
        if (place.rows, place.columns) != (target.rows, target.columns):  # a vector and a matrix of one column
            count = extents(step.over)[1]
            self._found += [ops.ColumnCopy(place, 0, column, 0, count, 1) for column in (target, *copies)]
            return True
        if isinstance(written, Node) or vector_of(source).id in self._steps.parameters:
            return False  # an update may change a parameter before another has read what it stands for
        self._parameters[written] = place
        self._found += [ops.Cast(place, copy) for copy in copies]
        return True
