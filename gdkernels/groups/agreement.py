"""What ranks must have in common, and how they end together when one of them fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gdkernels import errors
from gdkernels.errors import GdkernelsError, InputError
from gdkernels.groups.contract import Group

__all__ = ["agree", "end_together", "error_told", "from_rank_0", "guarded", "told_of"]

_DIGEST = 64  # characters of a SHA-256, which tells nobody anything
_GRACE = 1.0  # seconds within which the others come to the same error, or have not got it


def agree(group: Group, told: Mapping[str, Any], how: str = "give all ranks the same") -> None:
    """Compare what all ranks tell of themselves, by name.

    Raises
    ------
    InputError
        On all of them, if they differ; it names the first difference and its rank.
    """
    if group.size == 1:
        return
    everybody = group.gather_json(dict(told))
    first = everybody[0]
    for rank, one in enumerate(everybody):
        for name in {**first, **one}:
            if one.get(name) != first.get(name):
                raise InputError(f"rank {rank} has {_difference(name, one.get(name), first.get(name))}: {how}")


def from_rank_0(group: Group, make: Callable[[], bytes] | None) -> bytes:
    """Return on all ranks what `make` returns on rank 0, or raise there what it raises; others need not give one."""
    if group.rank:
        told = group.broadcast(None)
        if told[:1] == b"!":
            raise error_told(json.loads(told[1:]))
        return told[1:]
    assert make is not None, "rank 0 has something to tell"
    try:
        made = make()
    except GdkernelsError as error:
        group.broadcast(b"!" + json.dumps(told_of(error)).encode())
        raise
    group.broadcast(b"=" + made)
    return made


def told_of(error: GdkernelsError) -> list[str]:
    """Return what another rank needs to raise an error that ends it with the same exit code: its kind and message."""
    known = next(kind for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
    return [known.__name__, str(error)]


def error_told(told: Sequence[str]) -> GdkernelsError:
    """Return the error that another rank has told of by `told_of`."""
    kind: type[GdkernelsError] = getattr(errors, told[0], GdkernelsError)
    return kind(told[1])


@contextmanager
def guarded(group: Group) -> Iterator[None]:
    """Be in a call of all ranks: an error that all of them have is raised, and one that a rank has alone ends all.

    The others would wait for it.
    """
    with group.one_call():
        try:
            yield
        except BaseException as error:
            end_together(group, error)
            raise


def end_together(group: Group, error: BaseException, message: str | None = None, code: int | None = None) -> None:
    """Return if all ranks have an error; otherwise say it, and end them all."""
    if group.size == 1 or group.all_stop_here(_GRACE):
        return
    text = f"{type(error).__name__}: {error}" if message is None else message
    if isinstance(error, GdkernelsError) and message is None:
        text = str(error)
    if code is None:
        code = error.exit_code if isinstance(error, GdkernelsError) else _code(error)
    print(f"gdkernels: rank {group.rank} of {group.size}: {' '.join(text.split())}", file=sys.__stderr__, flush=True)
    group.abort(code)


def _code(error: BaseException) -> int:
    signal = getattr(error, "signal", None)
    if isinstance(signal, int):
        return 128 + signal
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _difference(name: str, mine: Any, others: Any) -> str:
    """Return in words how two values differ, as far inside as dictionaries go."""
    if isinstance(mine, dict) and isinstance(others, dict):
        for key in {**others, **mine}:
            if mine.get(key) != others.get(key):
                return _difference(f"{name}: {key}", mine.get(key), others.get(key))
    if isinstance(mine, str) and isinstance(others, str) and len(mine) == len(others) == _DIGEST:
        return f"other {name} than rank 0"
    return f"{name} {_short(mine)}, and rank 0 has {_short(others)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
