"""Records of files in windows: a `gdkernels.Trainer` uses them in place of `Records` if not all fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.record_spec import RecordSpec
from gdkernels.data.records import Piece, Records
from gdkernels.data.stored.dealt import DealtShuffle, Part
from gdkernels.data.stored.prefetch import ahead
from gdkernels.data.stored.shuffle import TOGETHER, Layout, Shuffle
from gdkernels.data.stored.stored import Stored
from gdkernels.data.validation import place_inputs, place_targets, place_weights
from gdkernels.dispatch import registry
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.footprint import prediction_bytes
from gdkernels.errors import FileError, InputError
from gdkernels.files.arrays import Bounds
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.groups.tree import rows_of_shard
from gdkernels.system import memory
from gdkernels.system.cached_property import cached_property
from gdkernels.system.hashing import sha256

__all__ = ["ShuffledWindows", "Windows", "default_memory", "place_stored"]

_DEFAULT = 10**9
# The number of blocks that are read and checked at once: each costs calls, and their conversion costs memory.
_AT_ONCE = TOGETHER // 8
_OUTLINED = 64  # records by which ranks find out that they have others
_INDICES = 32  # bytes a record: the order of this window and of the next, each once more as it is put together

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Host:
    """Places for records in memory."""

    x: Array
    y: Array
    weights: Array | None

    @property
    def arrays(self) -> tuple[Array, Array, Array | None]:
        return self.x, self.y, self.weights

    def part(self, start: int, stop: int) -> _Host:
        return _Host(*(None if a is None else a[start:stop] for a in self.arrays))  # type: ignore[arg-type]

    def take(self, other: _Host, rows: Any = slice(None)) -> None:
        """Overwrite all of it with rows of `other`, except arrays that are in their place already."""
        for mine, others in zip(self.arrays, other.arrays, strict=True):
            if mine is not None and others is not None and not np.may_share_memory(mine, others):
                mine[:] = others[rows]


class _BlockReader:
    """Reads blocks of records and checks them, on the host alone, while training runs."""

    def __init__(self, stored: Stored, binding: Binding, spec: RecordSpec) -> None:
        self.stored, self.spec = stored, spec
        self._binding = Binding(registry.get("numpy"), "cpu", binding.precision, "to check records on the host")
        columns = stored.shape[1] if len(stored.shape) > 1 else 1
        if columns != spec.inputs:
            raise InputError(
                f"{stored.x.name} has the shape {stored.shape}; the network has {spec.inputs} inputs, so it must be "
                f"[records, {spec.inputs}]"
            )
        if not len(stored):
            raise InputError(f"{stored.x.name} has no rows")

    @property
    def window_bytes(self) -> int:
        """The bytes of a window for each of its records, with the next window and the memory for converting it."""
        return 2 * self.record_bytes + 3 * self.record_bytes * _AT_ONCE // TOGETHER + _INDICES

    @property
    def record_bytes(self) -> int:
        """The bytes of a record in memory."""
        columns = self.spec.inputs + self.spec.outputs + (self.stored.weights is not None)
        return columns * np.dtype(self._binding.dtype).itemsize

    def empty(self, records: int) -> _Host:
        def array(*shape: int) -> Array:
            return np.empty(shape, self._binding.dtype)

        weights = None if self.stored.weights is None else array(records)
        return _Host(array(records, self.spec.inputs), array(records, self.spec.outputs), weights)

    def weights(self, first: int, stop: int) -> Array:
        """Return the weights of some records of a file that has some."""
        rows = self.stored.weights
        assert rows is not None
        name = f"{rows.name}, from record {first:,} on,"
        checked: Array = place_weights(self._binding, rows.read(first, stop), stop - first, name, self.stored.x.name)
        return checked

    def expect(self, bounds: Bounds) -> None:
        """Say which records will be read next."""
        for rows in (self.stored.x, self.stored.y, self.stored.weights):
            if rows is not None:
                rows.expect(bounds)

    def read(self, bounds: Bounds, into: _Host | None) -> _Host:
        """Return the records within bounds, one behind the other, in `into` if they can be put there.

        Raises
        ------
        InputError
            For records that the network or the loss cannot take; the message says where.
        """
        try:
            return self._read(bounds, into)
        except FileError:
            raise
        except InputError:
            for each in bounds if len(bounds) > 1 else ():  # the place is that within one of them
                self._read([each])
            raise

    def _read(self, bounds: Bounds, into: _Host | None = None) -> _Host:
        stored, binding, where = self.stored, self._binding, f", from record {bounds[0][0]:,} on,"
        name, count = f"{stored.x.name}{where}", sum(stop - first for first, stop in bounds)
        places = (None, None, None) if into is None else into.arrays
        raw_x, raw_y = stored.x.gather(bounds, places[0]), stored.y.gather(bounds, places[1])
        x = place_inputs(binding, raw_x, self.spec.inputs, name, codes=self.spec.codes)
        y = place_targets(binding, raw_y, count, self.spec.outputs, self.spec.loss, f"{stored.y.name}{where}", name)
        if stored.weights is None:
            return _Host(x, y, None)
        weights = stored.weights.gather(bounds, places[2])
        return _Host(x, y, place_weights(binding, weights, count, f"{stored.weights.name}{where}", stored.x.name))


class Windows:
    """Records of which a window at a time is in memory."""

    sparse = False

    def __init__(self, binding: Binding, reader: _BlockReader, layout: Layout, sharding: Sharding = ALONE) -> None:
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

        def load(number: int) -> tuple[int, _Host]:
            blocks = range(number * together, min(self.layout.blocks, (number + 1) * together))
            return number, self.load(blocks, room[number // ranks % 2])

        for number, part in ahead(load, range(rank, self.part_count, ranks)):
            yield number, self.moved(part)

    def load(self, blocks: Sequence[int], into: _Host) -> _Host:
        """Read blocks to the beginning of a place, and return the part of it that they take."""
        done, whole = 0, [self.layout.bounds(block) for block in blocks]
        self._reader.expect(whole)
        for first in range(0, len(blocks), _AT_ONCE):
            bounds, rows = whole[first : first + _AT_ONCE], self.layout.rows_of(blocks[first : first + _AT_ONCE])
            if rows is None:
                count = sum(stop - start for start, stop in bounds)
                place = into.part(done, done + count)
                place.take(self._reader.read(bounds, place))
            else:
                count = len(rows)
                into.part(done, done + count).take(self._reader.read(bounds, None), rows)
            done += count
        return into.part(0, done)

    def load_parts(self, parts: Sequence[Part], into: _Host) -> int:
        """Read parts of blocks to the beginning of a place, and return how many records these are."""
        done, whole = 0, self._read_for(parts)
        self._reader.expect([bounds for bounds, _ in whole])
        for first in range(0, len(whole), _AT_ONCE):
            some = whole[first : first + _AT_ONCE]
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

    def empty(self, records: int) -> _Host:
        return self._reader.empty(records)

    def moved(self, host: _Host) -> Records:
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

        def load(window: int) -> tuple[_Host, npt.NDArray[np.int64]]:
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

        def load(window: int) -> tuple[_Host, npt.NDArray[np.int64]]:
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


def place_stored(
    binding: Binding, stored: Stored, *, spec: RecordSpec, batch: int, sharding: Sharding = ALONE
) -> Records | Windows:
    """Return records in files, checked: all of them on the device where their memory is enough, or windows.

    Raises
    ------
    InputError
        For data that do not fit network or loss, and for too little memory for two batches.
    """
    reader = _BlockReader(stored, binding, spec)
    allowed, records = stored.memory or default_memory(), len(stored)
    whole = records * (reader.record_bytes + _INDICES // 2) <= allowed
    window = records if whole else allowed // reader.window_bytes
    size = max(1, window // TOGETHER)
    windows = Windows(binding, reader, Layout(records, size, window // size), sharding)
    if whole:
        found = windows.moved(windows.load(range(windows.layout.blocks), windows.empty(records)))
        if found.weighted and not found.total_weight:
            raise InputError(f"none of the {records:,} records has a weight above 0; at least one has to count")
        return found
    if windows.window < 2 * batch or windows.layout.together < 2:
        least = 2 * max(batch, 2) * reader.window_bytes
        raise InputError(
            f"memory={memory.gigabytes(allowed)} holds {window:,} records at a time, and must hold two batches of "
            f"{batch:,}: allow {memory.gigabytes(least)}, or make batches smaller"
        )
    reader.read([(0, min(records, size))], None)  # errors in all the data come before any other work
    return windows


def default_memory() -> int:
    """Return the memory that records may take by default."""
    found = memory.limit()
    return _DEFAULT if found is None else min(_DEFAULT, found.bytes // 4)
