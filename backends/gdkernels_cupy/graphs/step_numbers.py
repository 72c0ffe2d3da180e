"""The numbers of a step: each has a place in a table on the device, and operations name it by its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import NUMBER, kind_of
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.graphs.epilogue_fusion import FusedEpilogues
from gdkernels_cupy.graphs.operations import OperationList

__all__ = ["StepNumbers"]


@dataclass(frozen=True)
class StepNumbers:
    """Zero and one, then the numbers that the host knows, then those that the device finds out.

    Attributes
    ----------
    places
        The place of each number, by the number of its node.
    scalars
        The nodes of those that the host knows.
    count
        How many places there are.
    """

    places: Mapping[int, int]
    scalars: tuple[Node, ...]
    count: int

    @classmethod
    def of(cls, task: ScheduledTask, fused: FusedEpilogues) -> StepNumbers:
        """Return the numbers of a task, of which products take some themselves."""
        loops = task.schedule.loops
        host = [n for loop in loops for n in loop.reads if n.dtype == SCALAR]
        host += [n for update in fused.updates.values() for n in update.factors]
        totals = [r for loop in loops for r in loop.reductions if kind_of(r, task.batch) == NUMBER]
        made = [n for loop in task.schedule.numbers if loop is not None for n in loop.outputs]
        places: dict[int, int] = {}
        for node in (*host, *totals, *made):
            places.setdefault(node.id, OperationList.FIRST + len(places))
        scalars = tuple({n.id: n for n in host}.values())
        return cls(places, scalars, OperationList.FIRST + len(places))
