"""Tables: a schedule bound to sizes and addresses, as 64-bit integers that one compiled function walks through.

A record is its operation, its length in words, and its fields in the order of `RECORDS`. An address that follows the
rows comes as three words: where it begins, and the bytes from row to row and from panel to panel.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "BARRIER_BYTES", "COME", "CONTEXT", "END", "FIELDS", "GIVEN_UP", "MET", "OPERATIONS", "RECORDS", "Place", "Table",
]  # fmt: skip


class Place(NamedTuple):
    """Where a matrix begins, and how many bytes further the next row and the next panel are."""

    base: int
    row: int = 0
    panel: int = 0


END = 0

RECORDS: dict[str, tuple[str, ...]] = {
    # On the rows of a tile. A loop ends in the places of its operands; the records in the "fused" words that follow a
    # product are run for each of its panels.
    "GATHER": ("kernel", "columns", "plain", "plain_row", "to", "to_row", "to_panel", "pitch"),
    "GATHER_COLUMN": ("kernel", "plain", "plain_row", "to"),
    "PRODUCT": (
        "kernel", "depth", "columns", "a", "a_row", "a_panel", "a_pitch", "b", "b_pitch", "b_panel",
        "c", "c_row", "c_panel", "c_pitch", "fused",
    ),
    "DOTS": ("kernel", "depth", "a", "a_row", "a_panel", "a_pitch", "w", "c", "c_row", "c_panel", "c_pitch", "fused"),
    "LOOP": ("kernel", "columns", "pitch", "count"),
    "NARROW": (
        "kernel", "columns", "source", "source_row", "source_panel", "pitch", "left", "left_row", "left_panel",
        "right", "right_row", "right_panel", "right_pitch", "turned", "turned_row", "turned_panel",
    ),
    "COLUMN_LOOP": ("kernel", "count"),
    "SCATTER": ("kernel", "columns", "plain", "plain_row", "from", "from_row", "from_panel", "pitch"),
    # Sums over the rows of a tile, in blocks of one panel by one panel.
    "TILE_GRADIENT": (
        "kernel", "depth", "columns", "a", "a_row", "a_block", "a_pitch", "a_panel", "d", "d_row", "d_panel", "d_pitch",
        "to", "to_pitch", "to_panel",
    ),
    "TILE_SUMS": ("kernel", "columns", "d", "d_row", "d_panel", "d_pitch", "to"),
    # Blocks of a matrix, of one panel by one panel, numbered along the panels of each row of them: the records in the
    # next `words` words are run for each. What begins elsewhere in every block is a place: where it begins in the first
    # block, and the bytes to the block below and to the one beside. A gradient ends in the places written after it.
    "BLOCKS": ("rows", "columns", "first", "stop", "words"),
    "BACK": ("kernel", "d", "d_panel", "d_pitch", "w", "w_panel", "w_pitch", "c", "c_pitch"),
    "GRADIENT": (
        "kernel", "a", "a_block", "a_pitch", "a_panel", "a_term", "d", "d_panel", "d_pitch",
        "to", "to_down", "to_across", "to_pitch", "count",
    ),
    "SUMS": ("kernel", "d", "d_panel", "d_pitch", "to", "to_panel"),
    "ADD": ("kernel", "from", "from_down", "from_across", "to", "to_down", "to_across", "pitch", "thread"),
    "BLOCK_LOOP": ("kernel", "pitch", "count"),
    "TRANSPOSE": (
        "kernel", "from", "from_down", "from_across", "from_pitch", "to", "to_down", "to_across", "to_pitch",
    ),
    "NARROW_BLOCK": (
        "kernel", "from", "from_down", "from_across", "from_pitch",
        "right", "right_down", "right_across", "right_pitch", "back", "back_down", "back_across", "back_pitch",
    ),
    # Wait for the other threads.
    "MEET": (),
    "NUMBER_LOOP": ("kernel", "count"),
    # Numbers: the sum over threads, and what a run returns.
    "TOTAL": ("from", "to"),
    "RECORD": ("from", "to"),
    # Whole parameters, in and out of panels.
    "PACK": ("kernel", "rows", "columns", "plain", "plain_row", "to", "pitch", "panel"),
    "UNPACK": ("kernel", "rows", "columns", "plain", "plain_row", "from", "pitch", "panel"),
}  # fmt: skip

# The words of the barrier, by their place in bytes: how many threads have come, how often all have, and whether one of
# them never will.
COME, MET, GIVEN_UP = 0, 64, 72
BARRIER_BYTES = 128

OPERATIONS = {name: k for k, name in enumerate(RECORDS, start=1)}

# Where a field stands in its record.
FIELDS = {name: {field: 2 + k for k, field in enumerate(fields)} for name, fields in RECORDS.items()}

# What a thread is told: the words of its context.
CONTEXT = (
    "thread", "threads", "barrier", "float_state", "saved_state", "panel", "lanes_log2",
    "product_depth", "product_panels", "sums_depth", "paired",
    "batch", "records", "steps", "tile_rows", "grain", "all_rows", "order", "operands",
    "scalars", "scalar_count", "numbers", "partials", "partial_bytes", "partial_count",
    "before", "transposes", "tile", "update", "second_update", "after",
)  # fmt: skip


class Table:
    """A list of records under construction."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def add(self, operation: str, *values: int | Place, operands: Sequence[Place] | None = None) -> int:
        """Append a record; returns where it begins."""
        fields = list(_flat(values))
        if operands is not None:
            fields.append(len(operands))
            for place in operands:
                fields += place
        assert len(fields) == len(RECORDS[operation]) + 3 * len(operands or ()), (operation, fields)
        record = len(self.words)
        self.words += [OPERATIONS[operation], len(fields) + 2, *fields]
        return record

    @contextmanager
    def blocks(self, rows: int, columns: int, first: int, stop: int) -> Iterator[None]:
        """Let what is added inside run on these blocks of a matrix of `rows` by `columns`."""
        with self._followed("BLOCKS", rows, columns, first, stop, 0):
            yield

    @contextmanager
    def product(self, operation: str, *values: int | Place) -> Iterator[None]:
        """Append a product, and let what is added inside run on each of its panels."""
        with self._followed(operation, *values, 0):
            yield

    @contextmanager
    def _followed(self, operation: str, *values: int | Place) -> Iterator[None]:
        """Append a record whose last field counts the words of what is added inside."""
        self.add(operation, *values)
        body = len(self.words)
        yield
        self.words[body - 1] = len(self.words) - body

    def array(self) -> npt.NDArray[np.int64]:
        return np.array([*self.words, END], np.int64)


def _flat(values: Iterable[int | Place]) -> Iterable[int]:
    for value in values:
        if isinstance(value, Place):
            yield from value
        else:
            yield value
