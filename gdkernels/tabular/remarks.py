"""Remarks: what you should know of a table before you trust a model of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table, Text
from gdkernels.tables.checked import numbers_of
from gdkernels.tables.column_data import finding_of, number_text
from gdkernels.tables.kinds import sentinel_of
from gdkernels.tabular.evaluation import Evaluation
from gdkernels.tabular.leakage import leaks
from gdkernels.tabular.settings import TabularSettings

__all__ = ["remarks_after", "remarks_on"]

_MOST = 5  # columns that are named one by one


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
            sentinel = sentinel_of(values[learn])
            if sentinel is not None:
                same = values == sentinel
                rows = rows[~same[rows]]
                shown = number_text(sentinel)
                said.append(
                    f"the target {name!r} is {shown} in {int(same.sum()):,} records, far from the others: if it means "
                    f"a gap, say {keyword('missing', [shown])} {keyword('drop_missing', True)}"
                )
    said += _read_as_text(settings, table, preparation)
    return said + leaks(table, preparation, rows, settings.seed)


def _read_as_text(settings: TabularSettings, table: Table, preparation: Preparation) -> list[str]:
    """Return which columns are read as text, though many of their cells are numbers or dates."""
    said = []
    for kind in preparation.columns:
        found = finding_of(table.columns[kind.name])
        if found.reading.kind == "text" and found.note and found.number and kind.name not in settings.choices.named:
            number = keyword("numeric", [kind.name])
            said.append(
                f"column {kind.name!r} is read as text: {found.note}; correct the others, say {number} to take them "
                f"for gaps, or {keyword('categorical', [kind.name])}"
            )
    if len(said) > _MOST:
        said[_MOST:] = [f"so are {len(said) - _MOST} further columns, as `gdkernels describe` shows"]
    return said


def remarks_after(settings: TabularSettings, test: Evaluation | None) -> list[str]:
    """Return what the figures ask for, and how the model goes on where it has seen nothing."""
    said = []
    if test is not None and test.tells_nothing:
        what = "the mean" if test.calibration is None else "the shares of the classes"
        said.append(f"on these rows, {what} would be as good an answer to everything: the model tells nothing of them")
    if settings.split.kind == "time" or settings.outside == "hold":
        how = "held at the nearest of these" if settings.outside == "hold" else "extrapolated"
        other = "extrapolate" if settings.outside == "hold" else "hold"
        said.append(f"numbers and dates beyond those of training are {how}; {keyword('outside', other)} does the other")
    return said
