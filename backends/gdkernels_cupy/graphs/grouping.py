"""Operations that wait for nothing of each other have one launch together: a graph's time is that of its nodes.

A group is a kernel whose blocks are shared out among its members, each with the threads that it has alone, so that no
bit changes. What is small waits until it is needed, or for the end of the step, where all updates are one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gdkernels.lowering.allocation import MemoryAccess
from gdkernels.lowering.steps import NUMBER
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.operations import DeviceBuffer, Operation, OperationList

__all__ = ["Launch", "OperationGroup", "RecordedTotal", "grouped"]

_SMALL = 1 << 20  # bytes that may wait for the end of a step
_ARGUMENTS = 3800  # bytes that a kernel may have, of the 4096 that every device takes
_CONTROL, _SUMS = "control of the run", "sums of the run"


@dataclass(frozen=True)
class RecordedTotal:
    """A total, and then the numbers of the step that it is the last of."""

    total: ops.Total
    record: ops.RecordNumbers

    def access(self) -> MemoryAccess:
        return self.total.access()


_ALONE = (
    *(ops.MatrixProduct, ops.GatherRows, ops.ColumnCopy, ops.TableLookUp, ops.RowOuter, ops.SumByCode),
    *(ops.AddSpan, ops.KeepNumber, ops.ExchangeSpans, ops.GatherSpans),
)

Member = Operation | RecordedTotal


@dataclass(frozen=True)
class OperationGroup:
    """Operations that run at the same time."""

    members: tuple[Member, ...]

    def access(self) -> MemoryAccess:
        """Return what they access together: nothing takes the place of what another may still read."""
        found = [m.access() for m in self.members]
        return MemoryAccess(tuple(n for a in found for n in a.reads), tuple(w for a in found for w in a.writes))


Launch = Operation | OperationGroup


def grouped(op_list: OperationList, *, streamed: bool = False) -> tuple[Launch, ...]:
    """Return the launches that do a list's operations.

    Parameters
    ----------
    streamed
        Whether batches are gathered ahead of their step: gathers then stay alone.
    """
    return _Grouping(op_list, streamed=streamed).launches()


class _Grouping:
    def __init__(self, op_list: OperationList, *, streamed: bool) -> None:
        self._host = frozenset(range(OperationList.FIRST + len(op_list.scalars)))
        self._lasting = {b.name for b in op_list.lasting}
        self._operations = _gathers_first(op_list.operations, streamed=streamed)
        products = [k for k, op in enumerate(self._operations) if isinstance(op, ops.MatrixProduct)]
        self._last_product = max(products, default=-1)
        self._streamed = streamed
        self._waiting: list[Member] = []
        self._found: list[Launch] = []

    def launches(self) -> tuple[Launch, ...]:
        first = 0
        for k, op in enumerate(self._operations):
            if isinstance(op, ops.GatherRows) and op.first != first:
                self._run(self._waiting)  # of each micro-batch by itself, or its memory would wait as well
                first = op.first
            if self._may_wait(op, k):
                self._waiting.append(op)
            elif isinstance(op, ops.GatherRows) and not self._streamed:
                self._gather(op)
            else:
                self._run_what_is_needed(op)
                self._found.append(op)
        self._waiting = self._with_recorded_totals()
        self._run(self._waiting)
        return tuple(self._found)

    def _may_wait(self, op: Operation, at: int) -> bool:
        if isinstance(op, _ALONE):
            return False
        if at > self._last_product >= 0:
            return True
        return all(b.name in self._lasting or b.bytes <= _SMALL for b in _buffers(op))

    def _gather(self, op: ops.GatherRows) -> None:
        """Let it run with the gathers just before it, and with what waits for nothing."""
        before = self._found[-1] if self._found else None
        members: tuple[Member, ...] = ()
        if isinstance(before, OperationGroup | ops.GatherRows) and self._is_independent(op, _members(before)):
            members = _members(self._found.pop())
        found = (w for w in self._ready() if self._is_independent(w, (*members, op)))
        ready = _that_fit(found, beside=(*members, op))
        self._waiting = [w for w in self._waiting if w not in ready]
        members = (*members, *ready, op)
        self._found.append(OperationGroup(members) if len(members) > 1 else op)

    def _run_what_is_needed(self, op: Operation) -> None:
        needed: list[Member] = []
        for waiting in reversed(self._waiting):  # and what that waits for
            if not all(self._is_independent(waiting, (n,)) for n in (*needed, op)):
                needed.insert(0, waiting)
        self._run(needed)

    def _run(self, some: Sequence[Member]) -> None:
        left = list(some)
        while left:
            ready = _that_fit(op for k, op in enumerate(left) if self._is_independent(op, left[:k]))
            self._found.append(OperationGroup(tuple(ready)) if len(ready) > 1 else _plain(ready[0]))
            left = [op for op in left if op not in ready]
        self._waiting = [op for op in self._waiting if op not in some]

    def _ready(self) -> list[Member]:
        return [op for k, op in enumerate(self._waiting) if self._is_independent(op, self._waiting[:k])]

    def _with_recorded_totals(self) -> list[Member]:
        """Return what waits, with the record of a step in the total that it waits for, if that is all."""
        records = [op for op in self._waiting if isinstance(op, ops.RecordNumbers)]
        for record in records:
            others = [op for op in self._waiting if op is not record]
            before = [op for op in others if not self._is_independent(record, (op,))]
            if len(before) == 1 and isinstance(before[0], ops.Total):
                both = RecordedTotal(before[0], record)
                return [both if op is before[0] else op for op in others]
        return self._waiting

    # ---- what depends on what

    def _is_independent(self, op: Member, others: Iterable[Member]) -> bool:
        reads, writes = self._touched(op)
        for other in others:
            other_reads, other_writes = self._touched(other)
            if writes & (other_reads | other_writes) or reads & other_writes:
                return False
        return True

    def _touched(self, op: Member) -> tuple[set[str | int], set[str | int]]:
        """Return what an operation reads and writes: buffers by name, numbers by their places, and where a run is."""
        access = op.access()
        reads: set[str | int] = set(access.reads)
        writes: set[str | int] = {name for name, _ in access.writes}
        match op:
            case ops.BeginStep():
                return {_CONTROL}, set(self._host)
            case ops.GatherRows():
                reads.add(_CONTROL)
            case ops.MatrixProduct():
                reads |= {n for n in (op.alpha, op.beta) if isinstance(n, int)}
            case ops.LoopPass():
                reads |= {n for n in op.reads if isinstance(n, int)}
                writes |= {n for n in op.writes if isinstance(n, int)}
            case ops.Total():
                writes.add(op.number)
            case ops.KeepNumber():
                reads.add(op.number)
            case ops.RecordNumbers():
                return set(op.numbers), {_CONTROL, _SUMS}
            case RecordedTotal():
                reads |= set(op.record.numbers)
                writes |= {op.total.number, _CONTROL, _SUMS}
        return reads, writes


def _gathers_first(operations: Sequence[Operation], *, streamed: bool) -> list[Operation]:
    """Return the operations with the gathers of each micro-batch one after the other."""
    if streamed:
        return list(operations)
    found: list[Operation] = []
    after: dict[int, int] = {}  # by the first record of the micro-batch, where its next gather goes
    for op in operations:
        if isinstance(op, ops.GatherRows) and op.first in after:
            at = after[op.first]
            found.insert(at, op)
            after = {first: k + (k >= at) for first, k in after.items()}
        else:
            found.append(op)
            if isinstance(op, ops.GatherRows):
                after[op.first] = len(found)
    return found


def _members(launch: Launch) -> tuple[Member, ...]:
    return launch.members if isinstance(launch, OperationGroup) else (launch,)


def _that_fit(some: Iterable[Member], beside: Sequence[Member] = ()) -> list[Member]:
    """Return the first of some members, as many as one kernel has room for with the arguments of those beside them.

    What has no room beside others is alone.
    """
    found: list[Member] = []
    need = sum(map(_argument_bytes, beside))
    for member in some:
        need += _argument_bytes(member)
        if need > _ARGUMENTS and (found or beside):
            break
        found.append(member)
    return found


def _plain(member: Member) -> Launch:
    return OperationGroup((member,)) if isinstance(member, RecordedTotal) else member


def _argument_bytes(op: Member) -> int:
    """Return at least how many bytes of arguments a member has: an address and a pitch for each of its buffers."""
    if isinstance(op, ops.LoopPass) and op.kernel.recipe.kind == NUMBER:
        return 24 + 8 * (len(op.reads) + len(op.writes))
    if isinstance(op, ops.LoopPass):
        written = sum(len(w) if isinstance(w, tuple) else 1 for w in op.writes)
        return 24 + 16 * (len(op.reads) + written + len(op.reductions) + len(op.column_parts))
    return 96


def _buffers(op: Operation) -> list[DeviceBuffer]:
    match op:
        case ops.LoopPass():
            groups = [w for w in op.writes if isinstance(w, tuple)]
            reads = [r for r in op.reads if isinstance(r, DeviceBuffer)]
            return [*reads, *(b for group in groups for b in group), *op.reductions, *op.column_parts]
        case ops.ColumnSums():
            return [op.values, op.target]
        case ops.Total():
            return [op.parts]
        case ops.Cast() | ops.Transpose():
            return [op.source, op.target]
    return []
