"""Records of files in windows: a `gdkernels.Trainer` uses them in place of `Records` if not all fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.records import Piece, Records
from gdkernels.data.stored.block_reader import AT_ONCE, BlockReader, HostRecords
from gdkernels.data.stored.dealt import DealtShuffle, Part
from gdkernels.data.stored.prefetch import ahead
from gdkernels.data.stored.shuffle import Layout, Shuffle
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.footprint import prediction_bytes
from gdkernels.errors import InputError
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.groups.tree import rows_of_shard
from gdkernels.system.cached_property import cached_property
from gdkernels.system.hashing import sha256

__all__ = ["DealtWindows", "ShuffledWindows", "Windows"]

_OUTLINED = 64  # records by which ranks find out that they have others

Array = npt.NDArray[Any]


class Windows:
    """Records of which a window at a time is in memory."""

    sparse = False

    def __init__(self, binding: Binding, reader: BlockReader, layout: Layout, sharding: Sharding = ALONE) -> None:
        self.binding, self.layout, self.sharding = binding, layout, sharding
        self._reader = reader

    def __len__(self) -> int:
        return len(self.layout)

    @property
    def weighted(self) -> bool:
        return self._reader.stored.weights is not None

    @cached_property
    def total_weight(self) -> float:
        """The divisor that makes E a mean: the sum of the weights, or the number of records."""
        if not self.weighted:
            return len(self)
        group, total = self.sharding.group, 0.0
        mine = [self._weight_of(block) for block in range(group.rank, self.layout.blocks, group.size)]
        everybody = [np.frombuffer(data) for data in group.gather_bytes(np.array(mine).tobytes())]
        for block in range(self.layout.blocks):  # in the order of one process, whoever has read them
            total += float(everybody[block % group.size][block // group.size])
        if not total:
            raise InputError(f"none of the {len(self):,} records has a weight above 0; at least one has to count")
        return total

    def _weight_of(self, block: int) -> float:
        weights, rows = self._reader.weights(*self.layout.bounds(block)), self.layout.rows_of([block])
        return float(np.sum(weights if rows is None else weights[rows], dtype=np.float64))

    @property
    def window(self) -> int:
        """The number of records in memory at a time."""
        return self.layout.size * self.layout.together

    @property
    def bytes(self) -> int:
        """The most memory that they take: the window in use and the next one, each with records left over."""
        return self.window * self._reader.window_bytes

    @property
    def evaluated_at_once(self) -> int:
        """The number of records in memory at a time during prediction, which needs room of its own."""
        rows = self.bytes // prediction_bytes(
            self._reader.spec.widest, self._reader.spec.outputs, self.binding.precision
        )
        return max(self.layout.size, min(self.window // 4, rows))

    def add_to(self, digest: Any) -> None:
        """Add to a digest what distinguishes these records from others."""
        digest.update(repr(self.layout).encode() + self._reader.stored.digest.encode())

    @property
    def outline(self) -> str:
        """What distinguishes these records from most others, by a few of them."""
        found = sha256(repr((self.layout, self._reader.stored.shape)).encode())
        for array in self._reader.stored.sample(_OUTLINED):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def split(self, share: float, seed: int) -> tuple[Windows, Windows]:
        """Return the records to train on, and a `share` of them, drawn in each block by the seed, to validate on.

        Raises
        ------
        InputError
            If either would have no records, or none with a weight.
        """
        parts = [
            Windows(self.binding, self._reader, replace(self.layout, share=share, held=held, seed=seed), self.sharding)
            for held in (False, True)
        ]
        if not all(map(len, parts)):
            raise InputError(f"validation={share:g} of {len(self):,} records leaves none on one side; both need one")
        train, held_out = parts
        return train, held_out

    def shuffled(self, batch: int, seed: int, epoch: int) -> ShuffledWindows | DealtWindows:
        """Return them in the order of an epoch."""
        if self.sharding.splits:
            return DealtWindows(self, DealtShuffle(self.layout, self.sharding.shards, batch, seed, epoch))
        return ShuffledWindows(self, Shuffle(self.layout, batch, seed, epoch))

    def parts(self) -> Iterator[Records]:
        """Yield all of them in the file's order, in parts small enough for their predictions to have room as well."""
        return (part for _, part in self.parts_of(0, 1) if len(part))

    @property
    def part_count(self) -> int:
        """The number of these parts, some of which may have no records."""
        return -(-self.layout.blocks // self._blocks_of_a_part)

    @property
    def _blocks_of_a_part(self) -> int:
        return max(1, self.evaluated_at_once // self.layout.size // self.sharding.shards)

    def parts_of(self, rank: int, ranks: int) -> Iterator[tuple[int, Records]]:
        """Yield the parts of one of several ranks that take turns, with their numbers; some may have no records."""
        together = self._blocks_of_a_part
        room = [self._reader.empty(together * self.layout.size) for _ in range(2)]

        def load(number: int) -> tuple[int, HostRecords]:
            blocks = range(number * together, min(self.layout.blocks, (number + 1) * together))
            return number, self.load(blocks, room[number // ranks % 2])

        for number, part in ahead(load, range(rank, self.part_count, ranks)):
            yield number, self.moved(part)

    def load(self, blocks: Sequence[int], into: HostRecords) -> HostRecords:
        """Read blocks to the beginning of a place, and return the part of it that they take."""
        done, whole = 0, [self.layout.bounds(block) for block in blocks]
        self._reader.expect(whole)
        for first in range(0, len(blocks), AT_ONCE):
            bounds, rows = whole[first : first + AT_ONCE], self.layout.rows_of(blocks[first : first + AT_ONCE])
            if rows is None:
                count = sum(stop - start for start, stop in bounds)
                place = into.part(done, done + count)
                place.take(self._reader.read(bounds, place))
            else:
                count = len(rows)
                into.part(done, done + count).take(self._reader.read(bounds, None), rows)
            done += count
        return into.part(0, done)

    def load_parts(self, parts: Sequence[Part], into: HostRecords) -> int:
        """Read parts of blocks to the beginning of a place, and return how many records these are."""
        done, whole = 0, self._read_for(parts)
        self._reader.expect([bounds for bounds, _ in whole])
        for first in range(0, len(whole), AT_ONCE):
            some = whole[first : first + AT_ONCE]
            bounds, rows = [one for one, _ in some], [own for _, own in some]
            count = sum(map(len, rows))
            place = into.part(done, done + count)
            if count == sum(stop - start for start, stop in bounds):
                place.take(self._reader.read(bounds, place))
            else:
                before = np.cumsum([0, *(stop - start for start, stop in bounds)])
                own = np.concatenate([k + each for k, each in zip(before, rows, strict=False)])
                place.take(self._reader.read(bounds, None), own)
            done += count
        return done

    def _read_for(self, parts: Sequence[Part]) -> list[tuple[tuple[int, int], npt.NDArray[np.int64]]]:
        """Return for each part the records to read, and which of these belong to it."""
        blocks = [block for block, _, _ in parts]
        edges, found = [self.layout.bounds(block) for block in blocks], []
        rows, size, at = self.layout.rows_of(blocks), 0, 0
        counts = self.layout.counts
        for (block, first, stop), (start, end) in zip(parts, edges, strict=True):
            if rows is None:
                found.append(((start + first, start + stop), np.arange(stop - first)))
                continue
            mine = rows[at + first : at + stop] - size  # by their places in the block
            found.append(((start + int(mine[0]), start + int(mine[-1]) + 1), mine - mine[0]))
            at, size = at + int(counts[block]), size + end - start
        return found

    def empty(self, records: int) -> HostRecords:
        return self._reader.empty(records)

    def moved(self, host: HostRecords) -> Records:
        """Return records in memory as arrays of the backend, without a copy if it computes on the host."""
        binding = self.binding

        def move(a: Array | None) -> Any:
            return None if a is None else binding.backend.asarray(a, dtype=binding.dtype, device=binding.device)

        return Records(binding, move(host.x), move(host.y), move(host.weights))


class ShuffledWindows:
    """The records of `windows` in the order of an epoch, piece by piece; the next is read while one is used."""

    def __init__(self, windows: Windows, shuffle: Shuffle) -> None:
        self._windows, self._shuffle = windows, shuffle
        self.steps = shuffle.steps

    def digest(self) -> str:
        """Return the SHA-256 of the order."""
        return self._shuffle.digest()

    def pieces(self, step: int) -> Generator[Piece]:
        """Yield the windows from that of the epoch's step `step` on."""
        windows, shuffle = self._windows, self._shuffle
        room = [windows.empty(windows.window + shuffle.batch) for _ in range(2)]
        begin = shuffle.window_of(step)

        def load(window: int) -> tuple[HostRecords, npt.NDArray[np.int64]]:
            """Return a window's records with those left over from the one before behind them, and their order."""
            place = room[window % 2]
            host = windows.load(shuffle.blocks(window), place)
            count, order = len(host.x), shuffle.permutation(window)
            used = order[: count - shuffle.left_over(window)]
            if window and (left := shuffle.left_over(window - 1)):
                rows = shuffle.permutation(window - 1)[-left:]
                host = place.part(0, count + left)
                host.part(count, count + left).take(room[(window - 1) % 2], rows)
                used = np.concatenate([np.arange(count, count + left), used])
            return host, used

        if begin and shuffle.left_over(begin - 1):
            windows.load(shuffle.blocks(begin - 1), room[(begin - 1) % 2])
        for window, (host, order) in enumerate(ahead(load, range(begin, shuffle.windows)), begin):
            yield Piece(windows.moved(host), order, *shuffle.steps_of(window))


class DealtWindows:
    """The records of the shards of this rank in the order of an epoch, piece by piece.

    An order names the records of all shards; those of other ranks' shards are -1 in it.
    """

    def __init__(self, windows: Windows, shuffle: DealtShuffle) -> None:
        self._windows, self._shuffle = windows, shuffle
        self.steps = shuffle.steps

    def digest(self) -> str:
        """Return the SHA-256 of the order."""
        return self._shuffle.digest()

    def pieces(self, step: int) -> Generator[Piece]:
        """Yield the windows from that of the epoch's step `step` on."""
        windows, shuffle = self._windows, self._shuffle
        shards, mine = windows.sharding.shards, windows.sharding.mine
        rows = shuffle.steps_of_a_window * sum(_length(rows_of_shard(s, shards, shuffle.batch)) for s in mine)
        room = [windows.empty(max(1, rows)) for _ in range(2)]

        def load(window: int) -> tuple[HostRecords, npt.NDArray[np.int64]]:
            place, (first, last) = room[window % 2], shuffle.steps_of(window)
            order = np.full(sum(map(shuffle.rows_of, range(first, last))), -1, np.int64)
            done = 0
            for shard in mine:
                count = windows.load_parts(shuffle.parts(window, shard), place.part(done, len(place.x)))
                permuted, at = done + shuffle.permutation(window, shard), 0
                for k in range(first, last):
                    part = rows_of_shard(shard, shards, shuffle.rows_of(k))
                    begin = (k - first) * shuffle.batch
                    order[begin + part.start : begin + part.stop] = permuted[at : at + _length(part)]
                    at += _length(part)
                done += count
            return place.part(0, max(1, done)), order

        begin = step // shuffle.steps_of_a_window
        for window, (host, order) in enumerate(ahead(load, range(begin, shuffle.windows)), begin):
            yield Piece(windows.moved(host), order, *shuffle.steps_of(window))


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
