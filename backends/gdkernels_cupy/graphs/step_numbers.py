"""The numbers of a step: each has a place in a table on the device, and operations name it by its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import NUMBER, kind_of, wide_dims
from gdkernels.lowering.task import ScheduledTask
from gdkernels.lowering.value_steps import ValueSteps, stands_alone, vector_of
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
    of_values
        The places of those that are computed of parameters alone, by the number of the value.
    count
        How many places there are.
    """

    places: Mapping[int, int]
    scalars: tuple[Node, ...]
    of_values: Mapping[int, int]
    count: int

    @classmethod
    def of(cls, task: ScheduledTask, fused: FusedEpilogues) -> StepNumbers:
        """Return the numbers of a task, of which products take some themselves."""
        loops = task.schedule.loops
        host = [n for loop in loops for n in loop.reads if n.dtype == SCALAR]
        host += [n for update in fused.updates.values() for n in update.factors]
        values = task.values or ValueSteps()
        host += values.scalars.values()
        totals = [r for loop in loops for r in loop.reductions if kind_of(r, task.batch) == NUMBER]
        made = [n for loop in task.schedule.numbers if loop is not None for n in loop.outputs]
        places: dict[int, int] = {}
        for node in (*host, *totals, *made):
            places.setdefault(node.id, OperationList.FIRST + len(places))
        scalars = tuple({n.id: n for n in host}.values())
        of_values: dict[int, int] = {}
        for value in _numbers_among(values):
            of_values.setdefault(value.id, OperationList.FIRST + len(places) + len(of_values))
        count = OperationList.FIRST + len(places) + len(of_values)
        for name, value in values.outputs.items():
            node = task.parameters[name]
            if not wide_dims(node.shape):
                places[node.id] = of_values[vector_of(value).id]
        return cls(places, scalars, of_values, count)


def _numbers_among(values: ValueSteps) -> list[Node]:
    """Return the numbers that steps over values write."""
    written = [value for step in values.passes for value in step.writes if isinstance(value, Node)]
    return [value for value in written if stands_alone(value)]
