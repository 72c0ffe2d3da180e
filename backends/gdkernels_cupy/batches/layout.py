"""The memory of a model among those of a batch: its buffers, and the numbers of its step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gdkernels.lowering.allocation import ALIGNMENT
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.graphs.grouping import Launch, grouped
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.memory_plan import plan_memory
from gdkernels_cupy.graphs.operations import Cast, OperationList
from gdkernels_cupy.graphs.session_memory import SessionAddresses

__all__ = ["BatchLayout", "PlannedStep", "layout_of"]


@dataclass(frozen=True)
class PlannedStep:
    """A step on so many rows, with the places of its buffers."""

    rows: int
    op_list: OperationList
    launches: tuple[Launch, ...]
    offsets: dict[str, int]
    bytes: int


@dataclass(frozen=True)
class BatchLayout:
    """Where a model has what.

    Attributes
    ----------
    steps
        That of a full batch; then that of a smaller last batch, if there is one.
    buffers
        The bytes of buffers; the numbers of a step follow.
    count
        The numbers of a step, and perhaps one more, so that what follows stays aligned.
    apart
        The bytes of a model.
    """

    steps: tuple[PlannedStep, ...]
    buffers: int
    count: int
    apart: int

    @property
    def full(self) -> PlannedStep:
        """The step of a full batch."""
        return self.steps[0]

    @property
    def casts(self) -> tuple[Cast, ...]:
        """What makes the copies of parameters in another storage when these have come."""
        of = self.full.op_list
        return tuple(Cast(of.parameters[name], copy) for name, copy in of.copies.items())

    @property
    def lists(self) -> list[tuple[Launch, ...]]:
        """All that is launched."""
        return [self.casts, *(step.launches for step in self.steps)]

    def addresses(self, memory: int, step: PlannedStep) -> SessionAddresses:
        """Return the addresses of the first model, whose memory begins there."""
        return SessionAddresses(memory, step.offsets, memory + self.buffers, self.count)


def layout_of(task: ScheduledTask, precision: str, batch: int, rest: int, epilogues: Iterable[str]) -> BatchLayout:
    """Return the layout for steps on `batch` records, and on `rest` in the last one of an epoch if that is not 0."""
    epilogues = tuple(epilogues)
    steps = []
    for rows in (batch, rest) if rest else (batch,):
        op_list = lower(task, task.sizes_with(rows), precision, [rows], epilogues)
        steps.append(PlannedStep(rows, op_list, grouped(op_list), *plan_memory(op_list)))
    full = steps[0].op_list
    for step in steps[1:]:
        assert step.op_list.numbers == full.numbers, "nothing of a step's numbers depends on its rows"
        assert [n.id for n in step.op_list.scalars] == [n.id for n in full.scalars]
        assert all(step.offsets[b.name] == steps[0].offsets[b.name] for b in full.lasting), (
            "what lasts is planned first"
        )
    buffers = _aligned(max(step.bytes for step in steps))
    count = full.numbers + full.numbers % 2
    return BatchLayout(tuple(steps), buffers, count, buffers + _aligned(SessionAddresses.bytes(count)))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
