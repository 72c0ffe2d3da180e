"""From a loop of the schedule to the operations that do it: one pass, and the sums of what its blocks leave."""

from __future__ import annotations

from gdkernels.lowering.elementwise import Recipe
from gdkernels.lowering.steps import COLUMN, NUMBER, Loop, kind_of
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.launch_shapes import chunks_of, launch_shape_of
from gdkernels_cupy.graphs.operations import DeviceBuffer, LoopKernel, matrix, vector
from gdkernels_cupy.graphs.step_numbers import StepNumbers
from gdkernels_cupy.graphs.tile_storage import TileStorage
from gdkernels_cupy.graphs.value_store import MicroBatch, ValueStore

__all__ = ["SUMMED_AT_ONCE", "LoopPasses", "factor_of_sum", "sums_of_columns"]

# Numbers of a batch's records that one block sums in the time of a launch, beside the updates.
SUMMED_AT_ONCE = 1 << 12


class LoopPasses:
    """The operations of a task's loops.

    Parameters
    ----------
    numbers, storage, values
        Where the numbers of the step are, which columns are summed on the way, and where a micro-batch's values go.
    real
        The precision of loops over records and parameters; loops over numbers are in float64.
    """

    def __init__(
        self, task: ScheduledTask, numbers: StepNumbers, storage: TileStorage, values: ValueStore, real: str
    ) -> None:
        self._task, self._numbers, self._storage, self._values, self._real = task, numbers, storage, values, real

    def of(
        self,
        step: Loop,
        rows: int,
        columns: int,
        reads: tuple[DeviceBuffer | int, ...],
        writes: tuple[tuple[DeviceBuffer, ...] | int, ...],
        at: MicroBatch,
    ) -> list[ops.Operation]:
        """Return the operations of a loop over `rows` · `columns`; `at` learns where its reductions are."""
        recipe = self._task.recipes[id(step)]
        factor = factor_of_sum(recipe) if step.kind == COLUMN and columns <= SUMMED_AT_ONCE else None
        if factor is not None and isinstance(column := reads[0], DeviceBuffer):
            return [ops.Total(column, self._numbers.places[step.reductions[0].id], at.adds, factor)]
        real = "float64" if step.kind == NUMBER else self._real
        shape = launch_shape_of(rows, columns, row_wise=recipe.row_wise)
        summed = [k for k, n in enumerate(step.outputs) if n.id in self._storage.summed_in_loops]
        for k in summed:
            node = step.outputs[k]
            name = f"parts of {node.op} {node.id} of {at.piece}"
            at.column_parts[node.id] = matrix(name, shape.grid[0], columns, real)
        kernel = LoopKernel(
            recipe,
            real,
            tuple(r.storage if isinstance(r, DeviceBuffer) else "number" for r in reads),
            tuple(tuple(b.storage for b in w) if isinstance(w, tuple) else ("number",) for w in writes),
            tuple(summed),
        )
        parts, totals = [], []
        for node in step.reductions:
            if kind_of(node, self._task.batch) == COLUMN:
                at.full[node.id] = self._values.new(node, at, self._real)
                parts.append(at.full[node.id])
            else:
                parts.append(vector(f"parts of {node.op} {node.id} of {at.piece}", shape.blocks, "float64"))
                totals.append(ops.Total(parts[-1], self._numbers.places[node.id], accumulate=at.adds))
        column_parts = tuple(at.column_parts[step.outputs[k].id] for k in summed)
        return [ops.LoopPass(kernel, rows, columns, reads, writes, tuple(parts), column_parts), *totals]


def sums_of_columns(
    values: DeviceBuffer, target: DeviceBuffer, parts_name: str, *, accumulate: bool = False
) -> list[ops.Operation]:
    """Return the operations that sum columns: in parts first, if there are many rows."""
    chunk, chunks = chunks_of(values.rows)
    if chunks == 1:
        return [ops.ColumnSums(values, chunk, target, accumulate=accumulate)]
    parts = matrix(parts_name, chunks, target.columns, target.storage)
    return [ops.ColumnSums(values, chunk, parts), ops.ColumnSums(parts, chunks, target, accumulate=accumulate)]


def factor_of_sum(recipe: Recipe) -> float | None:
    """Return c where a loop does nothing but sum c · what it reads over the batch; None for any other."""
    if recipe.outputs or len(recipe.reductions) != 1:
        return None
    op, at, to_row = recipe.reductions[0]
    if op != "sum" or to_row or at != len(recipe.code) - 1 or [i.op for i in recipe.code].count("load") != 1:
        return None
    match recipe.code[1:]:
        case ():
            return 1.0
        case (constant, product) if (constant.op, product.op) == ("constant", "multiply"):
            return float(constant.value) if set(product.arguments) == {0, 1} else None
        case _:
            return None
