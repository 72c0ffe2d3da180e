"""Whether records in files come to the device whole, or in windows, by the memory that they may take."""

from __future__ import annotations

from gdkernels.data.record_spec import RecordSpec
from gdkernels.data.records import Records
from gdkernels.data.stored.block_reader import INDICES, BlockReader
from gdkernels.data.stored.shuffle import TOGETHER, Layout
from gdkernels.data.stored.stored import Stored
from gdkernels.data.stored.windows import Windows
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.system import memory

__all__ = ["default_memory", "place_stored"]

_DEFAULT = 10**9


def place_stored(
    binding: Binding, stored: Stored, *, spec: RecordSpec, batch: int, sharding: Sharding = ALONE
) -> Records | Windows:
    """Return records in files, checked: all of them on the device where their memory is enough, or windows.

    Raises
    ------
    InputError
        For data that do not fit network or loss, and for too little memory for two batches.
    """
    reader = BlockReader(stored, binding, spec)
    allowed, records = stored.memory or default_memory(), len(stored)
    whole = records * (reader.record_bytes + INDICES // 2) <= allowed
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
