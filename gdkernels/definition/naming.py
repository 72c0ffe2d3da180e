"""Names of the definition's values: what a user types, and what a file keeps.

Everywhere a built-in activation, loss, optimizer, schedule or solver can be named, an object can stand in its place:
the built-in with other parameters, or the user's own. Files keep the name and the parameters, never code.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import FunctionType
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np

from gdkernels.errors import InputError, shown, unknown_name
from gdkernels.system.loaded import is_of

__all__ = ["KINDS", "Kind", "built_ins", "describe", "names", "resolve", "restore"]

Kind = Literal["activation", "loss", "optimizer", "schedule", "solver"]

KINDS: tuple[Kind, ...] = get_args(Kind)

# Where the built-ins of a kind are, in a table BY_NAME: a network that only predicts never loads schedules and solvers.
_HOMES: dict[Kind, str] = {
    "activation": "gdkernels.definition.activations",
    "loss": "gdkernels.definition.losses",
    "optimizer": "gdkernels.definition.optimizers",
    "schedule": "gdkernels.definition.schedules",
    "solver": "gdkernels.definition.solvers",
}
_KINDS_BY_HOME = {home: kind for kind, home in _HOMES.items()}

_WANTED = {
    "activation": "a function f(z, *, xp)",
    "loss": "a function loss(prediction, target, *, xp)",
    "optimizer": "an Optimizer",
    "schedule": "a function factor(epoch, *, epochs, losses)",
    "solver": "a Solver",
}

# How functions of a kind are called: so many arrays or numbers, and these keywords.
_CALLED: dict[Kind, tuple[int, tuple[str, ...]]] = {
    "activation": (1, ("xp",)),
    "loss": (2, ("xp",)),
    "schedule": (1, ("epochs", "losses")),
}

# The kinds whose values are objects of one class; those of the others are functions, or are called like one.
_CLASSES: dict[Kind, str] = {"optimizer": "Optimizer", "solver": "Solver"}


@cache
def built_ins(kind: Kind) -> Mapping[str, Any]:
    """Return the built-ins of this kind by name: values, or classes of values with defaults."""
    found: Mapping[str, Any] = import_module(_HOMES[kind]).BY_NAME
    return found


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the built-ins of this kind."""
    return tuple(built_ins(kind))


def resolve(kind: Kind, value: Any) -> Any:
    """Return the activation, loss, optimizer, schedule or solver that a user means by `value`.

    Parameters
    ----------
    kind
        "activation", "loss", "optimizer", "schedule" or "solver".
    value
        A name, a built-in class, or an object or function to be used as it is.

    Raises
    ------
    InputError
        For a name that is not known, and for what cannot be used as such a thing.
    """
    if isinstance(value, str):
        if value not in built_ins(kind):
            if kind == "optimizer" and value in built_ins("solver"):
                raise InputError(f"{value!r} is a solver, not an optimizer: pass it as solver={value!r}")
            raise unknown_name(kind, value, built_ins(kind), hint=f"Or pass your own: {_WANTED[kind]}.")
        found = built_ins(kind)[value]
        return _with_defaults(found) if isinstance(found, type) else found
    meant = _built_in(value)
    if meant is not None and meant[0] != kind:
        if (kind, meant[0]) == ("optimizer", "solver"):
            raise InputError(f"{meant[1]!r} is a solver, not an optimizer: pass it as solver=…")
        raise InputError(f"{meant[1]!r} is {_with_article(meant[0])}, not {_with_article(kind)}")
    if isinstance(value, type):
        if meant is None:
            raise InputError(f"{kind} must be an object, got the class {value.__name__}: pass {value.__name__}(…)")
        return value()
    if not _can_be(kind, value):
        raise InputError(
            f"{kind} must be a name ({', '.join(built_ins(kind))}) or {_WANTED[kind]}, got {shown(value)} "
            f"of type {type(value).__name__}"
        )
    if meant is None and kind in _CALLED:
        _check_signature(kind, value)
    return value


