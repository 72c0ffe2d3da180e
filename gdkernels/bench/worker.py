"""A contender in a process of its own: loaded, checked, timed and asked for its ceilings, one question at a time.

``python -m gdkernels.bench.worker CONTENDER THREADS`` is the process; `Worker` is the end that asks.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.contender import Contender
from gdkernels.bench.peers.task import Task
from gdkernels.bench.process import Process, ProcessError, answer_with
from gdkernels.bench.proof import Proof, Prover, judge
from gdkernels.bench.sampling import clock_seconds
from gdkernels.errors import DivergenceError

__all__ = ["Checked", "LoadTimes", "Sample", "UnsuitableError", "Worker", "workers_of"]

_LATE = 0.1  # of the claimed time: what results may come later than it takes to fetch them again
_CHAIN_SECONDS = 0.01  # of calls in a row whose claimed end is compared with the fetching of their results
_CHAIN_CALLS = 1000
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
    clock_seconds
        What `clock_seconds` gave just before and after, their mean; None on a device with a clock of its own.
    """

    seconds: float
    host_seconds: float
    calls: int
    clock_seconds: float | None = None


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
        self._process = Process(__name__, description, threads=contender.threads, environment=environment)

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


class _Server:
    """The contender in its process."""

    def __init__(self, contender: Contender, started: float) -> None:
        from gdkernels.bench.subjects import subject_of

        self._subject = subject_of(contender)
        self._peer, self._on_cpu = contender.peer, contender.device == "cpu"
        self._subject.ready()
        self._import_seconds = time.monotonic() - started
        self._works: dict[tuple[str, str], Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        from gdkernels.bench.peers.players import Unsuited

        kind = next(iter(question))
        try:
            answer: dict[str, Any] = getattr(self, f"_{kind}")(question)
        except Unsuited as reason:
            return {"unsuited": str(reason)}
        return answer

    def _load(self, question: dict[str, Any]) -> dict[str, Any]:
        self._works = {}
        self._subject.load(Task.from_dict(question["load"]))
        seconds = _seconds(self._subject.bind)
        return {"import_seconds": self._import_seconds, "bind_seconds": None if self._peer else seconds}

    def _step(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"seconds": _seconds(self._subject.step)}

    def _check(self, question: dict[str, Any]) -> dict[str, Any]:
        work = self._subject.work(question["check"], question["placement"], known=True)
        work.restart()
        start = work.start()
        began = time.perf_counter()
        work.launch()
        work.wait()
        # Fetched at the claimed end: what is not finished then is wrong here.
        results = work.results()
        once = time.perf_counter() - began
        folder = Path(question["folder"])
        _write(folder / "start.npz", start)
        _write(folder / "results.npz", results)
        calls = int(min(max(_CHAIN_SECONDS / once, 1), _CHAIN_CALLS))
        claimed, late = [], []
        for _ in range(question["trials"]):
            began = time.perf_counter()
            for _ in range(calls):
                work.launch()
                work.wait()
            claimed.append(time.perf_counter() - began)
            first, again = _seconds(work.results), _seconds(work.results)
            late.append(first - again)
        return {
            "claimed_seconds": statistics.median(claimed or [0.0]),
            "late_seconds": max(0.0, min(late, default=0.0)),
            **self._subject.described(question["check"]),
        }

    def _time(self, question: dict[str, Any]) -> dict[str, Any]:
        key = question["piece"], question["placement"]
        if key not in self._works:
            self._works[key] = self._subject.work(*key, known=False)
        work, clock = self._works[key], time.perf_counter
        before = clock_seconds() if self._on_cpu else None
        work.launch()  # off the clock: another contender has just had the caches
        work.wait()
        calls, host, began = 0, 0.0, clock()
        while True:
            launched = clock()
            work.launch()
            host += clock() - launched
            work.wait()
            calls += 1
            seconds = clock() - began
            if seconds >= question["time"]:
                break
        beside = None if before is None else 0.5 * (before + clock_seconds())
        return {"seconds": seconds / calls, "host_seconds": host / calls, "calls": calls, "clock_seconds": beside}

    def _train(self, question: dict[str, Any]) -> dict[str, Any]:
        task = Task.from_dict(question["train"])
        self._load({"load": question["train"]})
        ((measure, wanted),) = question["goal"].items()
        x, y = task.data()
        taken: list[float] = []
        while True:
            try:
                taken.append(_seconds(self._subject.epoch))
            except DivergenceError:
                return {"epoch_seconds": taken, "reached": False, "value": None}
            # Judged by the definition and off the clock, alike for all.
            value = judge(measure, task, self._subject.parameters(), x, y)
            reached = value <= wanted if measure == "loss" else value >= wanted
            if reached or not math.isfinite(value) or sum(taken) > question["seconds"]:
                finite = value if math.isfinite(value) else None
                return {"epoch_seconds": taken, "reached": reached, "value": finite}

    def _ceiling(self, question: dict[str, Any]) -> dict[str, Any]:
        kind, size = question["ceiling"], question["size"]
        call: Callable[[], Any] | None = getattr(self._subject, kind)(size)
        if call is None:
            return {"rate": 0.0}
        amount = 2.0 * size if kind == "copy" else 2.0 * size**3  # a copy reads and writes
        call()
        return {"rate": amount / min(_seconds(call) for _ in range(8))}


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def _begin() -> Callable[[dict[str, Any]], dict[str, Any]]:
    description = json.loads(sys.argv[1])
    started = description.pop("started")
    return _Server(Contender(**description), started).answer


if __name__ == "__main__":
    answer_with(_begin)
