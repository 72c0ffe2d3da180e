"""Decisions of validation rows before the training: logarithms of the target, values that mean gaps, codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.randomness import generator
from gdkernels.tables import Table, Text
from gdkernels.tables.column.column_data import Floats, number_text
from gdkernels.tables.column.sentinels import is_nines, sentinels_of
from gdkernels.tables.features.kinds import Choices, are_whole, is_code
from gdkernels.tables.features.level_means import are_unordered
from gdkernels.tables.preparation.outcomes import labels, offset_of
from gdkernels.tables.table.checked import numbers_of
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import Goal
from gdkernels.tabular.trials.trial import MOST_ROWS, Trial

__all__ = ["Decisions", "decided"]

Indices = npt.NDArray[np.int64]

_FEWEST_ROWS = 100
_MOST_CODES = 5  # columns: each takes a training
_MOST_LOOKED_AT = 20_000  # rows
_VALIDATION = 0.25  # of the rows of a trial at least, where networks leave out different ones
# Standard errors by which a loss has to be lower: of what is likely, it may be higher by chance.
_LIKELY, _OPEN, _UNLIKELY = -1.0, 1.0, 2.0


@dataclass(frozen=True)
class Decisions:
    """How to use the columns, and what to add to each target before its logarithm; None where nothing was tried.

    Attributes
    ----------
    remarks
        What was tried, and what came of it.
    """

    choices: Choices
    offsets: tuple[float | None, ...] | None = None
    remarks: tuple[str, ...] = ()


def decided(
    settings: TabularSettings,
    table: Table,
    goal: Goal,
    networks: Sequence[tuple[Indices, Indices]],
) -> Decisions:
    """Train small networks either way where there is a choice, and take what predicts validation rows better.

    Parameters
    ----------
    networks
        The rows to train and to validate on, of the networks that are going to be trained.
    """
    learn = np.sort(np.concatenate(networks[0]))
    proposals = [*_sentinels(settings, table, goal, learn), *_codes(settings, table, goal, learn)]
    offset = _offset(table, goal, learn)
    found = Decisions(settings.choices)
    if len(learn) < _FEWEST_ROWS or not len(networks[0][1]) or (not proposals and offset is None):
        return found
    trial = _trial(settings, table, goal, networks)
    as_it_is: tuple[float | None, ...] | None = None if offset is None else (None,)
    plain = _losses(trial, settings.choices, as_it_is)
    for proposal in proposals:
        choices = proposal.applied_to(found.choices)
        losses = _losses(trial, choices, as_it_is)
        better = _is_lower(losses, plain, proposal.errors)
        verdict = (
            f"{proposal.taken}: the error of validation rows {_change(losses, plain)}" if better else proposal.left
        )
        found = replace(found, remarks=(*found.remarks, f"{proposal.what}, and {verdict}"))
        if better:
            found, plain = replace(found, choices=choices), losses
    if offset is not None:
        losses = _losses(trial, found.choices, (offset,))
        if _is_lower(losses, plain):
            remark = (
                f"{goal.targets[0]!r} has zeros and is skewed, and the logarithm of {offset:.4g} + it is learned: the "
                f"error of validation rows {_change(losses, plain)}"
            )
            return replace(found, offsets=(offset,), remarks=(*found.remarks, remark))
        remark = (
            f"{goal.targets[0]!r} has zeros and is skewed, and is learned as it is: the logarithm of {offset:.4g} + it "
            "does not predict validation rows better"
        )
        return replace(found, remarks=(*found.remarks, remark))
    return found


@dataclass(frozen=True)
class _Proposal:
    """Another use of some columns.

    Attributes
    ----------
    gaps, categorical
        What it adds to the choices.
    errors
        By how many standard errors it has to predict better.
    what, taken, left
        What was seen, and what becomes of it, for people.
    """

    what: str
    taken: str
    left: str
    gaps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categorical: tuple[str, ...] = ()
    errors: float = _OPEN

    def applied_to(self, choices: Choices) -> Choices:
        """Return the choices with it."""
        return replace(
            choices, gaps={**choices.gaps, **self.gaps}, categorical=(*choices.categorical, *self.categorical)
        )


def _unnamed_numbers(
    settings: TabularSettings, table: Table, goal: Goal, learn: Indices
) -> Iterator[tuple[str, Floats]]:
    """Yield the columns of numbers of which you said nothing, with those of the rows that are not for the test."""
    choices = settings.choices
    passed = {*goal.targets, *choices.read, *choices.ignore, *choices.categorical, *choices.numeric, *choices.aside}
    for name, column in table.columns.items():
        if name not in passed and not isinstance(column, Text):
            with suppress(InputError):  # the preparation says what is wrong with it
                yield name, numbers_of(table, name)[learn]


def _sentinels(settings: TabularSettings, table: Table, goal: Goal, learn: Indices) -> list[_Proposal]:
    """Return the proposal to take values that stand far from all others for gaps, if there are any."""
    found = {}
    for name, values in _unnamed_numbers(settings, table, goal, learn):
        if sentinels := sentinels_of(values):
            found[name] = tuple(map(number_text, sentinels))
    if not found:
        return []
    nines = all(is_nines(spelled) for several in found.values() for spelled in several)
    shown = " and ".join(f"{spelled} in {name!r}" for name, several in found.items() for spelled in several)
    how = "predicts validation rows worse" if nines else "does not predict validation rows better"
    left = f"used as a number: as a gap it {how}"
    return [
        _Proposal(
            f"{shown} is far from the others", "taken for a gap", left, gaps=found, errors=_LIKELY if nines else _OPEN
        )
    ]


def _codes(settings: TabularSettings, table: Table, goal: Goal, learn: Indices) -> list[_Proposal]:
    """Return the proposal to take numbers that look like codes for names, one for each column."""
    numbers = dict(_unnamed_numbers(settings, table, goal, learn))
    named = [name for name, values in numbers.items() if is_code(name, values)]
    looked_at = slice(0, _MOST_LOOKED_AT)
    y = _as_numbers(table, goal, learn[looked_at])
    jumping = [name for name, values in numbers.items() if name not in named and _jumps(values[looked_at], y)]
    what = dict.fromkeys(named, "look like codes") | dict.fromkeys(
        jumping, "may be codes: the target has no course by them"
    )
    return [
        _Proposal(
            f"the numbers in {name!r} {told}",
            f"taken for names ({keyword('numeric', [name])} takes them for numbers)",
            f"used as numbers: as names they do not predict validation rows better ({keyword('categorical', [name])} "
            "takes them for names)",
            categorical=(name,),
            errors=_OPEN if name in named else _UNLIKELY,
        )
        for name, told in what.items()
    ][:_MOST_CODES]


def _as_numbers(table: Table, goal: Goal, rows: Indices) -> Floats:
    """Return the targets of some rows as numbers, classes as shares of 0 and 1."""
    if not goal.is_classification:
        return np.column_stack([numbers_of(table, target)[rows] for target in goal.targets])
    names, codes = np.unique(np.asarray(labels(table, goal.targets[0]))[rows].astype(str), return_inverse=True)
    return np.eye(len(names))[codes]


def _jumps(values: Floats, y: Floats) -> bool:
    """Return whether the target jumps from one whole number of a column to the next."""
    there = np.isfinite(values)
    return are_whole(values[there]) and are_unordered(values[there], y[there])


def _offset(table: Table, goal: Goal, learn: Indices) -> float | None:
    """Return what to add before a logarithm of the target, where one may help; each row must have a logarithm."""
    if goal.is_classification or len(goal.targets) > 1 or goal.loss == "poisson":
        return None
    values = numbers_of(table, goal.targets[0])
    return offset_of(values[learn]) if values.min() >= 0 else None


def _trial(
    settings: TabularSettings,
    table: Table,
    goal: Goal,
    networks: Sequence[tuple[Indices, Indices]],
) -> Trial:
    """Return a trial on some of the rows, none of which are those of the test."""
    learn = np.sort(np.concatenate(networks[0]))
    random = generator(settings.seed, "trial")
    if settings.split.kind == "random":
        held_out = random.permutation(learn)[: math.ceil(_VALIDATION * len(learn))]
    else:  # rows of times or groups that are not trained on
        held_out = networks[0][1]
        for _, validation in networks[1:]:
            if len(held_out) < _VALIDATION * len(learn):
                held_out = np.union1d(held_out, validation)
    validation = np.sort(random.permutation(held_out)[: math.ceil(MOST_ROWS * _VALIDATION)])
    train = np.sort(random.permutation(np.setdiff1d(learn, held_out))[:MOST_ROWS])
    rows = np.concatenate([train, validation])
    order = np.argsort(rows)
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return Trial(settings, table.take(rows[order]), goal, place[: len(train)], place[len(train) :])


def _losses(trial: Trial, choices: Choices, offsets: tuple[float | None, ...] | None) -> Floats | None:
    found = trial.model(choices, offsets=offsets)
    return None if found is None else found.losses(trial.validation)


def _is_lower(losses: Floats | None, before: Floats | None, errors: float = _OPEN) -> bool:
    """Return whether losses are lower on average, by so many standard errors of the difference."""
    if losses is None or before is None:
        return losses is not None
    gain = before - losses
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    return float(gain.mean()) > errors * error


def _change(losses: Floats | None, before: Floats | None) -> str:
    if losses is None or before is None:
        return "can be measured at all"
    change = 1 - losses.mean() / before.mean()
    return f"is {change:.1%} lower" if change > 0 else f"is {-change:.1%} higher, which chance may do"
