"""The ranks of a command that a launcher has started: one prints and writes, and none is left waiting for another."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import pairwise

from gdkernels.errors import GdkernelsError
from gdkernels.groups import Group, SerialGroup, joined
from gdkernels.groups.agreement import end_together
from gdkernels.groups.launchers import WORLD_SIZE, launched, world_size
from gdkernels.system.printable import one_line

__all__ = ["CommandRanks"]

_log = logging.getLogger("gdkernels")

_HELP = ("--help", "-h")
_LAUNCHED = "mpi"  # the group of what launchers start
_WRITTEN = ("out", "plot", "log_json")  # by rank 0 alone


class CommandRanks:
    """The ranks of a command, of which there is one until `join`.

    Parameters
    ----------
    arguments
        Those of the command, before they are parsed: an error in them is one that all ranks have.

    Attributes
    ----------
    is_quiet
        Whether this rank leaves printing to rank 0.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.group: Group = SerialGroup()
        self._started = started = launched()  # joining makes processes forget it
        named = _values("--group", arguments)
        shared = arguments[:1] == ["train"] and "none" not in named
        self.is_quiet = shared and started is not None and started.rank > 0
        by_mpi = {*named} <= {"auto", _LAUNCHED} and not {*_HELP} & {*arguments}
        self._meets = shared and started is not None and by_mpi

    def refused(self) -> int | None:
        """Return the exit code where a launcher has started what cannot be ranks, and say why; None if all is well.

        It is asked before the rest of the command is loaded: a mistake in the launcher shows at once.
        """
        if not self._meets:
            return None
        try:
            joined(_LAUNCHED)
        except GdkernelsError as error:
            if not self.is_quiet:
                print(f"gdkernels: {one_line(str(error))}", file=sys.stderr)
            return error.exit_code
        return None

    def join(self, args: Namespace) -> None:
        """Join the group that the command asks for, or that a launcher has started, before anything is read.

        Raises
        ------
        BackendError, InputError
            If there is no such group here: each process would take itself for the only one.
        """
        if not hasattr(args, "group"):
            return
        if args.group == "auto":
            args.group = "none" if self._started is None else _LAUNCHED
            if self._started is None and world_size() > 1:
                _log.warning(
                    "%s=%d says that there are other processes, but no launcher of MPI has started this one: it trains "
                    "by itself; start several by mpiexec",
                    WORLD_SIZE,
                    world_size(),
                )
        self.group = joined(args.group)
        args.group = self.group
        if self.group.rank:
            self.is_quiet = True
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process)
            for name in _WRITTEN:
                setattr(args, name, None)
            args.force = args.profile = False

    def failed(self, error: BaseException, message: str, code: int) -> bool:
        """Return whether this rank says the error; one that it has alone is said here, and ends all ranks."""
        end_together(self.group, error, message, code)
        return not self.is_quiet


def _values(name: str, arguments: Sequence[str]) -> list[str]:
    apart = [value for option, value in pairwise(arguments) if option == name]
    return [*apart, *(one.partition("=")[2] for one in arguments if one.startswith(f"{name}="))]
