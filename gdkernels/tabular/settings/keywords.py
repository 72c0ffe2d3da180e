"""The keywords of a `TabularPredictor`, each by itself: what it may be, and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any

from gdkernels.definition import optimizers
from gdkernels.definition.chain import NO_BATCH_NORM, NORMS
from gdkernels.definition.naming import describe, names, resolve
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.given import checked_path, is_one_of, items_of, one_of
from gdkernels.system.ranges import POSITIVE, SHARE, NumberRange, at_least, whole
from gdkernels.tables.column.reading import reading_of
from gdkernels.tables.preparation.outcomes import Bounds
from gdkernels.tables.preparation.task import TASKS
from gdkernels.tabular.settings import defaults
from gdkernels.training.checkpointing import USUAL, Cadence

__all__ = [
    "CLASS_LOSSES",
    "CLASS_WEIGHTS",
    "ENCODINGS",
    "OUTSIDE",
    "RANGES",
    "SWITCHES",
    "bounds_of",
    "check_checkpoints",
    "check_for_solver",
    "check_names",
    "check_numbers",
    "formats_of",
    "optimizer_of",
    "units_of",
]

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
SWITCHES = ("drop_missing", "residual", "nesterov", "quick", "best", "explain", "resume")
CLASS_WEIGHTS = ("none", "balanced")
ENCODINGS = ("auto", "none", "piecewise")
OUTSIDE = ("extrapolate", "hold")


def check_numbers(given: Mapping[str, Any]) -> None:
    """Refuse numbers outside their ranges."""
    for name, allowed in RANGES.items():
        value = given[name]
        if (value is not None or name in _NEEDED) and not allowed.has(value):
            raise InputError(f"{keyword(name)} must be {allowed.wanted}, got {shown(value)}")


def check_names(given: Mapping[str, Any]) -> None:
    """Refuse names that nothing has."""
    for name, allowed in (
        ("task", ("auto", *TASKS)),
        ("class_weight", CLASS_WEIGHTS),
        ("encoding", ENCODINGS),
        ("outside", OUTSIDE),
    ):
        one_of(name, given[name], allowed)
    if given["norm"] is not None:
        one_of("norm", given["norm"], NORMS, hint=NO_BATCH_NORM)
    activations = given["activation"]
    for one in activations if isinstance(activations, (list, tuple)) else [activations]:
        resolve("activation", one)
    for kind_of_value in ("loss", "schedule"):
        if given[kind_of_value] is not None:
            resolve(kind_of_value, given[kind_of_value])


def check_checkpoints(given: Mapping[str, Any]) -> None:
    """Refuse what is said of checkpoints where there are none."""
    if given["checkpoint"] is not None:
        checked_path(keyword("checkpoint"), given["checkpoint"])
    elif given["resume"]:
        raise InputError(f"{keyword('resume')} goes on from checkpoints; give {keyword('checkpoint', 'DIR')} too")
    if Cadence.parse(given["every"]) != Cadence.parse(USUAL) and given["checkpoint"] is None:
        raise InputError(f"{keyword('every')} is for checkpoints; give {keyword('checkpoint', 'DIR')} too")


def formats_of(read: Any) -> dict[str, str]:
    """Return the formats in which columns are to be read, by the names of the columns."""
    if read is not None and not isinstance(read, Mapping):
        raise InputError(f"{keyword('read')} must be a dict of columns and formats, got {shown(read)}")
    formats = {str(name): str(words) for name, words in (read or {}).items()}
    for name, words in formats.items():
        reading_of(name, words)
    return formats


def bounds_of(given: Any) -> Bounds:
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


def units_of(hidden: Any) -> tuple[int, ...]:
    units = (hidden,) if whole(1).has(hidden) else items_of(hidden)
    if units is None or isinstance(hidden, (Mapping, Set)) or not all(map(whole(1).has, units)):
        raise InputError(
            f"{keyword('hidden')} must be the units of each hidden layer, such as (128, 64); got {shown(hidden)}"
        )
    return tuple(map(int, units))


def check_for_solver(solver: Solver, given: Mapping[str, Any]) -> None:
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


def optimizer_of(given: Any, rate: Any, momentum: Any, nesterov: Any) -> Optimizer | Solver:
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
