"""The memory that a run needs on the device, known before it starts, and the parts that a batch is split into."""

from __future__ import annotations

from collections.abc import Iterable

from gdkernels.lowering.allocation import allocate
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.graphs.grouping import grouped
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.operations import GatherRows, OperationList

__all__ = ["NEXT", "bytes_of", "plan_memory", "shares", "split"]

NEXT = " next"

_MARGIN = 1 << 26  # bytes left alone: other allocations, and what graphs take


def plan_memory(op_list: OperationList, *, streamed: bool = False) -> tuple[dict[str, int], int]:
    """Return the offset of every buffer of a list, and the bytes of them all.

    With `streamed`, what is gathered has a second place, by its name and "next": that of the batch that follows.
    """
    lasting = [(b.name, b.bytes) for b in op_list.lasting]
    if streamed:
        targets = [op.target for op in op_list.operations if isinstance(op, GatherRows)]
        lasting += [(b.name + which, b.bytes) for b in targets for which in ("", NEXT)]
    return allocate([launch.access() for launch in grouped(op_list, streamed=streamed)], lasting)


def bytes_of(
    task: ScheduledTask,
    widths: tuple[int, ...],
    pieces: tuple[int, ...],
    precision: str,
    epilogues: Iterable[str],
    *,
    streamed: bool = False,
    records: int = 0,
    steps: int = 0,
) -> int:
    """Return the bytes of a list: parameters, slots, and what lives between its operations.

    Parameters
    ----------
    records, steps
        Of a run, whose order and whose numbers are on the device as well.
    """
    op_list = lower(task, task.sizes_with(sum(pieces)), precision, pieces, epilogues)
    beside = 8 * records + 8 * steps * (OperationList.FIRST + len(op_list.scalars))
    return plan_memory(op_list, streamed=streamed)[1] + beside


def shares(batch: int, parts: int) -> tuple[int, ...]:
    """Return the rows of each of so many micro-batches, as even as can be."""
    return tuple(batch // parts + (k < batch % parts) for k in range(parts))


def split(
    task: ScheduledTask,
    widths: tuple[int, ...],
    batch: int,
    precision: str,
    epilogues: Iterable[str],
    free: int,
    *,
    streamed: bool = False,
    records: int = 0,
    steps: int = 0,
    least: int = 1,
) -> tuple[int, ...]:
    """Return the micro-batches with which a step fits into `free` bytes: `least` of them if it can be.

    Raises
    ------
    DeviceMemoryError
        Where not even a single record fits; the message has the numbers.
    """
    epilogues = tuple(epilogues)
    parts, room = min(batch, least), free - _MARGIN
    while True:
        pieces = shares(batch, parts)
        need = bytes_of(task, widths, pieces, precision, epilogues, streamed=streamed, records=records, steps=steps)
        if need <= room:
            return pieces
        if parts == batch:
            shape = "-".join(map(str, widths))
            raise DeviceMemoryError(
                f"a network of {shape} needs {need / 1e9:.2f} GB in {precision} even for one record at a time, and "
                f"{free / 1e9:.2f} GB are free: make it narrower, use an optimizer with fewer slots, or a larger device"
            )
        parts = min(batch, 2 * parts)
