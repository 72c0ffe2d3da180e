"""Choosing a backend and a device: those that you named, or the best that can run here.

A backend that you named raises an error if it cannot run. If gdkernels chose it, it falls back and warns.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from gdkernels.backend import PRECISIONS, Backend
from gdkernels.dispatch import registry
from gdkernels.dispatch.estimates import Estimate, estimates
from gdkernels.dispatch.preference import BY_PRIORITY, preferred
from gdkernels.dispatch.registry import Found
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError, InputError, shown
from gdkernels.system.given import one_of

__all__ = ["Choice", "choose", "decide"]

_NONE: Mapping[str, str] = MappingProxyType({})

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class Choice:
    """A backend and a device, and why these.

    Attributes
    ----------
    estimates
        The estimated time of each candidate, in the order of priority, if it was chosen by them.
    guessed
        Whether nobody named the backend: then another takes its place where it fails.
    """

    backend: Backend
    device: str
    reason: str
    estimates: tuple[Estimate, ...] = ()
    guessed: bool = False


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
    """Return the choice of `choose` and its warnings, without logging either."""
    one_of("precision", precision, PRECISIONS)
    if device is not None and not isinstance(device, str):
        raise InputError(f"device must be a name, such as 'cpu' or 'cuda:0', or None, got {shown(device)}")
    by_backend = by_device = ""
    if isinstance(backend, str) and backend == "auto" and os.environ.get("GDKERNELS_BACKEND"):
        backend, by_backend = os.environ["GDKERNELS_BACKEND"], "GDKERNELS_BACKEND"
    if device is None and os.environ.get("GDKERNELS_DEVICE"):
        device, by_device = os.environ["GDKERNELS_DEVICE"], "GDKERNELS_DEVICE"
    if isinstance(backend, str) and backend == "auto":
        return _decide_automatically(device, precision, by_device, work, failed)

    if isinstance(backend, str):
        found = registry.named(backend, by_backend)
    elif not isinstance(backend, Backend):
        raise InputError(f"backend must be a name, such as 'auto', or a Backend, got {shown(backend)}")
    else:
        found = registry.examined(backend.name, backend, "passed as an object")
        if found.problem is not None:
            raise BackendError(f"backend {backend.name!r} cannot run here: {found.problem}")
    assert found.backend is not None
    problem = _unfit(found, device, precision, by_device)
    if problem is not None:
        raise BackendError(f"backend {found.name!r} {problem}")
    if (problem := registry.prepare(found.backend)) is not None:
        by = f" (set by {by_backend})" if by_backend else ""
        raise BackendError(f"backend {found.name!r}{by} cannot run here: {problem}")
    asked = " and ".join(name for name in (by_backend, by_device) if name)
    place = (found.backend, device or found.devices[0])
    return Choice(*place, f"set by {asked}" if asked else "as asked for"), []


def _decide_automatically(
    device: str | None, precision: str, by_device: str, work: Workload | None, failed: Mapping[str, str]
) -> tuple[Choice, list[str]]:
    able: list[Found] = []
    passed_over = [f"{name} failed: {why}" for name, why in failed.items()]
    in_short = list(passed_over)  # where nothing tells of a backend's hardware, nobody waits for how to install it
    warnings = [f"backend {name!r} failed: {why}" for name, why in failed.items()]
    # A plug-in that does not load has no priority, so it cannot be said to be worse than the one chosen: all are named.
    for found in sorted(registry.find().values(), key=lambda f: f.backend is not None):
        if found.name in failed:
            continue
        problem = f"cannot run here: {found.problem}" if found.problem else _unfit(found, device, precision, by_device)
        if problem is None:
            able.append(found)
        elif not able:
            passed_over.append(f"{found.name} {problem}")
            unexpected = found.problem and found.backend is not None and not _expected(found.backend)
            in_short.append(f"{found.name} {_first_clause(problem)}" if unexpected else passed_over[-1])
            if found.problem and device is None and _expected(found.backend):
                warnings.append(f"backend {found.name!r} {problem}")
    while able:
        choice = _best(able, device, precision, work)
        if (problem := registry.prepare(choice.backend)) is not None:
            able = [found for found in able if found.backend is not choice.backend]
            passed_over.append(f"{choice.backend.name} cannot run here: {problem}")
            in_short.append(passed_over[-1])
            if device is None and _expected(choice.backend):
                warnings.append(f"backend {choice.backend.name!r} cannot run here: {problem}")
            continue
        others = f" ({'; '.join(in_short)})" if in_short else ""
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
    found = tuple(estimates(places, precision, work, registry.versions()))
    best, reason = preferred(found, work, precision)
    chosen = best.candidate
    return Choice(backends[chosen.backend], chosen.device, reason, found, guessed=True)


def _unfit(found: Found, device: str | None, precision: str, by_device: str) -> str | None:
    """Return why a backend that can run cannot do what you ask, or None if it can."""
    assert found.backend is not None
    if precision not in found.backend.precisions:
        lacking = found.backend.lacks(precision)
        why = f" here: {lacking}" if lacking else ""
        return f"cannot do precision {precision!r}{why}; it can do {', '.join(found.backend.precisions)}"
    if device is not None and device not in found.devices:
        by = f" (set by {by_device})" if by_device else ""
        return f"has no device {shown(device)}{by}; it has {', '.join(found.devices)}"
    return None


def _first_clause(problem: str) -> str:
    """Return what is wrong, without how to mend it, which `gdkernels doctor` says."""
    cannot, colon, why = problem.partition(": ")
    return cannot + colon + re.split("[:;] ", why, maxsplit=1)[0]


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s; falling back", message)


def _expected(backend: Backend | None) -> bool:
    try:
        return backend is not None and backend.expected()
    except Exception:  # a stranger's plug-in again
        return False
