"""The registry of backends: the plug-ins that are installed, and what keeps one from running here.

Plug-ins are entry points of the group ``gdkernels.backends``, ours like anybody's. A plug-in is loaded if the user
names it, or when all are compared. What a broken one raises becomes its problem, and the others go on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from gdkernels.backend import CONTRACT, PRECISIONS, Backend
from gdkernels.errors import BackendError, unknown_name
from gdkernels.system.forks import undivided
from gdkernels.system.libraries import first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Found", "examined", "find", "get", "named", "prepare", "prepared", "versions"]

GROUP = "gdkernels.backends"

_LIBRARIES = ("gdkernels", "numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x")


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
    """Return a plug-in that has loaded its libraries, or the same with the problem if that fails."""
    if found.backend is None or found.problem is not None:
        return found
    problem = prepare(found.backend)
    return found if problem is None else replace(found, problem=problem, devices=())


def get(name: str) -> Backend:
    """Return the backend called `name`; raises what `named` raises."""
    backend = named(name).backend
    assert backend is not None
    return backend


def named(name: str, by: str = "") -> Found:
    """Return the plug-in called `name`, which can run; no other is loaded.

    Parameters
    ----------
    by
        The environment variable that named it, if one did: messages say so.

    Raises
    ------
    InputError
        If there is none of that name.
    BackendError
        If it cannot run here, the message says why and what would fix it; or if two distributions bring one.
    """
    origin = f"It is set by {by}. " if by else ""
    if name not in _points():
        origin += "GPUs of NVIDIA are those of 'cupy'. " if name.lower().startswith(("cuda", "gpu")) else ""
        raise unknown_name(
            "backend", name, _points(), hint=f"{origin}`python -m gdkernels backends` shows what each needs."
        )
    found = _found(name)
    if found.problem is not None:
        raise BackendError(f"backend {name!r}{f' (set by {by})' if by else ''} cannot run here: {found.problem}")
    return found


def examined(name: str, backend: object, source: str) -> Found:
    """Return what `source` brought as a plug-in, with its problem where it is no backend or cannot run."""
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


def prepare(backend: Backend) -> str | None:
    """Have a backend load its libraries, and return the problem if that fails."""
    try:
        return backend.prepare()
    except Exception as error:
        return _broken(error)


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
    return examined(name, backend, _source(point))


def _broken(error: Exception) -> str:
    return f"its plug-in is broken ({first_line(error)}): update or uninstall it"


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