def describe(value: Any) -> dict[str, Any]:
    """Return what a file keeps of `value`: for a built-in its name and parameters, otherwise a name alone.

    The result holds nothing but strings, numbers and booleans; `restore` is the way back.
    """
    meant = _built_in(value)
    if meant is None:
        return {"name": getattr(value, "__name__", type(value).__name__), "custom": True}
    return {"name": meant[1], **{field: _plain(getattr(value, field)) for field in _fields(value)}}


def restore(kind: Kind, description: Mapping[str, Any], objects: Mapping[str, Any] | None = None) -> Any:
    """Return the value that `describe` described.

    Parameters
    ----------
    objects
        By name, the functions and objects that are not built in.

    Raises
    ------
    InputError
        If the description is damaged, comes from a newer version, or names something that `objects` lacks.
    """
    name = description.get("name") if isinstance(description, Mapping) else None
    if not isinstance(name, str):
        raise InputError(f"the description of {_with_article(kind)} has no name: {description!r}")
    parameters = {key: value for key, value in description.items() if key != "name"}
    if parameters.pop("custom", False):
        if objects is None or name not in objects:
            key = name if name.isidentifier() else "function"
            raise InputError(
                f"the {kind} {name!r} is not built in, and files keep no code: "
                f"pass it when loading, gd.load(path, objects={{{name!r}: {key}}})"
            )
        return resolve(kind, objects[name])
    value = resolve(kind, name)
    unknown = sorted(set(parameters) - set(_fields(value)))
    if unknown:
        raise InputError(
            f"the {kind} {name!r} has no parameter {', '.join(map(repr, unknown))}; "
            "was the file written by a newer version of gdkernels?"
        )
    return dataclasses.replace(value, **parameters) if parameters else value


@cache
def _with_defaults(family: type) -> Any:
    """Return the value of a built-in class with its defaults, which never changes and is made once."""
    return family()


def _can_be(kind: Kind, value: Any) -> bool:
    return isinstance(value, _class_of(kind)) if kind in _CLASSES else callable(value)


@cache
def _class_of(kind: Kind) -> type:
    found: type = getattr(import_module(_HOMES[kind]), _CLASSES[kind])
    return found


def _check_signature(kind: Kind, value: Any) -> None:
    """Raise `InputError` for a function that cannot be called as those of its kind are."""
    count, keywords = _CALLED[kind]
    family = type(value)
    # All objects of a class that is written in Python are called alike, and to find out how takes longer than an epoch.
    is_one = isinstance(vars(family).get("__call__"), FunctionType) and not hasattr(value, "__signature__")
    if is_one and kind in _FIT.get(family, ()):
        return
    try:
        signature = inspect.signature(value.forward if is_of(value, "torch.nn", "Module") else value)
    except ValueError:  # a function of an extension may have none
        return
    try:
        signature.bind(*[None] * count, **dict.fromkeys(keywords))
    except TypeError as error:
        name = getattr(value, "__name__", type(value).__name__)
        raise InputError(f"{kind} must be {_WANTED[kind]}, got {name}{signature}: {error}") from None
    if is_one:
        _FIT.setdefault(family, set()).add(kind)


# The kinds of function that objects of a class were found to be.
_FIT: WeakKeyDictionary[type, set[Kind]] = WeakKeyDictionary()


def _built_in(value: Any) -> tuple[str, str] | None:
    """Return kind and name of a built-in, of a built-in's class, or of an object of that very class."""
    kind = _KINDS_BY_HOME.get(getattr(value, "__module__", ""))  # of an object, it is that of its class
    if kind is None:
        return None
    family = value if isinstance(value, type) else type(value)
    if dataclasses.is_dataclass(family):
        return _built_in_class(kind, family)
    return next(((kind, name) for name, one in built_ins(kind).items() if one is value), None)


@cache
def _built_in_class(kind: Kind, family: type) -> tuple[Kind, str] | None:
    for name, one in built_ins(kind).items():
        if family is (one if isinstance(one, type) else type(one)):
            return kind, name
    return None


def _fields(value: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(value)) if dataclasses.is_dataclass(value) else ()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
