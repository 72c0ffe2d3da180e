"""Operations between shards: sums of several in one tree, and what goes to other ranks."""

from __future__ import annotations

from dataclasses import dataclass

from gdkernels.lowering.allocation import MemoryAccess
from gdkernels_cupy.graphs.operations.buffers import DeviceBuffer, Span

__all__ = ["AddSpan", "ExchangeSpans", "GatherSpans", "KeepNumber"]


@dataclass(frozen=True)
class AddSpan:
    """The numbers of `source` are added to those of `target`."""

    source: Span
    target: Span

    def access(self) -> MemoryAccess:
        return MemoryAccess((*self.source.names, *self.target.names), self.target.writes)


@dataclass(frozen=True)
class KeepNumber:
    """A number of the step becomes the only one of `target`, before the next shard has it."""

    number: int
    target: DeviceBuffer

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class ExchangeSpans:
    """Spans go to other ranks, and others come from them: each with the rank, in the order in which both name them."""

    sent: tuple[tuple[int, Span], ...]
    received: tuple[tuple[int, Span], ...]

    def access(self) -> MemoryAccess:
        reads = dict.fromkeys(name for _, span in self.sent for name in span.names)
        return MemoryAccess(tuple(reads), tuple(w for _, span in self.received for w in span.writes))


@dataclass(frozen=True)
class GatherSpans:
    """`target` = the `mine` of every rank, as long as each other, one behind the other."""

    mine: Span
    target: Span

    def access(self) -> MemoryAccess:
        return MemoryAccess(self.mine.names, self.target.writes)
