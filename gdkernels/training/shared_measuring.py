"""Measuring a network on several ranks: each measures its own part of the records, and all get the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import Any

import numpy as np

from gdkernels.data.records import Records
from gdkernels.data.sparse import SparseRows
from gdkernels.data.stored.windows import Windows
from gdkernels.groups.sharding import Sharding
from gdkernels.groups.tree import merged, rows_of_shard, shards_of_rank
from gdkernels.network import BoundNetwork
from gdkernels.system.thread_limits import at_most

__all__ = ["SharedMeasuring"]


class SharedMeasuring:
    """Measures records in memory by the shards of a batch, and records in files by parts that are dealt to the ranks.

    What is summed depends on the shards, or the parts, alone.
    """

    def __init__(self, network: BoundNetwork, sharding: Sharding) -> None:
        self._network, self._sharding, self._group = network, sharding, sharding.group

    def error(self, records: Records | Windows) -> float:
        """Return E of all the records."""
        if isinstance(records, Windows):
            mine = [self._network.error(part) if len(part) else 0.0 for _, part in self._dealt(records)]
            everybody = self._everybody(mine)
            return float(
                sum(everybody[k % self._group.size][k // self._group.size] for k in range(sum(map(len, everybody))))
            )
        shards = self._sharding.shards
        found = []
        for number in self._sharding.mine:
            part = _rows(records, rows_of_shard(number, shards, len(records)))
            with self._on_one_thread(records):
                found.append(self._network.error(part) if len(part) else 0.0)
        return float(merged(value for values in self._everybody(found) for value in values))

    def targets_and_predictions(self, records: Records) -> list[Any]:
        """Return target and prediction of all the records, and their weights if they have some, on the host."""
        shards, ranks = self._sharding.shards, self._group.size
        arrays = [records.binding.to_numpy(a) for a in (records.y, records.weights) if a is not None]
        predicted = []
        for number in self._sharding.mine:
            part = _rows(records, rows_of_shard(number, shards, len(records)))
            if len(part):
                with self._on_one_thread(records):
                    predicted.append(records.binding.to_numpy(self._network.predict(part.x)))
        whole = np.empty((len(records), self._network.outputs), records.binding.dtype)
        mine = np.concatenate(predicted) if predicted else whole[:0]
        edges = [
            rows_of_shard(shards_of_rank(r, ranks, shards).start, shards, len(records)).start for r in range(ranks)
        ]
        counts = np.diff([*edges, len(records)]) * self._network.outputs
        self._group.all_gather(np.ascontiguousarray(mine).reshape(-1), whole.reshape(-1), counts.tolist())
        return [arrays[0], whole, *arrays[1:]]

    def in_parts(self, windows: Windows) -> Iterator[list[Any]]:
        """Yield targets and predictions, and weights if there are some, of all the parts in their order."""
        dealt, ranks, rank = self._dealt(windows), self._group.size, self._group.rank
        widths = [self._network.outputs] * 2 + [1] * windows.weighted
        for first in range(0, windows.part_count, ranks):
            mine = b""
            if first + rank < windows.part_count:
                measured = self._network.targets_and_predictions(next(dealt)[1])
                columns = [np.asarray(a, np.float64).reshape(len(a), w) for a, w in zip(measured, widths, strict=True)]
                mine = np.concatenate(columns, axis=1).tobytes()
            for data in self._group.gather_bytes(mine):
                rows = np.frombuffer(data, np.float64).reshape(-1, sum(widths))
                if len(rows):
                    parts = np.split(rows, [*accumulate(widths)][:-1], axis=1)
                    yield [*parts[:2], *(weights[:, 0] for weights in parts[2:])]

    def _dealt(self, windows: Windows) -> Iterator[tuple[int, Records]]:
        """Yield the parts of this rank, of which each is the next of the first rank that has none yet."""
        return windows.parts_of(self._group.rank, self._group.size)

    def _everybody(self, mine: list[float]) -> list[list[float]]:
        return [np.frombuffer(data, np.float64).tolist() for data in self._group.gather_bytes(np.array(mine).tobytes())]

    @staticmethod
    def _on_one_thread(records: Records) -> AbstractContextManager[Any]:
        """Predict on one thread where the bits of a product depend on their number, as in BLAS."""
        binding = records.binding
        return nullcontext() if binding.backend.threads(binding.device) else at_most(1)


def _rows(records: Records, rows: slice) -> Records:
    arrays = (records.x, records.y, records.weights)
    return Records(records.binding, *(None if a is None else _some(a, rows) for a in arrays))


def _some(array: Any, rows: slice) -> Any:
    return array.rows(rows) if isinstance(array, SparseRows) else array[rows, ...]
