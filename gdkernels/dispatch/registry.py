"""Finding, choosing and explaining backends.

Plug-ins are entry points of the group ``gdkernels.backends``, ours like anybody's. A plug-in is loaded if the user
names it, or when all are compared. A backend that the user named raises an error if it cannot run. If gdkernels chose
it, it falls back and warns.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from gdkernels.backend import CONTRACT, PRECISIONS, Backend
from gdkernels.dispatch.estimates import Estimate, estimates
from gdkernels.dispatch.preference import BY_PRIORITY, preferred
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError, unknown_name
from gdkernels.system.forks import undivided
from gdkernels.system.libraries import first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Choice", "Found", "choose", "decide", "find", "get", "prepared", "versions"]

GROUP = "gdkernels.backends"

_LIBRARIES = ("gdkernels", "numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x")

_NONE: Mapping[str, str] = MappingProxyType({})

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
    devices
        The names of its devices, the default first; none where it cannot run.
    """

    name: str
    backend: Backend | None
    problem: str | None
    source: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A backend and a device, and why these.

    Attributes
    ----------
    estimates
        What each candidate was estimated to take, in the order of priority; none where the work was not known.
    guessed
        Whether nobody named the backend: then another takes its place where it fails.
    """

    backend: Backend
    device: str
    reason: str
    estimates: tuple[Estimate, ...] = ()
    guessed: bool = False


def find() -> dict[str, Found]:
    """Return every installed backend by name, the highest priority first; nothing that is broken breaks the others.

    Raises
    ------
    BackendError
        If two distributions bring a backend of the same name; it names both.
    """
    found = [_found(name) for name in _points()]
    found.sort(key=lambda f: (f.backend is None, -f.backend.priority if f.backend else 0, f.name))
    return {f.name: f for f in found}


def prepared(found: Found) -> Found:
    """Return what was found once it has loaded what it needs, with the problem where that fails."""
    if found.backend is None or found.problem is not None:
        return found
    problem = _prepare(found.backend)
    return found if problem is None else replace(found, problem=problem, devices=())


def get(name: str) -> Backend:
    """Return the backend called `name`; no other is loaded.

    Raises
    ------
    InputError
        If there is none of that name.
    BackendError
        If it cannot run here, the message says why and what would fix it; or if two distributions bring one.
    """
    backend = _get(name).backend
    assert backend is not None
    return backend


def choose(
    backend: str | Backend = "auto",
    device: str | None = None,
    precision: str = "float32",
    work: Workload | None = None,
    failed: Mapping[str, str] = _NONE,
) -> Choice:
    """Return where to run: the argument, else GDKERNELS_BACKEND and GDKERNELS_DEVICE, else the best that can.

    That is the one of the highest priority, or where `work` is known, the one that `gdkernels.dispatch.preference`
    takes by the estimates; nothing is measured here.

    Parameters
    ----------
    failed
        Backends that are not to be chosen again, and what they failed with.

    Raises
    ------
    InputError
        For a name that is not known.
    BackendError
        If what was asked for cannot run here; the message says why and what would fix it.
    """
    choice, warnings = decide(backend, device, precision, work, failed)
    for message in warnings:
        _warn_once(message)
    _log.info("running on %s (%s): %s", choice.backend.name, choice.device, choice.reason)
    return choice


def decide(
    backend: str | Backend = "auto",
    device: str | None = None,
    precision: str = "float32",
    work: Workload | None = None,
    failed: Mapping[str, str] = _NONE,
) -> tuple[Choice, list[str]]:
    """Return what `choose` does, and what it would warn of, without logging either."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    by_backend = by_device = ""
    if isinstance(backend, str) and backend == "auto" and os.environ.get("GDKERNELS_BACKEND"):
        backend, by_backend = os.environ["GDKERNELS_BACKEND"], "GDKERNELS_BACKEND"
    if device is None and os.environ.get("GDKERNELS_DEVICE"):
        device, by_device = os.environ["GDKERNELS_DEVICE"], "GDKERNELS_DEVICE"
    if isinstance(backend, str) and backend == "auto":
        return _decide_automatically(device, precision, by_device, work, failed)

    if isinstance(backend, str):
        found = _get(backend, by_backend)
    else:
        found = _inspect(backend.name, backend, "passed as an object")
        if found.problem is not None:
            raise BackendError(f"backend {backend.name!r} cannot run here: {found.problem}")
    assert found.backend is not None
    problem = _unfit(found, device, precision, by_device)
    if problem is not None:
        raise BackendError(f"backend {found.name!r} {problem}")
    if (problem := _prepare(found.backend)) is not None:
        by = f" (set by {by_backend})" if by_backend else ""
        raise BackendError(f"backend {found.name!r}{by} cannot run here: {problem}")
    asked = " and ".join(name for name in (by_backend, by_device) if name)
    place = (found.backend, device or found.devices[0])
    known = () if work is None else tuple(estimates([place], precision, work, versions()))
    return Choice(*place, f"set by {asked}" if asked else "as asked for", known), []


