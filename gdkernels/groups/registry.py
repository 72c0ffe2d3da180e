"""The registry of groups: plug-ins of the entry-point group ``gdkernels.groups``, loaded when one is named."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING

from gdkernels.errors import BackendError, InputError, shown, unknown_name
from gdkernels.groups.contract import Group
from gdkernels.groups.serial import SerialGroup
from gdkernels.system.given import is_one_of
from gdkernels.system.libraries import first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUPS", "joined", "names"]

GROUPS = "gdkernels.groups"

_log = logging.getLogger("gdkernels")

_CHOOSING = ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE")


def joined(group: str | Group | None) -> Group:
    """Return the group of this name, which this process joins once; None is this process alone.

    Raises
    ------
    InputError
        If there is none of that name, or its plug-in is broken.
    BackendError
        If it cannot be used here; the message says why and what would fix it.
    """
    if group is None or is_one_of(group, ("none",)):
        return _alone()
    if isinstance(group, str):
        return _named(group)
    if not isinstance(group, Group):
        raise InputError(f"group must be a name, a gdkernels.groups.Group or None, got {shown(group)}")
    return group


def names() -> tuple[str, ...]:
    """Return the names of the groups that are installed."""
    return tuple(dict.fromkeys(("serial", *_points())))


@cache
def _alone() -> Group:
    return SerialGroup()


@cache
def _named(name: str) -> Group:
    if name == SerialGroup.name:
        return _alone()
    points = _points().get(name, ())
    if not points:
        raise unknown_name("group", name, names(), hint="Groups are plug-ins: pip install 'gdkernels[mpi]' brings mpi.")
    if len(points) > 1:
        raise InputError(f"two groups are named {name!r}: {' and '.join(p.value for p in points)}; uninstall one")
    try:
        kind = points[0].load()
        if not (isinstance(kind, type) and issubclass(kind, Group) and kind.name == name):
            raise TypeError(f"{points[0].value} is no Group of the name {name!r}")
        problem = kind.unavailable()
    except Exception as error:  # whatever a stranger's plug-in raises
        raise BackendError(
            f"the plug-in of group {name!r} is broken ({first_line(error)}): update or uninstall it"
        ) from error
    if problem is not None:
        raise BackendError(f"group {name!r} cannot be used here: {problem}")
    group = kind()
    if group.rank:  # whatever there is to say, rank 0 says it too
        _log.addFilter(_of_errors)
    _take_variables_of_rank_0(group)
    return group


def _take_variables_of_rank_0(group: Group) -> None:
    """Have all ranks choose by the same variables, so that each computes what another would."""
    mine = {name: os.environ.get(name) for name in _CHOOSING}
    everybody = [mine] if group.size == 1 else group.gather_json(mine)
    for name, value in everybody[0].items():
        for rank, of_rank in enumerate(everybody):
            if of_rank[name] != value:
                _log.warning(
                    "rank %d has %s=%s, and rank 0 has %s: that of rank 0 counts",
                    *(rank, name, of_rank[name], "none" if value is None else value),
                )
        if mine[name] != value:
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _of_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@cache
def _points() -> dict[str, tuple[EntryPoint, ...]]:
    from importlib.metadata import entry_points

    points: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUPS):
        points[point.name] = (*points.get(point.name, ()), point)
    return points
