"""A contender in a process of its own: loaded, checked, timed and asked for its ceilings, one question at a time.

This is the end that asks; `gdkernels.bench.processes.server` is the process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import Process, ProcessError
from gdkernels.bench.checking import Proof, Prover

__all__ = ["Checked", "LoadTimes", "Sample", "UnsuitableError", "Worker", "workers_of"]

_LATE = 0.1  # of the claimed time: what results may come later than it takes to fetch them again
_TRIALS = 3


class UnsuitableError(ProcessError):
    """The contender cannot do what was asked, for the reason that the message gives."""


@dataclass(frozen=True)
class LoadTimes:
    """What comes before the first result.

    Attributes
    ----------
    import_seconds
        From the start of Python until the library was there and its device ready.
    bind_seconds
        Of compiling what training runs, or of loading that from the cache; None for peers, whose first step does it.
    """

    import_seconds: float
    bind_seconds: float | None


@dataclass(frozen=True)
class Checked:
    """A piece of work with its results compared, and its claimed end.

    Attributes
    ----------
    claimed_seconds, late_seconds
        Of a chain of calls until it is said to be done, and how much later its results can be had.
    """

    proof: Proof
    claimed_seconds: float
    late_seconds: float
    origin: str | None
    plan: dict[str, Any] | None

    @property
    def problem(self) -> str | None:
        """Why its times must not be shown, if so."""
        if not self.proof.holds:
            return f"it computes something else: {self.proof}"
        if self.late_seconds > _LATE * self.claimed_seconds:
            return (
                f"it says that it is done before it is: after {self.claimed_seconds * 1e3:.2f} ms, and its results "
                f"come {self.late_seconds * 1e3:.2f} ms later than finished ones do"
            )
        return None


@dataclass(frozen=True)
class Sample:
    """The seconds of a call.

    Attributes
    ----------
    host_seconds
        The part until the library returned, before waiting for the device.
    clock_seconds, product_seconds
        What `gdkernels.bench.sampling.interference` read just before and after, the mean and the larger; None on another device.
    """

    seconds: float
    host_seconds: float
    calls: int
    clock_seconds: float | None = None
    product_seconds: float | None = None


class Worker:
    """A contender, alive until it is closed.

    Parameters
    ----------
    environment
        Variables that only its process sees.
    """

    def __init__(self, contender: Contender, environment: Mapping[str, str] | None = None) -> None:
        self.contender = contender
        description = json.dumps(contender.as_dict() | {"started": time.monotonic()})
        self._process = Process(
            "gdkernels.bench.processes.server", description, threads=contender.threads, environment=environment
        )

    def load(self, task: Task) -> LoadTimes:
        """Make it ready for `task`; initial weights are those of the task again.

        Raises
        ------
        UnsuitableError
            Where it cannot do the task.
        """
        return LoadTimes(**self._ask({"load": task.as_dict()}))

    def first_step(self) -> float:
        """Return the seconds of one step, the first after loading."""
        seconds: float = self._ask({"step": 1})["seconds"]
        return seconds

    def check(self, prover: Prover, piece: str, placement: str, *, when_done: bool = True) -> Checked:
        """Do a piece of the loaded task, the one of `prover`, and compare what came out with the definition.

        Parameters
        ----------
        when_done
            Whether to find out, too, if the work is done when it is said to be.

        Raises
        ------
        UnsuitableError
            Where it has no such piece.
        """
        with tempfile.TemporaryDirectory() as folder:
            trials = _TRIALS if when_done else 0
            answer = self._ask({"check": piece, "placement": placement, "folder": folder, "trials": trials})
            arrays = []
            for name in ("start", "results"):
                with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as file:
                    arrays.append(dict(file))
        return Checked(prover.prove(piece, self.contender.precision, *arrays), **answer)

    def sample(self, piece: str, placement: str, seconds: float) -> Sample:
        """Time calls of a piece for about `seconds`, after one off the clock."""
        return Sample(**self._ask({"time": seconds, "piece": piece, "placement": placement}))

    def ceiling(self, kind: str, size: int) -> float:
        """Return the best rate of several: FLOP/s of a "product" or a "layer", bytes/s of a "copy"; 0 if unknown."""
        rate: float = self._ask({"ceiling": kind, "size": size})["rate"]
        return rate

    def train(self, task: Task, goal: Mapping[str, float], seconds: float) -> dict[str, Any]:
        """Train from the initial weights of `task` until a "loss" or an "accuracy" is reached, or time is over.

        Returns
        -------
        dict
            ``epoch_seconds``, the seconds of each pass; whether the goal was ``reached``; and the ``value`` at the end.
        """
        answer = self._ask({"train": task.as_dict(), "goal": dict(goal), "seconds": seconds})
        return answer | {"epoch_seconds": tuple(answer["epoch_seconds"])}

    def close(self) -> None:
        self._process.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = self._process.ask(question)
        if "unsuited" in answer:
            raise UnsuitableError(answer["unsuited"])
        return answer


@contextmanager
def workers_of(contenders: Iterable[Contender]) -> Iterator[list[Worker]]:
    """Open a worker for each, and close them in the end."""
    workers: list[Worker] = []
    try:
        workers.extend(Worker(contender) for contender in contenders)
        yield workers
    finally:
        for worker in workers:
            worker.close()