def _decide_automatically(
    device: str | None, precision: str, by_device: str, work: Workload | None, failed: Mapping[str, str]
) -> tuple[Choice, list[str]]:
    able: list[Found] = []
    passed_over = [f"{name} failed: {why}" for name, why in failed.items()]
    warnings = [f"backend {name!r} failed: {why}" for name, why in failed.items()]
    # A plug-in that does not load has no priority, so it cannot be said to be worse than the one chosen: all are named.
    for found in sorted(find().values(), key=lambda f: f.backend is not None):
        if found.name in failed:
            continue
        problem = f"cannot run here: {found.problem}" if found.problem else _unfit(found, device, precision, by_device)
        if problem is None:
            able.append(found)
        elif not able:
            passed_over.append(f"{found.name} {problem}")
            if found.problem and device is None and _expected(found.backend):
                warnings.append(f"backend {found.name!r} {problem}")
    while able:
        choice = _best(able, device, precision, work)
        if (problem := _prepare(choice.backend)) is not None:
            able = [found for found in able if found.backend is not choice.backend]
            passed_over.append(f"{choice.backend.name} cannot run here: {problem}")
            if device is None and _expected(choice.backend):
                warnings.append(f"backend {choice.backend.name!r} cannot run here: {problem}")
            continue
        others = f" ({'; '.join(passed_over)})" if passed_over else ""
        return replace(choice, reason=choice.reason + others), warnings
    if not passed_over:
        raise BackendError("no backend is installed: pip install gdkernels (in a checkout: pip install -e .)")
    wish = f"device {device!r}{f' ({by_device})' if by_device else ''} and " if device else ""
    raise BackendError(f"no backend can do {wish}precision {precision!r} here: {'; '.join(passed_over)}")


def _best(able: list[Found], device: str | None, precision: str, work: Workload | None) -> Choice:
    """Return the choice among those that can run, the highest priority first."""
    backends = {f.name: f.backend for f in able if f.backend is not None}
    if work is None:
        return Choice(backends[able[0].name], device or able[0].devices[0], BY_PRIORITY, guessed=True)
    places = [(backends[f.name], d) for f in able for d in ([device] if device else f.devices)]
    found = tuple(estimates(places, precision, work, versions()))
    best, reason = preferred(found, work, precision)
    chosen = best.candidate
    return Choice(backends[chosen.backend], chosen.device, reason, found, guessed=True)


@cache
def versions() -> dict[str, str]:
    """Return the versions of what decides how fast backends are: their distributions, and the libraries below."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    plug_ins = {name: " and ".join(map(_source, points)) for name, points in _points().items()}
    return found | {f"backend {name}": plug_ins[name] for name in sorted(plug_ins)}


def _get(name: str, by: str = "") -> Found:
    """Return the plug-in called `name`, which can run; `by` is the environment variable that named it, if one did."""
    origin = f"It is set by {by}. " if by else ""
    if name not in _points():
        raise unknown_name(
            "backend", name, _points(), hint=f"{origin}`python -m gdkernels backends` shows what each needs."
        )
    found = _found(name)
    if found.problem is not None:
        raise BackendError(f"backend {name!r}{f' (set by {by})' if by else ''} cannot run here: {found.problem}")
    return found


def _unfit(found: Found, device: str | None, precision: str, by_device: str) -> str | None:
    """Return why a backend that can run is not able to do what is asked, if it is not."""
    assert found.backend is not None
    if precision not in found.backend.precisions:
        lacking = found.backend.lacks(precision)
        why = f" here: {lacking}" if lacking else ""
        return f"cannot do precision {precision!r}{why}; it can do {', '.join(found.backend.precisions)}"
    if device is not None and device not in found.devices:
        by = f" (set by {by_device})" if by_device else ""
        return f"has no device {device!r}{by}; it has {', '.join(found.devices)}"
    return None


@cache
def _points() -> dict[str, tuple[EntryPoint, ...]]:
    from importlib.metadata import entry_points  # costs more than all of gdkernels

    points: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        points[point.name] = (*points.get(point.name, ()), point)
    return points


@cache
def _found(name: str) -> Found:
    point, *others = _points()[name]
    for other in others:
        raise BackendError(
            f"two backends are named {name!r}: {point.value} of {_source(point)} and {other.value} of "
            f"{_source(other)}; uninstall one of them"
        )
    try:
        with undivided:
            backend = point.load()()
    except Exception as error:  # whatever a stranger's plug-in raises, the others go on
        return Found(name, None, _broken(error), _source(point))
    return _inspect(name, backend, _source(point))


def _inspect(name: str, backend: object, source: str) -> Found:
    try:
        if not isinstance(backend, Backend):
            raise TypeError(f"{type(backend).__name__} is not a gdkernels.backend.Backend")
        if backend.name != name:
            raise ValueError(f"it is registered as {name!r} and calls itself {backend.name!r}")
        if not isinstance(backend.priority, int):
            raise TypeError(f"its priority is {backend.priority!r}, not an integer")
        if not backend.precisions or not set(backend.precisions) <= set(PRECISIONS):
            raise ValueError(f"its precisions are {backend.precisions!r}; there are {', '.join(PRECISIONS)}")
        if type(backend).compile is not Backend.compile and backend.contract != CONTRACT:
            raise ValueError(
                f"it compiles for version {backend.contract} of the contract with backends, and this gdkernels has "
                f"version {CONTRACT}"
            )
    except Exception as error:
        return Found(name, None, _broken(error), source)
    try:
        problem = backend.unavailable()
        devices = () if problem else tuple(backend.devices())
        if not problem and not devices:
            raise ValueError("it can run but has no devices")
    except Exception as error:
        return Found(name, backend, _broken(error), source)
    return Found(name, backend, problem, source, devices)


def _prepare(backend: Backend) -> str | None:
    try:
        return backend.prepare()
    except Exception as error:
        return _broken(error)


def _broken(error: Exception) -> str:
    return f"its plug-in is broken ({first_line(error)}): update or uninstall it"


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _expected(backend: Backend | None) -> bool:
    try:
        return backend is not None and backend.expected()
    except Exception:  # a stranger's plug-in again
        return False


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s; falling back", message)
