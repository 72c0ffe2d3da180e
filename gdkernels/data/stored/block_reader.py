"""Blocks of records, read from files and checked on the host alone, while training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.record_spec import RecordSpec
from gdkernels.data.stored.shuffle import TOGETHER
from gdkernels.data.stored.stored import Stored
from gdkernels.data.validation import place_inputs, place_targets, place_weights
from gdkernels.dispatch import registry
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import FileError, InputError
from gdkernels.files.arrays import Bounds

__all__ = ["AT_ONCE", "INDICES", "BlockReader", "HostRecords"]

# The number of blocks that are read and checked at once: each costs calls, and their conversion costs memory.
AT_ONCE = TOGETHER // 8
INDICES = 32  # bytes a record: the order of this window and of the next, each once more as it is put together

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class HostRecords:
    """Places for records in memory."""

    x: Array
    y: Array
    weights: Array | None

    @property
    def arrays(self) -> tuple[Array, Array, Array | None]:
        return self.x, self.y, self.weights

    def part(self, start: int, stop: int) -> HostRecords:
        return HostRecords(*(None if a is None else a[start:stop] for a in self.arrays))  # type: ignore[arg-type]

    def take(self, other: HostRecords, rows: Any = slice(None)) -> None:
        """Overwrite all of it with rows of `other`, except arrays that are in their place already."""
        for mine, others in zip(self.arrays, other.arrays, strict=True):
            if mine is not None and others is not None and not np.may_share_memory(mine, others):
                mine[:] = others[rows]


class BlockReader:
    """Reads blocks of records, and checks them by what a network expects."""

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
        return 2 * self.record_bytes + 3 * self.record_bytes * AT_ONCE // TOGETHER + INDICES

    @property
    def record_bytes(self) -> int:
        """The bytes of a record in memory."""
        columns = self.spec.inputs + self.spec.outputs + (self.stored.weights is not None)
        return columns * np.dtype(self._binding.dtype).itemsize

    def empty(self, records: int) -> HostRecords:
        def array(*shape: int) -> Array:
            return np.empty(shape, self._binding.dtype)

        weights = None if self.stored.weights is None else array(records)
        return HostRecords(array(records, self.spec.inputs), array(records, self.spec.outputs), weights)

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

    def read(self, bounds: Bounds, into: HostRecords | None) -> HostRecords:
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

    def _read(self, bounds: Bounds, into: HostRecords | None = None) -> HostRecords:
        stored, binding, where = self.stored, self._binding, f", from record {bounds[0][0]:,} on,"
        name, count = f"{stored.x.name}{where}", sum(stop - first for first, stop in bounds)
        places = (None, None, None) if into is None else into.arrays
        raw_x, raw_y = stored.x.gather(bounds, places[0]), stored.y.gather(bounds, places[1])
        x = place_inputs(binding, raw_x, self.spec.inputs, name, codes=self.spec.codes)
        y = place_targets(binding, raw_y, count, self.spec.outputs, self.spec.loss, f"{stored.y.name}{where}", name)
        if stored.weights is None:
            return HostRecords(x, y, None)
        weights = stored.weights.gather(bounds, places[2])
        return HostRecords(x, y, place_weights(binding, weights, count, f"{stored.weights.name}{where}", stored.x.name))
