"""The forms in which values of a tile are kept: in the precision of loops, as an operand of products, or as sums."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import MATRIX, Accumulation, Loop, Product
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.graphs.epilogue_fusion import FusedEpilogues
from gdkernels_cupy.graphs.launch_shapes import ROW_COLUMNS
from gdkernels_cupy.graphs.value_store import size_of

__all__ = ["TileStorage"]


@dataclass(frozen=True)
class TileStorage:
    """What of a tile is kept in which form, by the number of the node.

    Attributes
    ----------
    loops
        The loops of the tile that no product does itself.
    multiplied
        What products read.
    in_full
        What is kept in the precision of loops. The rest is there only as the operand of products.
    summed_in_loops
        The outputs of loops whose columns the loop sums on the way.
    """

    loops: tuple[Loop, ...]
    multiplied: Set[int]
    in_full: Set[int]
    summed_in_loops: Set[int]

    @classmethod
    def of(
        cls, task: ScheduledTask, fused: FusedEpilogues, sizes: Mapping[str, int], *, has_operands: bool
    ) -> TileStorage:
        """Return what a task keeps; with `has_operands`, products read another storage than that of loops."""
        schedule = task.schedule
        loops = tuple(s for s in schedule.tile if isinstance(s, Loop) and id(s) not in fused.skipped)
        wanted = {a.right.id for a in schedule.accumulations if a.left is None and a.node.id not in fused.summed}
        on_the_way = {n.id for loop in loops for n in loop.outputs if _sums_columns(task, loop, n, sizes)} & wanted
        multiplied = _multiplied(task)
        stored = {n.id for n in schedule.stored.values()}
        in_full = stored
        if has_operands:
            in_full = (stored - multiplied) | (wanted - on_the_way) | _read_in_full(task, loops, stored)
        return cls(loops, multiplied, in_full, on_the_way)


def _multiplied(task: ScheduledTask) -> set[int]:
    found: set[int] = set()
    for step in task.schedule.tile:
        if isinstance(step, Product):
            found.add(step.left.id)
        elif isinstance(step, Accumulation) and step.left is not None:
            found |= {step.left.id, step.right.id}
    return found


def _read_in_full(task: ScheduledTask, loops: tuple[Loop, ...], stored: set[int]) -> set[int]:
    """Return what moves, sums by code and loops need in full.

    Whether a value is positive shows in bfloat16 as well, so relu's slope needs no more.
    """
    found = {n.id for step in task.schedule.moves for n in step.sources}
    found |= {s.right.id for s in task.schedule.row_sums}
    for loop in loops:
        recipe = task.recipes[id(loop)]
        found |= {n.id for k, n in enumerate(loop.reads) if n.id in stored and not recipe.only_sign(k)}
    return found


def _sums_columns(task: ScheduledTask, loop: Loop, output: Node, sizes: Mapping[str, int]) -> bool:
    """Return whether a loop can sum the columns of an output on the way: if its threads keep to their columns."""
    if loop.kind != MATRIX:
        return False
    return not task.recipes[id(loop)].row_wise or size_of(output.shape[1], sizes) <= ROW_COLUMNS
