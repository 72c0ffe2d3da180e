"""Checks of what a model file keeps besides its network: its digest does not tell whether it makes sense."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gdkernels.errors import FileError
from gdkernels.files.schema import is_of
from gdkernels.tabular.model.drift import kept_profiles

__all__ = ["check_history", "check_kept"]

_COUNT, _REAL = int, float | None


def check_kept(extra: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `FileError` unless what `TabularResult.for_model` wrote into a file is still of its kind.

    What is not there is not looked at: a file may be of an earlier version.
    """
    checks = {
        "data": str,
        "target": str,
        "task": str,
        "epochs": _COUNT,
        "best_epoch": int | None,
        "rows": {str: _COUNT},
        "metrics": {str: _REAL},
        "versions": {str: str},
    }
    for name, kind in checks.items():
        if extra.get(name) is not None and not _fits(extra[name], kind):
            raise _damaged(path, name)
    settings = extra.get("settings")
    if settings is not None and not (isinstance(settings, dict) and isinstance(settings.get("loss"), str)):
        raise _damaged(path, "settings")
    try:
        kept_profiles(extra)
    except TypeError:
        raise _damaged(path, "profiles") from None
    check_history(extra, path)


def check_history(extra: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `FileError` unless the losses that a file keeps are those of epochs."""
    history = extra.get("history")
    if history is not None and not (isinstance(history, list) and all(map(_is_history, history))):
        raise _damaged(path, "history")


def _is_history(told: Any) -> bool:
    if not isinstance(told, dict) or not {"loss", "validation_loss", "best_epoch", "stopped"} <= set(told):
        return False
    loss, validation = told["loss"], told["validation_loss"]
    return (
        _fits(loss, [float])
        and len(loss) > 0
        and (validation is None or (_fits(validation, [_REAL]) and len(validation) in (0, len(loss))))
        and is_of(told["best_epoch"], int | None)
        and is_of(told["stopped"], str)
    )


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, or [a list of that], or {a dictionary by names: of that}."""
    if isinstance(kind, list):
        return isinstance(value, list) and all(is_of(v, kind[0]) for v in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(is_of(v, kind[str]) for v in value.values())
    return is_of(value, kind)


def _damaged(path: str | os.PathLike[str], what: str) -> FileError:
    return FileError(f"cannot read the model {os.fspath(path)}: what it keeps as its {what} makes no sense")
