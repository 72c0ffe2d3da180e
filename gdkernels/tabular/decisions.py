"""Decisions that validation rows make before the training: a logarithm of the target, values that stand for a gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.randomness import generator
from gdkernels.tables import Table, Text
from gdkernels.tables.checked import numbers_of
from gdkernels.tables.column_data import Floats, number_text
from gdkernels.tables.kinds import Choices, sentinel_of
from gdkernels.tables.outcomes import offset_of
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.trial import MOST_ROWS, Trial

__all__ = ["Decisions", "decided"]

Indices = npt.NDArray[np.int64]

_FEWEST_ROWS = 100
_VALIDATION = 0.25  # of the rows of a trial at least, where networks leave out different ones
_ERRORS = 1.0  # standard errors of a difference from which on it counts


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
    targets: tuple[str, ...],
    task: str,
    loss: str,
    networks: Sequence[tuple[Indices, Indices]],
) -> Decisions:
    """Train small networks either way where there is a choice, and take what predicts validation rows better.

    Parameters
    ----------
    networks
        The rows to train and to validate on, of the networks that are going to be trained.
    """
    learn = np.sort(np.concatenate(networks[0]))
    gaps = _sentinels(settings, table, targets, learn)
    offset = _offset(table, targets, task, loss, learn)
    found = Decisions(settings.choices)
    if len(learn) < _FEWEST_ROWS or not len(networks[0][1]) or (not gaps and offset is None):
        return found
    trial = _trial(settings, table, targets, task, loss, networks)
    plain = None
    as_it_is: tuple[float | None, ...] | None = None if offset is None else (None,)
    if gaps:
        others = replace(settings.choices, gaps=gaps)
        losses, plain = _losses(trial, others, as_it_is), _losses(trial, settings.choices, as_it_is)
        better = _is_lower(losses, plain)
        shown = ", ".join(f"{spelled[0]} in {name!r}" for name, spelled in gaps.items())
        verdict = (
            f"taken for a gap, with which the error of validation rows {_change(losses, plain)}"
            if better
            else ("used as a number: as a gap it does not predict validation rows better")
        )
        found = Decisions(
            others if better else settings.choices, None, (f"{shown} is far from the others, and {verdict}",)
        )
        plain = losses if better else plain
    if offset is not None:
        losses = _losses(trial, found.choices, (offset,))
        plain = _losses(trial, found.choices, as_it_is) if plain is None else plain
        if _is_lower(losses, plain):
            remark = (
                f"{targets[0]!r} has zeros and is skewed: the logarithm of {offset:.4g} + it is learned, with which "
                f"the error of validation rows {_change(losses, plain)}"
            )
            return replace(found, offsets=(offset,), remarks=(*found.remarks, remark))
    return found


def _sentinels(
    settings: TabularSettings, table: Table, targets: Sequence[str], learn: Indices
) -> dict[str, tuple[str, ...]]:
    """Return by column the value that may stand for a gap; of columns whose reading you named, none."""
    choices = settings.choices
    passed = {*targets, *choices.read, *choices.ignore, *choices.categorical, *choices.numeric, *choices.aside}
    found: dict[str, tuple[str, ...]] = {}
    for name, column in table.columns.items():
        if name in passed or isinstance(column, Text):
            continue
        try:
            sentinel = sentinel_of(numbers_of(table, name)[learn])
        except InputError:
            continue  # the preparation says what is wrong with it
        if sentinel is not None:
            found[name] = (number_text(sentinel),)
    return found


def _offset(table: Table, targets: Sequence[str], task: str, loss: str, learn: Indices) -> float | None:
    """Return what to add before a logarithm of the target, where one may help; each row must have a logarithm."""
    if task != "regression" or len(targets) > 1 or loss == "poisson":
        return None
    values = numbers_of(table, targets[0])
    return offset_of(values[learn]) if values.min() >= 0 else None


def _trial(
    settings: TabularSettings,
    table: Table,
    targets: tuple[str, ...],
    task: str,
    loss: str,
    networks: Sequence[tuple[Indices, Indices]],
) -> Trial:
    """Return a trial on some of the rows, none of which are those of the test."""
    learn = np.sort(np.concatenate(networks[0]))
    held_out = networks[0][1]
    for _, validation in networks[1:]:
        if len(held_out) < _VALIDATION * len(learn):
            held_out = np.union1d(held_out, validation)
    random = generator(settings.seed, "trial")
    validation = np.sort(random.permutation(held_out)[: math.ceil(MOST_ROWS * _VALIDATION)])
    train = np.sort(random.permutation(np.setdiff1d(learn, held_out))[:MOST_ROWS])
    rows = np.concatenate([train, validation])
    order = np.argsort(rows)
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return Trial(settings, table.take(rows[order]), targets, task, loss, place[: len(train)], place[len(train) :])


def _losses(trial: Trial, choices: Choices, offsets: tuple[float | None, ...] | None) -> Floats | None:
    found = trial.model(choices, offsets=offsets)
    return None if found is None else found.losses(trial.validation)


def _is_lower(losses: Floats | None, before: Floats | None) -> bool:
    """Return whether losses are lower on average, by more than chance would have them."""
    if losses is None or before is None:
        return losses is not None
    gain = before - losses
    return float(gain.mean()) > _ERRORS * float(gain.std(ddof=1)) / math.sqrt(len(gain))


def _change(losses: Floats | None, before: Floats | None) -> str:
    if losses is None or before is None:
        return "can be measured at all"
    return f"is {1 - losses.mean() / before.mean():.1%} lower"
