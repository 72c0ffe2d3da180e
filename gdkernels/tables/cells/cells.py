"""Cells of a column as they are spelled, before anybody says what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CellBlock", "Cells", "Distinct", "unwrapped"]

Rows = npt.NDArray[Any] | slice

_BETWEEN = "\0"  # in no text file: `gdkernels.tables.formats.streams.encoding_of` refuses it
_WRAPPED = re.compile(r'(?:^|(?<=\0))\s*="([^"\0]*)"\s*(?=\0|$)')
_REPEATED = 4  # times that each different cell of a block is there, on average, for these to be kept


@dataclass(frozen=True)
class Distinct:
    """The cells of a block that differ, in the order in which they come.

    Attributes
    ----------
    cells, rows
        Each of them, and where it is first.
    places
        For each cell of the block its place among them.
    """

    cells: list[str]
    rows: list[int]
    places: npt.NDArray[np.int32]


class CellBlock:
    """Some thousand cells of a column.

    Attributes
    ----------
    text
        The cells with NUL between them.
    """

    def __init__(self, text: str, count: int) -> None:
        self.text, self._count = text, count
        self._distinct: Distinct | None = None

    def __len__(self) -> int:
        return self._count

    def tolist(self) -> list[str]:
        """Return the cells one by one: for what cannot be told of all of them at once."""
        return self.text.split(_BETWEEN)

    def distinct(self) -> Distinct:
        """Return the cells that differ."""
        if self._distinct is not None:
            return self._distinct
        known: dict[str, int] = {}  # by cell, where it is first
        firsts = np.fromiter(map(known.setdefault, self.tolist(), range(self._count)), np.int32, self._count)
        rows = list(known.values())
        places = np.empty(self._count, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        found = Distinct(list(known), rows, places[firsts])
        if _REPEATED * len(rows) <= self._count:  # others would need the memory of all cells
            self._distinct = found
        return found

    def first(self, count: int) -> list[str]:
        """Return the first cells."""
        return self.text.split(_BETWEEN, count)[:count]


def unwrapped(text: str) -> str:
    """Return cells, with NUL between them, without what spreadsheets put around text to keep it: ``="1.5"``."""
    return _WRAPPED.sub(r"\1", text) if '="' in text else text


class Cells:
    """A column of text, each cell as it is spelled.

    The cells of a block of records are kept in one string, which needs little more memory than the file does.

    Attributes
    ----------
    texts, counts
        For each block its cells in one string, and how many they are.
    rows
        Those of these that the column has; None for all of them.
    delimiter
        The delimiter of the file, which tells what a comma may mean; None for cells of no text file.
    """

    def __init__(self, blocks: Sequence[str], counts: Sequence[int], delimiter: str | None) -> None:
        self.texts, self.counts, self.delimiter = tuple(blocks), tuple(counts), delimiter
        self.rows: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, texts: Sequence[str | None], delimiter: str | None = None) -> Cells:
        """Return cells of Python's own text; None is an empty cell, and NUL, which no text file holds, a space."""
        plain = ["" if text is None else text for text in texts]
        block = _BETWEEN.join(plain)
        if block.count(_BETWEEN) != max(0, len(plain) - 1):
            block = _BETWEEN.join(text.replace(_BETWEEN, " ") for text in plain)
        return cls([block] if plain else [], [len(plain)] if plain else [], delimiter)

    @classmethod
    def joined(cls, parts: Sequence[Cells], delimiter: str | None = None) -> Cells:
        """Return the cells of several parts as one column."""
        if any(part.rows is not None for part in parts):
            parts = [cls.of(part.tolist(), part.delimiter) for part in parts]
        blocks = [block for part in parts for block in part.texts]
        counts = [count for part in parts for count in part.counts]
        return cls(blocks, counts, parts[0].delimiter if parts else delimiter)

    @property
    def characters(self) -> int:
        """About how many characters there are in all."""
        return sum(map(len, self.texts))

    def holds_line_ends(self) -> bool:
        """Return whether a cell has several lines."""
        return any("\n" in block or "\r" in block for block in self.texts)

    def __len__(self) -> int:
        return sum(self.counts) if self.rows is None else len(self.rows)

    @classmethod
    def of_block(cls, texts: Sequence[str], count: int, delimiter: str | None) -> Cells:
        """Return so many cells that `texts` hold, each of them some with NUL between."""
        return cls([unwrapped(_BETWEEN.join(texts))], [count], delimiter)

    def blocks(self) -> Iterator[CellBlock]:
        """Yield the cells, some thousands at a time."""
        if self.rows is not None:
            if cells := self.tolist():
                yield CellBlock(_BETWEEN.join(cells), len(cells))
            return
        for text, count in zip(self.texts, self.counts, strict=True):
            yield CellBlock(text, count)

    def tolist(self) -> list[str]:
        """Return all the cells."""
        if self.rows is None:
            return [cell for block in self.texts for cell in block.split(_BETWEEN)]
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        places = np.searchsorted(starts, self.rows, side="right") - 1
        blocks = {place: self.texts[place].split(_BETWEEN) for place in np.unique(places).tolist()}
        within = (self.rows - starts[places]).tolist()
        return [blocks[place][row] for place, row in zip(places.tolist(), within, strict=True)]

    def take(self, rows: Rows) -> Cells:
        """Return some of the cells, by their numbers, a mask or a slice."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        chosen = np.arange(len(self))[rows] if self.rows is None else self.rows[rows]
        taken = Cells(self.texts, self.counts, self.delimiter)
        taken.rows = chosen
        return taken

    def copy(self) -> Cells:
        """Return the same cells without the others that they were taken from, so that those need no memory."""
        return self if self.rows is None else Cells.of(self.tolist(), self.delimiter)
