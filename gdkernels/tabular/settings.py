"""The keywords of a `TabularPredictor`, checked before anything is read, with names turned into what they mean."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from gdkernels.backend import Backend
from gdkernels.definition import optimizers
from gdkernels.definition.chain import NO_BATCH_NORM, NORMS
from gdkernels.definition.naming import describe, names, resolve
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.dispatch import choosing
from gdkernels.errors import InputError, keyword, shown
from gdkernels.groups import Group
from gdkernels.system.given import checked_path, checked_progress, checked_switch, is_one_of, items_of, one_of
from gdkernels.system.memory import parse_bytes
from gdkernels.system.ranges import POSITIVE, SHARE, NumberRange, at_least, whole
from gdkernels.system.thread_limits import checked_threads
from gdkernels.tables.column_names import column_names
from gdkernels.tables.kinds import Choices
from gdkernels.tables.outcomes import Bounds
from gdkernels.tables.reading import reading_of
from gdkernels.tables.task import TASKS
from gdkernels.tables.text import TextOptions
from gdkernels.tabular import defaults
from gdkernels.tabular.effort import QUICK, check_effort, time_limit_of
from gdkernels.tabular.split_rules import SplitRule
from gdkernels.training.checkpointing import USUAL, Cadence

__all__ = [
    "CLASS_LOSSES", "CLASS_WEIGHTS", "ENCODINGS", "OUTSIDE", "RANGES", "TabularSettings", "chooses_penalty", "name_of",
]  # fmt: skip

CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")

# Which numbers each keyword takes; None is always what the table's size asks for.
RANGES: dict[str, NumberRange] = {
    "learning_rate": POSITIVE,
    "momentum": SHARE,
    "l2": at_least(0),
    "dropout": SHARE,
    "clip_norm": POSITIVE,
    "epochs": whole(1),
    "batch_size": whole(1),
    "patience": whole(0),
    "starts": whole(1),
    "average": whole(1),
    "retries": whole(0),
    "search": whole(1),
    "seed": whole(0),
    "threads": whole(1),
    "shards": whole(1),
    "test": SHARE,
    "validation": SHARE,
    "keep": whole(1),
    "skip_rows": whole(0),
}
_NEEDED = ("dropout", "starts", "retries", "seed", "test", "keep", "skip_rows")
_SWITCHES = ("drop_missing", "residual", "nesterov", "quick", "best", "explain", "resume")
CLASS_WEIGHTS = ("none", "balanced")
ENCODINGS = ("auto", "none", "piecewise")
OUTSIDE = ("extrapolate", "hold")


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
        rest = dict(given) | {name: checked_switch(name, given[name]) for name in _SWITCHES}
        rest["progress"] = checked_progress(given["progress"])
        for name, allowed in RANGES.items():
            value = given[name]
            if (value is not None or name in _NEEDED) and not allowed.has(value):
                raise InputError(f"{keyword(name)} must be {allowed.wanted}, got {shown(value)}")
        check_effort(rest)
        rest |= {n: v for n, v in QUICK.items() if rest["quick"] and rest[n] is None}
        columns = {
            name: column_names(name, rest.pop(name))
            for name in ("ignore", "keep_columns", "categorical", "numeric", "missing")
        }
        read, header, skip_rows = rest.pop("read"), rest.pop("header"), rest.pop("skip_rows")
        if read is not None and not isinstance(read, Mapping):
            raise InputError(f"{keyword('read')} must be a dict of columns and formats, got {shown(read)}")
        options = TextOptions(header, skip_rows)
        formats = {str(name): str(words) for name, words in (read or {}).items()}
        for name, words in formats.items():
            reading_of(name, words)
        rate_is_open = rest["learning_rate"] is None and isinstance(rest["optimizer"], str)
        optimizer = _optimizer(*(rest.pop(name) for name in ("optimizer", "learning_rate", "momentum", "nesterov")))
        one_of("task", rest["task"], ("auto", *TASKS))
        if rest["norm"] is not None:
            one_of("norm", rest["norm"], NORMS, hint=NO_BATCH_NORM)
        if rest["checkpoint"] is not None:
            checked_path(keyword("checkpoint"), rest["checkpoint"])
        elif rest["resume"]:
            raise InputError(f"{keyword('resume')} goes on from checkpoints; give {keyword('checkpoint', 'DIR')} too")
        if Cadence.parse(rest["every"]) != Cadence.parse(USUAL) and rest["checkpoint"] is None:
            raise InputError(f"{keyword('every')} is for checkpoints; give {keyword('checkpoint', 'DIR')} too")
        weight = "none" if rest["class_weight"] is None else rest["class_weight"]
        one_of("class_weight", weight, CLASS_WEIGHTS)
        one_of("encoding", rest["encoding"], ENCODINGS)
        split = SplitRule.of(rest["split"])
        if rest["outside"] is None:
            rest["outside"] = "hold" if split.kind == "time" else "extrapolate"
        one_of("outside", rest["outside"], OUTSIDE)
        for name, value in (("loss", rest["loss"]), ("schedule", rest["schedule"])):
            if value is not None:
                resolve(name, value)  # type: ignore[arg-type]
        activations = rest["activation"]
        for one in activations if isinstance(activations, (list, tuple)) else [activations]:
            resolve("activation", one)
        if isinstance(optimizer, Solver):
            _check_for_solver(optimizer, rest)
        memory = rest["memory"]
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
                "bounds": _bounds(rest["bounds"]),
                "class_weight": weight,
                "hidden": None if rest["hidden"] is None else _units(rest["hidden"]),
                "optimizer": optimizer,
                "time_limit": time_limit_of(rest),
                "rate_is_open": rate_is_open,
                "memory": None if memory is None else parse_bytes(memory, keyword("memory")),
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


def _bounds(given: Any) -> Bounds:
    """Return the bounds of predictions: as they are, or as LOW:HIGH, of which either may be left out."""
    if given is None or is_one_of(given, ("auto", "none")):
        return "auto" if given == "auto" else None
    pair = given.split(":") if isinstance(given, str) else given
    try:
        low, high = (None if bound in (None, "") else float(bound) for bound in pair)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    said = [bound for bound in (low, high) if bound is not None]
    if not said or not all(map(math.isfinite, said)) or (len(said) == 2 and said[0] >= said[1]):
        raise InputError(
            f"{keyword('bounds')} must be auto, none, or LOW:HIGH, LOW below HIGH, of which either may be left out; "
            f"got {shown(given)}"
        )
    return low, high


def _units(hidden: Any) -> tuple[int, ...]:
    units = (hidden,) if whole(1).has(hidden) else items_of(hidden)
    if units is None or isinstance(hidden, (Mapping, Set)) or not all(map(whole(1).has, units)):
        raise InputError(
            f"{keyword('hidden')} must be the units of each hidden layer, such as (128, 64); got {shown(hidden)}"
        )
    return tuple(map(int, units))


def _check_for_solver(solver: Solver, given: Mapping[str, Any]) -> None:
    """Refuse what goes with optimizers beside a solver."""
    name = describe(solver)["name"]
    constant = describe(resolve("schedule", given["schedule"])) == describe(resolve("schedule", "constant"))
    said = {
        "batch_size": given["batch_size"] is not None,
        "schedule": not constant,
        "clip_norm": given["clip_norm"] is not None,
    }
    if wrong := [option for option, is_said in said.items() if is_said]:
        raise InputError(
            f"{keyword(wrong[0])} is for optimizers; {name} uses all the rows in each step, without a rate"
        )
    for name_of_search in ("best", "search"):
        if given[name_of_search]:
            raise InputError(
                f"{keyword(name_of_search)} draws rates and batches of an optimizer, and {name} has none: leave one out"
            )
    if isinstance(solver, LevenbergMarquardt) and solver.bayes and given["l2"]:
        raise InputError(f"{keyword('l2')} is chosen by LevenbergMarquardt(bayes=True): leave it out")


def _optimizer(given: Any, rate: Any, momentum: Any, nesterov: Any) -> Optimizer | Solver:
    """Return the optimizer or solver by its name, with what else was said of it, or as it was given."""
    options: dict[str, Any] = {name: value for name, value, said in (
        ("learning_rate", rate, rate is not None),
        ("momentum", momentum, momentum is not None),
        ("nesterov", bool(nesterov), bool(nesterov)),
    ) if said}  # fmt: skip
    if not isinstance(given, str):
        if options:
            name = next(iter(options))
            raise InputError(
                f"{keyword(name)} goes with an optimizer's name; set it in the {type(given).__name__} instead"
            )
        kind: Any = "solver" if isinstance(given, Solver) else "optimizer"
        found: Optimizer | Solver = resolve(kind, given)
        return found
    if given in names("solver"):
        if options:
            raise InputError(f"{keyword(next(iter(options)))} is for optimizers; {given} has none")
        solver: Solver = resolve("solver", given)
        return solver
    resolve("optimizer", given)  # refuses a name that is not known
    if given == "sgd":
        options.setdefault("momentum", defaults.MOMENTUM)
    elif wrong := [name for name in ("nesterov", "momentum") if name in options]:
        raise InputError(f"{keyword(wrong[0])} is for {keyword('optimizer', 'sgd')}; {given} has none")
    return optimizers.BY_NAME[given](**options)
