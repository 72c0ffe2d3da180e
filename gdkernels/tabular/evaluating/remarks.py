"""Remarks: what you should know of a table before you trust a model of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table, Text
from gdkernels.tables.column.column_data import Column, finding_of, number_text
from gdkernels.tables.column.sentinels import sentinels_of
from gdkernels.tables.features.categories import TOO_RARE
from gdkernels.tables.features.columns import Category, Dropped
from gdkernels.tables.table.checked import numbers_of
from gdkernels.tabular.evaluating.evaluation import Evaluation
from gdkernels.tabular.evaluating.leakage import leaks
from gdkernels.tabular.evaluating.odd_columns import alike_names, counted_dates, header_within, sums_below, versions
from gdkernels.tabular.evaluating.odd_dates import odd_dates
from gdkernels.tabular.settings import TabularSettings

__all__ = ["remarks_after", "remarks_on", "small_classes"]

_MOST = 5  # columns that are named one by one
_RECORDS_OF_CLASS = 3  # one each for training, for stopping and for the test
# Also behind letters: C1234,50 in a bank's file, or R6.4.1 in a Japanese era.
_FIGURES = re.compile(r"\W{0,2}[0-9]|[^\W\d_]{1,3}\s?[0-9]+(?:[.,][0-9]|[年/])")
_BARE = re.compile(r"[0-9]+|[0-9a-fA-F-]{16,}")  # a code
_YEAR = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])|年|^[MTSHR]?[0-9]{1,3}([./])[0-9]{1,2}\1[0-9]{1,2}$")
_ALIKE = 0.9
_POOLED = 0.5  # the share of cells from which on a column whose rare names are one input says little


def remarks_on(
    settings: TabularSettings, table: Table, preparation: Preparation, learn: npt.NDArray[np.int64]
) -> list[str]:
    """Return what the rows that are not for the test tell of the target, and of columns that give it away."""
    targets = preparation.targets
    said = []
    numbers = [name for name in targets if not isinstance(table.columns[name], Text)]
    if preparation.classes is not None and numbers and settings.task == "auto" and settings.loss is None:
        said.append(
            f"{targets[0]!r} was read as {len(preparation.classes)} classes, as it holds few whole numbers; say "
            f"{keyword('task', 'regression')} if they are numbers"
        )
    rows = learn
    if preparation.classes is None:
        for name in numbers:
            values = numbers_of(table, name)
            for sentinel in sentinels_of(values[learn]):
                same = values == sentinel
                rows = rows[~same[rows]]
                shown = number_text(sentinel)
                said.append(
                    f"the target {name!r} is {shown} in {int(same.sum()):,} records, far from the others: if it means "
                    f"a gap, say {keyword('missing', [shown])} {keyword('drop_missing', True)}"
                )
    named = settings.choices.named
    said += [*_signs(table, preparation), *_few(counted_dates(table, preparation, named))]
    said += [*_few(versions(table, preparation, named)), *_few(odd_dates(table, preparation, named))]
    said += [*_few(header_within(table)), *sums_below(table)]
    said += [*_few(_read_as_text(settings, table, preparation))]
    said += [*_few(_pooled(settings, table, preparation, learn)), *_few(alike_names(preparation))]
    return said + leaks(table, preparation, rows, settings.seed)


def small_classes(preparation: Preparation, targets: npt.NDArray[Any]) -> list[str]:
    """Return which classes have so few records that none may be left to learn from, or to measure by.

    Parameters
    ----------
    targets
        The class of each record, by its number.
    """
    if preparation.classes is None:
        return []
    counts = np.bincount(targets, minlength=len(preparation.classes))
    small = np.flatnonzero(counts < _RECORDS_OF_CLASS)
    if not len(small):
        return []
    named = ", ".join(f"{str(preparation.classes[k])[:40]!r} ({counts[k]})" for k in small[:_MOST])
    more = f" and {len(small) - _MOST:,} more" if len(small) > _MOST else ""
    which = "this class" if len(small) == 1 else "these classes"
    return [
        f"of {which} there are fewer than {_RECORDS_OF_CLASS} records, too few to learn and to measure: {named}{more}; "
        "add some, or leave them out"
    ]


def _few(said: list[str]) -> list[str]:
    """Return the first few of remarks that are alike, and how many further columns they hold for."""
    more = len(said) - _MOST
    return said if more <= 0 else [*said[:_MOST], f"so are {more} further columns, as `gdkernels describe` shows"]


def _signs(table: Table, preparation: Preparation) -> list[str]:
    """Return which numbers, also among the targets, have another sign than a minus before them."""
    names = [*preparation.targets, *(kind.name for kind in preparation.columns)]
    found = {name: finding_of(table.columns[name]) for name in names}
    return [f"column {n!r}: {f.note}" for n, f in found.items() if f.reading.kind == "number" and f.note]


def _read_as_text(settings: TabularSettings, table: Table, preparation: Preparation) -> list[str]:
    """Return which columns are read as text, though many of their cells are numbers or dates."""
    said = []
    for kind in preparation.columns:
        found = finding_of(table.columns[kind.name])
        if found.reading.kind == "text" and found.note and kind.name not in settings.choices.named:
            number = f"say {keyword('numeric', [kind.name])} to take them for gaps, or " if found.number else "or say "
            said.append(
                f"column {kind.name!r} is read as text: {found.note}; correct the others, {number}"
                f"{keyword('categorical', [kind.name])}"
            )
    return said


def _pooled(
    settings: TabularSettings, table: Table, preparation: Preparation, learn: npt.NDArray[np.int64]
) -> list[str]:
    """Return which columns are names most of which are too rare to be learned, as those of a format nobody knows."""
    said = []
    for kind in preparation.columns:
        if kind.name in settings.choices.named:
            continue
        if isinstance(kind, Dropped):
            said += _dropped(kind, table.columns[kind.name])
            continue
        if not isinstance(kind, Category) or kind.means:
            continue
        share = float(np.mean(kind.codes_in(table)[learn] == kind.unseen)) if kind.other else 0.0
        if share > _POOLED and not finding_of(table.columns[kind.name]).note:
            said.append(
                f"column {kind.name!r} is read as names, {share:.0%} of which are too rare to be told apart: if "
                f"they are numbers or dates, say how by {keyword('read')}; else leave it out by "
                f"{keyword('ignore', [kind.name])}"
            )
    return said


def _dropped(kind: Dropped, column: Column) -> list[str]:
    """Return the remark on names none of which is frequent; of an identifier, most records have their own."""
    if not isinstance(column, Text) or finding_of(column).unread:
        return []
    if len(column.levels) > len(column) / 2:
        return _like_dates_or_numbers(kind.name, column)
    if kind.why != TOO_RARE:
        return []
    return [
        f"column {kind.name!r} is left out, as it is read as names that are all too rare to learn: if they are numbers "
        f"or dates, say how by {keyword('read')}"
    ]


def _like_dates_or_numbers(name: str, column: Text) -> list[str]:
    """Return the remark on names of records that are dates or numbers of a form that nobody knows."""
    figures = [level for level in column.levels if _FIGURES.match(level) and not _BARE.fullmatch(level)]
    if len(figures) < _ALIKE * len(column.levels):
        return []
    dates = len([level for level in figures if _YEAR.search(level)]) >= _ALIKE * len(column.levels)
    how = "dates: write them as 2024-01-31" if dates else "numbers: write one plain number in each"
    return [
        f"column {name!r} is left out, but cells such as {figures[0][:40]!r} may be {how}, or say how to read them by "
        f"{keyword('read')}"
    ]


def remarks_after(settings: TabularSettings, test: Evaluation | None) -> list[str]:
    """Return what the figures ask for, and how the model goes on where it has seen nothing."""
    said = []
    weighted = settings.class_weight == "balanced"
    if test is not None and weighted:
        said.append(
            f"with {keyword('class_weight', 'balanced')}, the probabilities are those of classes of one size: on these "
            "rows they are too high for rare classes, and so are log loss and Brier score"
        )
    if test is not None and (test.tells_no_class if weighted else test.tells_nothing):
        what = "the mean" if test.calibration is None else "the shares of the classes"
        said.append(f"on these rows, {what} would be as good an answer to everything: the model tells nothing of them")
    if settings.split.kind == "time" or settings.outside == "hold":
        how = "held at the nearest of these" if settings.outside == "hold" else "extrapolated"
        other = "extrapolate" if settings.outside == "hold" else "hold"
        said.append(f"numbers and dates beyond those of training are {how}; {keyword('outside', other)} does the other")
    return said
