"""Launchers told apart: how many processes one has started, by the variables that it sets for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["WORLD_SIZE", "Launched", "ProcessBeside", "forget_launcher", "launched", "processes_beside", "world_size"]

# For each launcher the variables with the number of its processes, and with that of this one. Slurm's variables of a
# whole job are not among them: a session without srun has those too.
_VARIABLES = {
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "PMI_SIZE": "PMI_RANK",
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
}
WORLD_SIZE = "WORLD_SIZE"  # of torchrun; containers of PyTorch export it for everything
_OF_LAUNCHERS = (
    "OMPI_",
    "PMIX_",
    "PMI_",
    "PRTE_",
    "HYDI_",
    "HYDRA_",
    "MPI_LOCAL",
    "MV2_",
    "SLURM_STEP_",
    "SLURM_PROCID",
)
_OF_USERS = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_MCA_", "PRTE_MCA_rmaps", "HYDRA_LAUNCHER")


@dataclass(frozen=True)
class Launched:
    """A process among several that a launcher has started; `variable` says so."""

    size: int
    rank: int
    variable: str


@dataclass(frozen=True)
class ProcessBeside:
    """A process beside this one: its command line, the folder that it was started in, and what its launcher says."""

    command: list[str]
    folder: str
    launched: Launched | None


def launched(environment: Mapping[str, str] | None = None) -> Launched | None:
    """Return this process as one of several that a launcher for MPI has started; None if it was started alone."""
    environment = os.environ if environment is None else environment
    found = (
        Launched(_number(environment, size), _number(environment, rank), size) for size, rank in _VARIABLES.items()
    )
    most = max(found, key=lambda one: one.size)
    return most if most.size > 1 else None


def world_size() -> int:
    """Return what WORLD_SIZE says, which says nothing about MPI."""
    return _number(os.environ, WORLD_SIZE)


def processes_beside() -> list[ProcessBeside]:
    """Return the other processes that the same launcher has started here, where the system tells them.

    A launcher starts all of its processes before the first has loaded Python.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile, or is not ours to see
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getppid() and int(folder.name) != os.getpid():
                command, variables = (_words(folder / name) for name in ("cmdline", "environ"))
                environment = dict(one.split("=", 1) for one in variables if "=" in one)
                found.append(ProcessBeside(command, os.readlink(folder / "cwd"), launched(environment)))
    return found


def _words(file: Path) -> list[str]:
    return file.read_bytes().decode(errors="replace").rstrip("\0").split("\0")


def forget_launcher(environment: MutableMapping[str, str] | None = None) -> None:
    """Remove the launcher's variables: a process that this one starts is not of the group, and must not think so."""
    environment = os.environ if environment is None else environment
    for name in list(environment):
        if name.startswith(_OF_LAUNCHERS) and not name.startswith(_OF_USERS):
            del environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
