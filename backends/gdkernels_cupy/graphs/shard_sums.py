"""Sums over the shards of a batch, as operations: those of a rank, and those of all ranks, in one fixed tree.

It is the tree of `gdkernels.groups.tree`. Each shard has its sums in a place of its own, all of them in one piece of
memory; as soon as two places are siblings, the right one is added to the left one. Every rank owns a cut of the sums:
the others send it theirs, it goes on with the tree, and all gather the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gdkernels.graph.nodes import Node
from gdkernels.groups.tree import SumStack, shards_of_rank, subtrees_of
from gdkernels.lowering.allocation import ALIGNMENT
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.operations import BYTES, DeviceBuffer, Span, vector
from gdkernels_cupy.graphs.value_store import ValueStore

__all__ = ["DealtShards", "ShardSums"]


@dataclass(frozen=True)
class DealtShards:
    """The shards of each batch, dealt to ranks, of which one is this."""

    shards: int
    rank: int = 0
    ranks: int = 1

    @property
    def mine(self) -> range:
        """The shards of this rank."""
        return shards_of_rank(self.rank, self.ranks, self.shards)


@dataclass(frozen=True)
class _Place:
    """Sums of one or more shards: of the gradients, and each of the totals; adding another is an operation."""

    gradients: Span
    totals: tuple[Span, ...]
    operations: list[ops.Operation]

    def __add__(self, other: _Place) -> _Place:
        self.operations.extend(ops.AddSpan(*pair) for pair in zip(other.spans, self.spans, strict=True))
        return self

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans that are not empty."""
        return tuple(span for span in (self.gradients, *self.totals) if span.count)

    def cut(self, first: int, count: int) -> _Place:
        """Return the sums of a cut of the gradients, with all the totals."""
        whole = self.gradients
        return _Place(Span(whole.buffers, whole.first + first, count), self.totals, self.operations)


class ShardSums:
    """The operations that sum over shards, which are appended to those of a list.

    Parameters
    ----------
    values
        Where the sums over a shard are looked for.
    gradients
        The nodes that are summed over the batch.
    totals
        The numbers of the step that are.

    Attributes
    ----------
    buffers
        The memory of all places. It lasts, so that they lie in it in this order, one behind the other.
    """

    def __init__(
        self,
        dealt: DealtShards,
        values: ValueStore,
        gradients: Sequence[Node],
        totals: Sequence[int],
        operations: list[ops.Operation],
    ) -> None:
        self.buffers: list[DeviceBuffer] = []
        self._dealt, self._values, self._nodes, self._totals = dealt, values, gradients, totals
        self._operations, self._stack = operations, SumStack()
        self._places: list[_Place] = []
        self._by_node: list[dict[int, DeviceBuffer]] = []
        self._new_place()

    @contextmanager
    def shard(self, shard: int, *, empty: bool) -> Iterator[None]:
        """Within this context the operations of a shard are appended; those that add it up follow."""
        number = len(self._stack.subtrees)  # behind the places that wait for a sibling
        if number == len(self._places):
            self._new_place()
        place = self._places[number]
        self._values.gradients = self._by_node[number]
        yield
        if empty:
            self._operations += [_zeros(buffer) for buffer in self._by_node[number].values()]
        for total, span in zip(self._totals, place.totals, strict=True):
            (buffer,) = span.buffers
            self._operations.append(_zeros(buffer) if empty else ops.KeepNumber(total, buffer))
        self._stack.push(shard, 1, place)

    def exchange(self) -> None:
        """Append what sums over the shards of all ranks, to where the update looks for it."""
        if self._dealt.ranks == 1:
            root: _Place = self._stack.root()
        else:
            root = self._of_all_ranks([place for _, _, place in self._stack.subtrees])
        for number, span in zip(self._totals, root.totals, strict=True):
            self._operations.append(ops.Total(span.buffers[0], number, accumulate=False))
        self._values.gradients = self._by_node[0]

    def _of_all_ranks(self, mine: list[_Place]) -> _Place:
        """Return the sums over all shards; those of the gradients are gathered in the first place as well."""
        dealt, cut, length = self._dealt, self._cut, self._length
        counts = [max(0, min(cut, length - rank * cut)) for rank in range(dealt.ranks)]
        found: list[tuple[int, int, _Place]] = []
        sent: list[tuple[int, Span]] = []
        received: list[tuple[int, Span]] = []
        for rank in range(dealt.ranks):
            for k, (first, count) in enumerate(subtrees_of(rank, dealt.ranks, dealt.shards)):
                if rank == dealt.rank:
                    found.append((first, count, mine[k].cut(rank * cut, counts[rank])))
                    continue
                place = self._received(f"shards from {first} on", counts[dealt.rank])
                found.append((first, count, place))
                received += [(rank, span) for span in place.spans]
            if rank != dealt.rank:
                sent += [(rank, span) for place in mine for span in place.cut(rank * cut, counts[rank]).spans]
        self._operations.append(ops.ExchangeSpans(tuple(sent), tuple(received)))
        tree = SumStack()
        for first, count, place in found:
            tree.push(first, count, place)
        root: _Place = tree.root()
        own = root.gradients
        target = Span((*self._places[0].gradients.buffers, *self._beyond), 0, cut * dealt.ranks)
        self._operations.append(ops.GatherSpans(Span(own.buffers, own.first, cut), target))
        return root

    def _new_place(self) -> None:
        number = len(self._places)
        by_node = {n.id: self._values.sum_over_rows(n, f"gradient {n.id} at {number}") for n in self._nodes}
        gradients = tuple(by_node.values())
        self.buffers += gradients
        if not number:
            self._storage, self._length = gradients[0].storage, sum(map(_numbers_in, gradients))
            self._cut = -(-self._length // self._dealt.ranks)
            beyond = self._cut * self._dealt.ranks - self._length  # the cuts are as long as each other
            self._beyond = [vector("beyond the sums", beyond, self._storage)] if beyond else []
            self.buffers += self._beyond
        totals = self._new_totals(f"at {number}")
        self._places.append(_Place(Span(gradients, 0, self._length), totals, self._operations))
        self._by_node.append(by_node)

    def _received(self, name: str, count: int) -> _Place:
        buffer = vector(f"gradients of {name}", self._cut, self._storage)
        self.buffers.append(buffer)
        return _Place(Span((buffer,), 0, count), self._new_totals(f"of {name}"), self._operations)

    def _new_totals(self, name: str) -> tuple[Span, ...]:
        found = [vector(f"total {number} {name}", 1, "float64") for number in self._totals]
        self.buffers += found
        return tuple(Span((buffer,), 0, 1) for buffer in found)


def _numbers_in(buffer: DeviceBuffer) -> int:
    """Return how many numbers are between the beginning of a buffer and that of the next one."""
    return -(-buffer.bytes // ALIGNMENT) * ALIGNMENT // BYTES[buffer.storage]


def _zeros(buffer: DeviceBuffer) -> ops.Operation:
    return ops.ColumnCopy(None, 0, buffer, 0, buffer.rows, buffer.columns)
