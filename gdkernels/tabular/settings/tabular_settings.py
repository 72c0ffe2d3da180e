"""The keywords of a `TabularPredictor`, checked before anything is read: what all of them mean together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gdkernels.backend import Backend
from gdkernels.definition.naming import describe, resolve
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.dispatch import choosing
from gdkernels.errors import InputError, keyword
from gdkernels.groups import Group
from gdkernels.system.given import checked_progress, checked_switch
from gdkernels.system.memory import parse_bytes
from gdkernels.system.thread_limits import checked_threads
from gdkernels.tables.features.kinds import Choices
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.preparation.outcomes import Bounds
from gdkernels.tables.table.column_names import column_names
from gdkernels.tabular.settings import defaults
from gdkernels.tabular.settings.effort import QUICK, check_effort, time_limit_of
from gdkernels.tabular.settings.keywords import (
    CLASS_LOSSES,
    SWITCHES,
    bounds_of,
    check_checkpoints,
    check_for_solver,
    check_names,
    check_numbers,
    formats_of,
    optimizer_of,
    units_of,
)
from gdkernels.tabular.settings.split_rules import SplitRule

__all__ = ["TabularSettings", "chooses_penalty", "name_of"]


@dataclass(frozen=True)
class TabularSettings:
    """The keywords of a `TabularPredictor`, checked.

    Attributes
    ----------
    target
        The columns to be predicted; None is what the table itself names.
    choices
        The choices for other columns.
    options
        The form of text files.
    optimizer
        With the learning rate and the momentum that were said; or a solver in its place.
    rate_is_open
        Whether nobody said the learning rate.
    loss, schedule
        As they were given: a name, or an object.
    test
        0 where the figures are measured on a file of their own.
    time_limit
        The seconds of the search; None without one.
    memory
        In bytes.
    """

    target: tuple[str, ...] | None
    task: str
    choices: Choices
    options: TextOptions
    drop_missing: bool
    class_weight: str
    hidden: tuple[int, ...] | None
    activation: Any
    residual: bool
    norm: str | None
    dropout: float
    encoding: str
    loss: Any
    optimizer: Optimizer | Solver
    rate_is_open: bool
    schedule: Any
    l2: float | None
    clip_norm: float | None
    epochs: int | None
    batch_size: int | None
    patience: int | None
    starts: int
    average: int | None
    quick: bool
    best: bool
    time_limit: float | None
    retries: int
    search: int | None
    seed: int
    test: float
    validation: float | None
    split: SplitRule
    test_file: Any
    outside: str
    bounds: Bounds
    memory: int | None
    backend: str | Backend
    device: str | None
    precision: str
    threads: int | None
    group: str | Group | None
    shards: int | None
    explain: bool
    checkpoint: str | os.PathLike[str] | None
    every: str
    keep: int
    resume: bool
    progress: bool | None

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> TabularSettings:
        """Return the settings that the keywords `given` mean.

        Raises
        ------
        InputError
            For a keyword that cannot be, or that does not go with another; the message names both.
        """
        rest = dict(given) | {name: checked_switch(name, given[name]) for name in SWITCHES}
        rest["progress"] = checked_progress(given["progress"])
        check_numbers(given)
        check_effort(rest)
        rest |= {n: v for n, v in QUICK.items() if rest["quick"] and rest[n] is None}
        named = ("ignore", "keep_columns", "categorical", "numeric", "missing")
        columns = {name: column_names(name, rest.pop(name)) for name in named}
        options, formats = TextOptions(rest.pop("header"), rest.pop("skip_rows")), formats_of(rest.pop("read"))
        rate_is_open = rest["learning_rate"] is None and isinstance(rest["optimizer"], str)
        optimizer = optimizer_of(*(rest.pop(name) for name in ("optimizer", "learning_rate", "momentum", "nesterov")))
        if rest["class_weight"] is None:
            rest["class_weight"] = "none"
        split = SplitRule.of(rest["split"])
        if rest["outside"] is None:
            rest["outside"] = "hold" if split.kind == "time" else "extrapolate"
        check_names(rest)
        check_checkpoints(rest)
        if isinstance(optimizer, Solver):
            check_for_solver(optimizer, rest)
        if rest["test_file"] is not None:
            if rest["test"] not in (0, defaults.TEST):
                raise InputError(f"{keyword('test')} sets rows aside, and {keyword('test_file')} brings some; say one")
            rest["test"] = 0.0
        return cls(
            **rest
            | {
                "target": None if rest["target"] is None else column_names("target", rest["target"]),
                "choices": Choices(
                    columns["ignore"],
                    columns["keep_columns"],
                    columns["categorical"],
                    columns["numeric"],
                    formats,
                    columns["missing"],
                    aside=split.aside,
                    later=split.kind == "time",
                ),
                "options": options,
                "split": split,
                "bounds": bounds_of(rest["bounds"]),
                "hidden": None if rest["hidden"] is None else units_of(rest["hidden"]),
                "optimizer": optimizer,
                "time_limit": time_limit_of(rest),
                "rate_is_open": rate_is_open,
                "memory": None if rest["memory"] is None else parse_bytes(rest["memory"], keyword("memory")),
            }
        )

    def check_place(self) -> None:
        """Find out whether the backend and the device can run here, on as many threads as somebody allows.

        Raises
        ------
        BackendError, InputError
            If they cannot, or are not known.
        """
        checked_threads(self.threads)
        choosing.choose(self.backend, self.device, self.precision)

    @property
    def searches(self) -> bool:
        """Whether settings are tried that are drawn at random."""
        return self.best or self.search is not None

    @property
    def loss_name(self) -> str | None:
        """The loss by its name; None where the task decides."""
        return None if self.loss is None else name_of("loss", self.loss)

    @property
    def task_said(self) -> str:
        """The task as far as the keywords tell, before the table is seen."""
        return "classification" if self.loss_name in CLASS_LOSSES else self.task

    def without_target(self) -> TabularSettings:
        """Return the settings for a table that names its targets itself."""
        return replace(self, target=None)


def name_of(kind: Any, value: Any) -> str:
    """Return the name of a loss or a schedule that was given by name or as an object."""
    return str(describe(resolve(kind, value))["name"])


def chooses_penalty(settings: TabularSettings) -> bool:
    """Return whether the solver chooses the penalty by itself."""
    return isinstance(settings.optimizer, LevenbergMarquardt) and settings.optimizer.bayes
