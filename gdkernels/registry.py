"""Finding, choosing and explaining backends.

Plug-ins are entry points of the group ``gdkernels.backends``, ours like anybody's. What the user named fails loudly;
what was guessed falls back and says so.
"""

import logging
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from gdkernels.backend import PRECISIONS, Backend
from gdkernels.errors import BackendError, unknown_name

__all__ = ["Choice", "Found", "choose", "find", "get"]

GROUP = "gdkernels.backends"

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class Found:
    """An installed plug-in.

    Attributes
    ----------
    backend
        None where the plug-in could not be loaded.
    problem
        Why it cannot run here, with the fixing command; None if it can.
    source
        The distribution that brought it, with its version.
    """

    name: str
    backend: Backend | None
    problem: str | None
    source: str


@dataclass(frozen=True)
class Choice:
    """A backend and a device, and why these."""

    backend: Backend
    device: str
    reason: str


@cache
def find() -> dict[str, Found]:
    """Return every installed backend by name, the highest priority first; nothing that is broken breaks the others.

    Raises
    ------
    BackendError
        If two distributions bring a backend of the same name; it names both.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = points.setdefault(point.name, point)
        if other.value != point.value or _source(other) != _source(point):
            raise BackendError(
                f"two backends are named {point.name!r}: {other.value} of {_source(other)} and {point.value} of "
                f"{_source(point)}; uninstall one of them"
            )
    found = [_load(point) for point in points.values()]
    found.sort(key=lambda f: (-(f.backend.priority if f.backend else -1), f.name))
    return {f.name: f for f in found}


def _load(point: EntryPoint) -> Found:
    try:
        backend = point.load()()
        if not isinstance(backend, Backend):
            raise TypeError(f"{point.value} is not a gdkernels.backend.Backend")
        return Found(point.name, backend, backend.unavailable(), _source(point))
    except Exception as error:  # whatever a stranger's plug-in raises, the others go on
        problem = f"its plug-in is broken: {type(error).__name__}: {error} (in {_source(point)})"
        return Found(point.name, None, problem, _source(point))


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def get(name: str) -> Backend:
    """Return the backend called `name`.

    Raises
    ------
    InputError
        If there is none of that name.
    BackendError
        If it cannot run here; the message says why and what would fix it.
    """
    found = find().get(name)
    if found is None:
        raise unknown_name("backend", name, find(), hint="`python -m gdkernels backends` shows what each needs.")
    if found.backend is None or found.problem is not None:
        raise BackendError(f"backend {name!r} cannot run here: {found.problem}")
    return found.backend


def choose(backend: str | Backend = "auto", device: str | None = None, precision: str = "float32") -> Choice:
    """Return where to run: the argument, else GDKERNELS_BACKEND and GDKERNELS_DEVICE, else the best that can.

    Raises
    ------
    InputError
        For a name that is not known.
    BackendError
        Where what was asked for cannot run here; the message says why and what would fix it.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    asked = "as asked for"
    if isinstance(backend, str) and backend == "auto" and os.environ.get("GDKERNELS_BACKEND"):
        backend, asked = os.environ["GDKERNELS_BACKEND"], "by GDKERNELS_BACKEND"
    if device is None and os.environ.get("GDKERNELS_DEVICE"):
        device = os.environ["GDKERNELS_DEVICE"]
    if backend == "auto":
        return _choose_automatically(device, precision)
    chosen = get(backend) if isinstance(backend, str) else backend
    problem = _problem(chosen, device, precision)
    if problem is not None:
        raise BackendError(f"backend {chosen.name!r} {problem}")
    choice = Choice(chosen, device or chosen.devices()[0], asked)
    _log.debug("running on %s (%s), %s", chosen.name, choice.device, asked)
    return choice


def _choose_automatically(device: str | None, precision: str) -> Choice:
    passed_over = []
    for found in find().values():
        backend = found.backend
        if backend is None or found.problem is not None:
            problem = f"cannot run here: {found.problem}"
            if backend is not None and device is None and _expected(backend):
                _warn_once(f"backend {found.name!r} {problem}")
        else:
            problem = _problem(backend, device, precision) or ""
        if problem:
            passed_over.append(f"{found.name} {problem}")
            continue
        assert backend is not None
        reason = "the best that can run here" + (f" ({'; '.join(passed_over)})" if passed_over else "")
        choice = Choice(backend, device or backend.devices()[0], reason)
        _log.info("running on %s (%s): %s", backend.name, choice.device, reason)
        return choice
    wish = f"device {device!r} and " if device else ""
    raise BackendError(f"no backend can do {wish}precision {precision!r} here: {'; '.join(passed_over)}")


def _problem(backend: Backend, device: str | None, precision: str) -> str | None:
    """Return why a backend that can run is not able to do what is asked, if it is not."""
    if precision not in backend.precisions:
        return f"cannot do precision {precision!r}; it can do {', '.join(backend.precisions)}"
    if device is not None and device not in backend.devices():
        return f"has no device {device!r}; it has {', '.join(backend.devices())}"
    return None


def _expected(backend: Backend) -> bool:
    try:
        return backend.expected()
    except Exception:  # a stranger's plug-in again
        return False


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s; falling back", message)
