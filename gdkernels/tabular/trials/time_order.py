"""A remark where rows at random flatter: the table is a record of time, and the last part is predicted far worse.

Rows between those of training are easily told from their neighbours. What a model is for comes later.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.randomness import generator
from gdkernels.tables import Table, split
from gdkernels.tabular.evaluating.evaluation import Evaluation
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.split_rules import date_columns, latest_from, moment_text, moments_of
from gdkernels.tabular.settings.targets import Goal
from gdkernels.tabular.trials.trial import MOST_ROWS, Trial

__all__ = ["in_time_order", "ordering_column"]

_FEWEST_ROWS, _LOOKED_AT, _FEWEST_MOMENTS = 200, 10_000, 20
_IN_ORDER = 0.999  # of the steps from one record to the next
_LAST, _VALIDATION = 0.2, 0.1
_KEPT, _LOST = 0.75, 0.05  # what is left of R², or of what the log loss gains, and what it loses at least


def ordering_column(table: Table) -> str | None:
    """Return the column of dates that orders the rows of a table; None if none does."""
    if len(table) < _FEWEST_ROWS:
        return None
    if len(table) > _LOOKED_AT:  # reading all dates of a long table takes seconds
        table = table.take(np.linspace(0, len(table) - 1, _LOOKED_AT).astype(np.int64))
    for name in date_columns(table):
        try:
            steps = np.diff(moments_of(table, name))
        except InputError:
            continue
        forth, back = np.mean(steps >= 0), np.mean(steps <= 0)
        if np.count_nonzero(steps) >= _FEWEST_MOMENTS and max(forth, back) >= _IN_ORDER:
            return name
    return None


def in_time_order(settings: TabularSettings, table: Table, goal: Goal) -> list[str]:
    """Return the remark, if there is one, from two small trainings: on rows at random, and on the first ones."""
    column = ordering_column(table) if settings.split.kind == "random" else None
    if column is None:
        return []
    if len(table) > MOST_ROWS:
        chosen = generator(settings.seed, "time order").permutation(len(table))[:MOST_ROWS]
        table = table.take(np.sort(chosen))
    moments = moments_of(table, column)
    edge = latest_from(moments, _LAST, "the test")
    earlier, last = np.flatnonzero(moments < edge), np.flatnonzero(moments >= edge)
    others, drawn = split(len(table), len(last) / len(table), generator(settings.seed, "time order", 1))
    in_time = _figures(settings, table, goal, earlier, last)
    at_random = _figures(settings, table, goal, others, drawn)
    if in_time is None or at_random is None:
        return []
    left, there = _gain(in_time), _gain(at_random)
    if there <= _LOST or left > _KEPT * there or there - left < _LOST:
        return []
    figure = "accuracy" if in_time.calibration is not None else "r2"
    return [
        f"{column!r} orders the rows in time, and rows at random flatter: a network that is trained on those before "
        f"{moment_text(table, column, edge)} reaches {figure} {in_time.metrics[figure]:.2g} on those after it, against "
        f"{at_random.metrics[figure]:.2g} on rows at random; to predict what comes later, say "
        f"{keyword('split', 'time:' + column)}"
    ]


def _figures(
    settings: TabularSettings,
    table: Table,
    goal: Goal,
    learn: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
) -> Evaluation | None:
    kept, held_out = split(len(learn), _VALIDATION, generator(settings.seed, "time order", 2))
    trial = Trial(settings, table, goal, learn[kept], learn[held_out])
    found = trial.model(settings.choices)
    return None if found is None else found.evaluation(test)


def _gain(evaluation: Evaluation) -> float:
    """Return R², or the share of the log loss of the most frequent class that is gone."""
    if evaluation.calibration is None:
        return evaluation.metrics["r2"]
    baseline = evaluation.baseline["log_loss"]
    return 1 - evaluation.metrics["log_loss"] / baseline if baseline else 0.0
