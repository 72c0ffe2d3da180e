"""The end that asks: a participant's process is loaded, checked, timed and asked for its ceilings.

`gdkernels.bench.processes.server` is the process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.checking import Checker, DefinitionCheck
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.stages import Arrays, PlacedStage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.piped import PipedProcess
from gdkernels.bench.processes.ranks import RankProcesses
from gdkernels.bench.results.model import SeedRun

__all__ = ["CallSample", "FirstSteps", "LoadTimes", "ParticipantProcess", "StageCheck", "processes_of"]

SERVER = "gdkernels.bench.processes.server"

# Fetching results may take longer than fetching them again by this share of the claimed time.
_LATE = 0.1
_TRIALS = 3
_PATIENCE = 600.0


@dataclass(frozen=True)
class LoadTimes:
    """The seconds before the first result.

    Attributes
    ----------
    import_seconds
        From the start of Python until the library was there and its device ready.
    bind_seconds
        To compile what training runs, or to load it from the cache; None if the library does so in its first step.
    """

    import_seconds: float
    bind_seconds: float | None


@dataclass(frozen=True)
class StageCheck:
    """A stage whose results were compared, and whose claimed end was tested.

    Attributes
    ----------
    check
        The comparison with the definition.
    claimed_seconds, late_seconds
        The time of a chain of calls until the participant called it done, and the delay of its results after that.
    """

    check: DefinitionCheck
    claimed_seconds: float
    late_seconds: float
    origin: str | None
    plan: dict[str, Any] | None

    @property
    def problem(self) -> str | None:
        """The reason to withhold its times, or None."""
        if not self.check.holds:
            return f"it computes something else: {self.check}"
        if self.late_seconds > _LATE * self.claimed_seconds:
            return (
                f"it says that it is done before it is: after {self.claimed_seconds * 1e3:.2f} ms, and its results "
                f"come {self.late_seconds * 1e3:.2f} ms later than finished ones do"
            )
        return None


@dataclass(frozen=True)
class CallSample:
    """The seconds of a call.

    Attributes
    ----------
    host_seconds
        The part until the library returned, before waiting for the device.
    calls
        The calls that the seconds are the mean of.
    clock_seconds, product_seconds
        The readings of the interference probe just before and after: their mean, and the larger. None on a GPU.
    joules, no_energy
        The energy of a call, or why nobody can tell.
    exchange_seconds
        The part in which ranks exchanged sums; None where there is one process.
    """

    seconds: float
    host_seconds: float
    calls: int
    clock_seconds: float | None = None
    product_seconds: float | None = None
    joules: float | None = None
    no_energy: str | None = None
    exchange_seconds: float | None = None


@dataclass(frozen=True)
class FirstSteps:
    """The parameters after the first steps from the initial weights, and the seconds that these took."""

    parameters: Arrays
    seconds: float


class ParticipantProcess:
    """A participant in its process, alive until you close it; a group in the ranks that there are, of which this is 0.

    Parameters
    ----------
    environment
        Variables that only this process sees.
    server
        The module that the process runs.
    patience
        Returns the seconds within which it has to answer a question, unless it is a group's.
    """

    def __init__(
        self,
        participant: Participant,
        environment: Mapping[str, str] | None = None,
        *,
        server: str = SERVER,
        patience: Callable[[], float] = lambda: _PATIENCE,
    ) -> None:
        self.participant, self._patience = participant, patience
        started = time.monotonic()
        self._process: PipedProcess | RankProcesses
        if participant.group is None:
            description = json.dumps(participant.as_dict() | {"started": started})
            self._process = PipedProcess(server, description, threads=participant.threads, environment=environment)
        else:
            self._process = RankProcesses(participant, started)

    def load(self, task: TrainingTask) -> LoadTimes:
        """Make it ready for `task`, with the initial weights of the task.

        Raises
        ------
        UnsuitableError
            If it cannot do the task.
        """
        return LoadTimes(**self._ask({"load": task.as_dict()}))

    def first_step(self) -> float:
        """Return the seconds of one step, the first after loading."""
        seconds: float = self._ask({"step": 1})["seconds"]
        return seconds

    def first_steps(self, records: int) -> FirstSteps:
        """Train on the first records, in their order."""
        with tempfile.TemporaryDirectory() as folder:
            seconds = self._ask({"first_steps": records, "folder": folder})["seconds"]
            return FirstSteps(_read(folder, "parameters"), seconds)

    def check(self, checker: Checker, placed: PlacedStage, *, when_done: bool = True) -> StageCheck:
        """Do a stage of the loaded task, which is the task of `checker`, and compare its results with the definition.

        Parameters
        ----------
        when_done
            Whether to test the claimed end too.

        Raises
        ------
        UnsuitableError
            If it has no such stage.
        """
        with tempfile.TemporaryDirectory() as folder:
            trials = _TRIALS if when_done else 0
            question = {"check": placed.stage, "placement": placed.placement, "folder": folder, "trials": trials}
            answer = self._ask(question)
            start, results = _read(folder, "start"), _read(folder, "results")
        return StageCheck(checker.check(placed.stage, self.participant.precision, start, results), **answer)

    def sample(self, placed: PlacedStage, seconds: float) -> CallSample:
        """Time calls of a stage for about `seconds`, after one off the clock."""
        return CallSample(**self._ask({"time": seconds, "stage": placed.stage, "placement": placed.placement}))

    def steps_seconds(self, seconds: float) -> float:
        """Return the seconds of a step, over as many shuffled steps as fit into about `seconds`."""
        result: float = self._ask({"steps": seconds})["seconds"]
        return result

    def fit_seconds(self, seconds: float) -> float:
        """Return the seconds of an epoch, over a whole training of as many as fit into about `seconds`."""
        result: float = self._ask({"fit": seconds})["seconds"]
        return result

    def ceiling(self, kind: str, size: int) -> float:
        """Return the best rate of several: FLOP/s of a "product" or a "layer", bytes/s of a "copy"; 0 if unknown."""
        rate: float = self._ask({"ceiling": kind, "size": size})["rate"]
        return rate

    def plan(self) -> dict[str, Any] | None:
        """Return every choice that can change the bits of an epoch; None where those are not known."""
        plan: dict[str, Any] | None = self._ask({"describe": "epoch"})["plan"]
        return plan

    def train(self, task: TrainingTask, goal: Mapping[str, float], seconds: float) -> SeedRun:
        """Train from the initial weights of `task` until a "loss" or an "accuracy" is reached, or time is over."""
        answer = self._ask({"train": task.as_dict(), "goal": dict(goal), "seconds": seconds})
        return SeedRun(task.seed, tuple(answer["epoch_seconds"]), answer["reached"], answer["value"])

    def close(self) -> None:
        self._process.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        answer = process.ask(question, self._patience()) if isinstance(process, PipedProcess) else process.ask(question)
        if "unsuitable" in answer:
            raise UnsuitableError(answer["unsuitable"])
        return answer


@contextmanager
def processes_of(participants: Iterable[Participant]) -> Iterator[list[ParticipantProcess]]:
    """Open a process for each participant, and close them in the end."""
    processes: list[ParticipantProcess] = []
    try:
        processes.extend(ParticipantProcess(participant) for participant in participants)
        yield processes
    finally:
        for process in processes:
            process.close()


def _read(folder: str, name: str) -> Arrays:
    with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)
