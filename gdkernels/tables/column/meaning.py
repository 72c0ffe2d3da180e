"""From cells to columns: as a reading says, or as the cells themselves tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gdkernels.tables.cells.cells import CellBlock, Cells
from gdkernels.tables.cells.numbers import PLAIN
from gdkernels.tables.column.column_data import (
    Column,
    Floats,
    NumberColumn,
    Text,
    factorized,
    finding_of,
    number_labels,
)
from gdkernels.tables.column.evidence import Evidence
from gdkernels.tables.column.plain import plain_numbers
from gdkernels.tables.column.reading import NUMBER, Finding, Reading, compared, with_gaps

__all__ = ["column_of", "labels_of", "read_as", "settled", "settled_together", "with_missing"]

Mask = npt.NDArray[np.bool_]


def settled(cells: Cells, missing: Collection[str] = ()) -> Column:
    """Return the column that cells are, by elimination over all of them; `missing` spell gaps too."""
    evidence = Evidence(cells.delimiter, missing)
    done, plain = 0, []
    blocks = list(cells.blocks())
    for block in blocks:
        plain.append(evidence.add(block, done))
        done += len(block)
    finding = evidence.finding()
    values = [v for v in plain if v is not None]
    if finding.reading == NUMBER and len(values) == len(plain):
        return NumberColumn(_joined(values), cells, finding)
    return _column_of(cells, blocks, finding)


def column_of(cells: Cells, finding: Finding) -> Column:
    """Return cells as they were found to be."""
    return _column_of(cells, cells.blocks(), finding)


def _column_of(cells: Cells, blocks: Iterable[CellBlock], finding: Finding) -> Column:
    reading = finding.reading
    if reading.kind != "number":
        return replace(_text(cells, blocks, reading), finding=finding)
    parts = [_numbers(block, reading) for block in blocks]
    wrong = [w for _, w in parts]
    some = any(w is not None for w in wrong)
    mask = np.concatenate([np.zeros(len(v), bool) if w is None else w for v, w in parts]) if some else None
    return NumberColumn(_joined([v for v, _ in parts]), cells, finding, mask)


def settled_together(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return columns whose cells were read each alone, those as text whose meaning another makes doubtful."""
    before = {name: finding_of(column) for name, column in columns.items()}
    after = compared(before)
    return {
        name: column
        if after[name] is before[name] or not isinstance(column, NumberColumn) or not isinstance(column.source, Cells)
        else column_of(column.source, after[name])
        for name, column in columns.items()
    }


def read_as(column: Column, reading: Reading) -> Column:
    """Return a column as `reading` says, also if it was read otherwise; cells that do not fit are marked as wrong."""
    if isinstance(column, np.ndarray):
        if reading.kind == "number":
            return _without(column, reading)
        return _leveled(number_labels(column), reading)
    if column.finding.reading == reading or column.finding.unread:
        return column
    if isinstance(column, NumberColumn):
        if isinstance(column.source, Cells):
            return column_of(column.source, Finding(reading))
        if reading.kind == "number":
            return replace(column, values=_without(column.values, reading))
        return _leveled(labels_of(column), reading)
    return _leveled(column, reading) if column.cells is None else column_of(column.cells, Finding(reading))


def with_missing(column: Column, missing: Collection[str]) -> Column:
    """Return a column in which these spell gaps too; the meaning of its cells is decided anew without them."""
    gaps = tuple(map(str.strip, missing))
    if set(gaps) <= set(finding_of(column).reading.gaps) or finding_of(column).unread:
        return column
    source = column.source if isinstance(column, NumberColumn) else column.cells if isinstance(column, Text) else None
    if isinstance(source, Cells):
        return settled(source, gaps)
    reading = with_gaps(finding_of(column).reading, gaps)
    if isinstance(column, np.ndarray):
        return NumberColumn(_without(column, reading), column, Finding(reading))
    again = read_as(column, reading)
    assert not isinstance(again, np.ndarray)
    return replace(again, finding=Finding(reading))


def labels_of(column: Column) -> Text:
    """Return a column as text, each cell as it is spelled; numbers that were never text in their shortest form."""
    if isinstance(column, Text):
        return column
    if isinstance(column, np.ndarray):
        return number_labels(column)
    if isinstance(column.source, Cells):
        reading = replace(column.finding.reading, kind="text")
        return _text(column.source, column.source.blocks(), reading, folded_gaps=True)
    distinct, codes = np.unique(column.source, return_inverse=True)
    text = factorized(list(map(str, distinct.tolist()))).take(codes)
    return replace(text, codes=np.where(np.isnan(column.values), np.int32(-1), text.codes))


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0, np.float64)


def _numbers(block: CellBlock, reading: Reading) -> tuple[Floats, Mask | None]:
    """Return the numbers that cells spell, NaN where they spell none, and which of those are no gaps."""
    style = reading.number_format
    if style == PLAIN and reading.gaps == NUMBER.gaps and (plain := plain_numbers(block)) is not None:
        return plain.values, None
    distinct = block.distinct()
    values, odd = np.empty(len(distinct.cells)), np.zeros(len(distinct.cells), bool)
    sentinels = frozenset(reading.sentinels)
    for k, cell in enumerate(distinct.cells):
        text = cell.strip()
        number = None if reading.is_gap(text) else style.value(text)
        odd[k] = number is None and not reading.is_gap(text) and not reading.lenient
        values[k] = np.nan if number is None or number in sentinels else number
    return values[distinct.places], odd[distinct.places] if odd.any() else None


def _without(values: Floats, reading: Reading) -> Floats:
    """Return numbers with gaps where they are what the user said is one."""
    return np.where(np.isin(values, reading.sentinels), np.nan, values) if reading.sentinels else values


def _text(cells: Cells, blocks: Iterable[CellBlock], reading: Reading, *, folded_gaps: bool = False) -> Text:
    """Return cells as text without spaces around it."""
    known: dict[str, int] = {}
    places: dict[str, int] = {}
    codes = []
    for block in blocks:
        distinct = block.distinct()
        for cell in distinct.cells:
            if cell not in known:
                text = cell.strip()
                gap = reading.is_gap(text) or (folded_gaps and text.casefold() in reading.gaps)
                known[cell] = -1 if gap else places.setdefault(reading.spelled(text), len(places))
        codes.append(np.array([known[cell] for cell in distinct.cells], np.int32)[distinct.places])
    levels = sorted(places)
    rank = np.empty(len(places) + 1, np.int32)
    rank[[places[level] for level in levels]] = np.arange(len(levels), dtype=np.int32)
    rank[-1] = -1
    joined = np.concatenate(codes) if codes else np.empty(0, np.int32)
    return Text(rank[joined], tuple(levels), cells, Finding(reading))


def _leveled(column: Text, reading: Reading) -> Column:
    """Return text that was never in a file as `reading` says, level by level."""
    cells = Cells.of(column.levels)
    levels = column_of(cells, Finding(reading))
    if isinstance(levels, Text):
        return Text(np.append(levels.codes, np.int32(-1))[column.codes], levels.levels, finding=Finding(reading))
    assert isinstance(levels, NumberColumn)
    values = column.lookup(levels.values, np.nan)
    wrong = None if levels.wrong is None else column.lookup(levels.wrong, False)
    spelled = column.lookup(np.array(column.levels, object), "").tolist()
    return NumberColumn(values, Cells.of(spelled), Finding(reading), wrong)
