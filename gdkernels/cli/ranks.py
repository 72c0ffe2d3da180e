"""The ranks of a command that a launcher has started: one prints and writes, and none is left waiting for another."""

from __future__ import annotations

import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

from gdkernels.cli.streams import OneLine
from gdkernels.errors import GdkernelsError, InputError
from gdkernels.groups import Group, SerialGroup, joined
from gdkernels.groups.agreement import agree, end_together
from gdkernels.groups.launchers import WORLD_SIZE, launched, processes_beside, world_size
from gdkernels.system.printable import one_line

__all__ = ["CommandRanks"]

_log = logging.getLogger("gdkernels")

_HELP = ("--help", "-h")
_LAUNCHED = "mpi"  # the group of what launchers start
_SEEN = 2.0  # seconds in which those that start later see one that cannot be among them
_COMMANDS = ("train", "bench")  # that ranks do together
_CALIBRATE = "calibrate"  # which measures a machine, and nobody else may be at work there
_WRITTEN, _SWITCHES = {"out", "plot", "log_json", "report"}, {"force", "profile"}  # of rank 0 alone


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
        self._arguments, self._command = list(arguments), next(iter(arguments), "")
        self._is_for_others = False  # whether processes beside leave their command to this one
        named = _values("--group", arguments)
        together = [*arguments[:1]] in [[name] for name in _COMMANDS]
        shared = together and "none" not in named
        self.is_quiet = shared and started is not None and started.rank > 0
        by_mpi = {*named} <= {"auto", _LAUNCHED} and not {*_HELP} & {*arguments}
        self._meets = shared and started is not None and by_mpi
        self._is_alone = together and "none" in named

    def refused(self) -> int | None:
        """Return the exit code where a launcher has started what cannot be ranks, and say why; None if all is well.

        It is asked before the rest of the command is loaded: a mistake in the launcher shows at once.
        """
        if self._started is not None and (self._is_alone or self._meets) and (other := self._mixed_with()):
            if not self.is_quiet:
                print(
                    f"gdkernels: rank {self._started.rank} of {self._started.size} {other}, so that some would wait "
                    "for ever: give all that are started together the same",
                    file=sys.stderr,
                )
            time.sleep(_SEEN)
            return InputError.exit_code
        if self._started is not None and self._calibrates_beside_another():
            if not self._started.rank:
                print(
                    f"gdkernels: {self._started.size} processes were started ({self._started.variable}), and more than "
                    "one of them on this machine, where they would slow each other down: start one there",
                    file=sys.stderr,
                )
            time.sleep(_SEEN)
            return InputError.exit_code
        if not self._meets:
            return None
        warns = logging.StreamHandler(sys.stderr)  # of variables of ranks; nobody else listens yet
        warns.setFormatter(OneLine())
        _log.addHandler(warns)
        try:
            self.group = joined(_LAUNCHED)
        except GdkernelsError as error:
            if not self.is_quiet:
                print(f"gdkernels: {one_line(str(error))}", file=sys.stderr)
            return error.exit_code
        finally:
            _log.removeHandler(warns)
        return None

    def is_left_to_another(self) -> bool:
        """Return whether a process beside this one carries out the same command, which ranks do not share."""
        if self._started is None or self._command in (*_COMMANDS, _CALIBRATE):
            return False
        same = [
            one.launched.rank
            for one in processes_beside()
            if one.launched is not None and _command_of(one.command) == self._arguments and one.folder == os.getcwd()
        ]
        self._is_for_others = bool(same)
        return min(same, default=self._started.rank) < self._started.rank

    def _mixed_with(self) -> str:
        """Return how others differ that do not join what this process joins, or join without it; "" if there are none.

        What is none of our commands may join by itself.
        """
        for arguments in (_command_of(one.command) for one in processes_beside()):
            shared = [*arguments[:1]] in [[name] for name in _COMMANDS]
            joins = shared and "none" not in _values("--group", arguments)
            if arguments and joins is self._is_alone:
                if self._is_alone:
                    return "has --group none, and others have not"
                return (
                    "lacks --group none, which others have"
                    if shared
                    else f"has {self._command}, and another {arguments[0]}"
                )
        return ""

    def _calibrates_beside_another(self) -> bool:
        if self._command != _CALIBRATE or {*_HELP} & {*self._arguments}:
            return False
        return any(_command_of(one.command)[:1] == [_CALIBRATE] for one in processes_beside())

    def join(self, args: Namespace) -> None:
        """Join the group that the command asks for, or that a launcher has started, before anything is read.

        Raises
        ------
        BackendError, InputError
            If there is no such group here: each process would take itself for the only one.
        """
        if not hasattr(args, "group"):
            if self._is_for_others and self._started is not None:
                _log.warning(
                    "%d processes were started (%s), and this one does alone what others here were started for too: "
                    "ranks share the work of %s only",
                    self._started.size,
                    self._started.variable,
                    " and ".join(_COMMANDS),
                )
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
        agree(self.group, {"command": self._command})
        args.group = self.group
        if self.group.rank:
            self.is_quiet = True
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process)
            vars(args).update(dict.fromkeys(_WRITTEN & vars(args).keys()))
            vars(args).update(dict.fromkeys(_SWITCHES & vars(args).keys(), False))

    def failed(self, error: BaseException, message: str, code: int) -> bool:
        """Return whether this rank says the error; one that it has alone is said here, and ends all ranks."""
        end_together(self.group, error, message, code)
        return not self.is_quiet


def _command_of(command: Sequence[str]) -> list[str]:
    """Return the arguments of a command line that starts this command, or none."""
    ours = next((k for k, word in enumerate(command) if PurePath(word).name == "gdkernels"), len(command))
    return list(command[ours + 1 :])


def _values(name: str, arguments: Sequence[str]) -> list[str]:
    apart = [value for option, value in pairwise(arguments) if option == name]
    return [*apart, *(one.partition("=")[2] for one in arguments if one.startswith(f"{name}="))]
