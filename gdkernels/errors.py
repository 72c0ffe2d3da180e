"""The errors of gdkernels: each message says what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "BackendError",
    "DivergenceError",
    "FileError",
    "GdkernelsError",
    "InputError",
    "Interrupted",
    "ScheduleError",
    "TraceError",
    "keyword",
    "keywords_as",
    "shown",
    "unknown_name",
]


class GdkernelsError(Exception):
    """Base of every error that gdkernels raises on purpose.

    ``exit_code`` is the exit code of the command line: 2 for an error in the arguments or the data, 1 for a failure at
    run time.
    """

    exit_code = 1


class InputError(GdkernelsError, ValueError):
    """Something that you passed cannot be used: sizes, names, data, options."""

    exit_code = 2


class FileError(InputError):
    """A file that cannot be read or must not be written."""


class BackendError(GdkernelsError, RuntimeError):
    """A backend or device that you asked for cannot run here."""

    exit_code = 2


class TraceError(GdkernelsError, TypeError):
    """A function cannot be recorded; the message names the operation and your line."""

    exit_code = 2


class ScheduleError(GdkernelsError):
    """A graph that does not fall into tiles, accumulations and updates; the definition itself can still run."""


class DivergenceError(GdkernelsError, ArithmeticError):
    """Loss or parameters stopped being finite; the parameters are those of the last finite epoch."""


class Interrupted(KeyboardInterrupt):
    """A signal ended a fit that keeps checkpoints, between two steps and after a checkpoint was written.

    Like `KeyboardInterrupt` it is no error, so handlers of `Exception` let it pass. ``signal`` is the signal's number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def keyword(name: str, value: object = None) -> str:
    """Return how a message names a keyword, and the value to give it: ``task='regression'``.

    While the command line runs, it is the option of that meaning: ``--task regression``.
    """
    return _phrase.get()(name, value)


@contextmanager
def keywords_as(phrase: Callable[[str, object], str]) -> Iterator[None]:
    """Within this context, name keywords as `phrase` does: for a caller that is not Python."""
    token = _phrase.set(phrase)
    try:
        yield
    finally:
        _phrase.reset(token)


def _in_python(name: str, value: object) -> str:
    return name if value is None else f"{name}={value!r}"


_phrase: ContextVar[Callable[[str, object], str]] = ContextVar("phrase", default=_in_python)


def shown(value: object) -> str:
    """Return how a message shows what was given: as Python spells it if that is short, else what it is.

    A message never prints an array, of which nobody reads the numbers.
    """
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{kind} of shape {list(shape)}"
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        inner = list(value.values()) if isinstance(value, dict) else list(value)
        if len(inner) > _FEW or any(getattr(item, "shape", None) or isinstance(item, _NESTED) for item in inner):
            items = [shown(item) for item in inner[:3]]
            return f"{kind} of {len(inner):,}: {', '.join(items)}{', …' if len(inner) > 3 else ''}"
    text = repr(value) if not isinstance(value, (str, bytes)) or len(value) <= _LONG else repr(value[:_LONG]) + "…"
    return text if len(text) <= 2 * _LONG and "\n" not in text else f"an object of type {kind}"


_FEW, _LONG, _NESTED = 12, 60, (list, tuple, set, frozenset, dict)


def unknown_name(kind: str, name: object, choices: Iterable[str], *, hint: str = "") -> InputError:
    """Return the error for a name that is not among `choices`, closest names first."""
    from difflib import get_close_matches

    known = sorted(choices)
    lower = {choice.lower(): choice for choice in reversed(known)}
    close = get_close_matches(str(name).lower() if isinstance(name, (str, int)) else "", lower, n=1)
    guess = f" Did you mean {lower[close[0]]!r}?" if close else ""
    return InputError(f"unknown {kind} {shown(name)}.{guess} Choices: {', '.join(known)}.{' ' + hint if hint else ''}")
