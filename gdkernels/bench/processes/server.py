"""What answers `gdkernels.bench.processes.client`: ``python -m gdkernels.bench.processes.server CONTENDER THREADS`` is the process."""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.sampling.interference import Gauge
from gdkernels.bench.participants.players import Unsuited
from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import answer_with
from gdkernels.bench.checking import judge
from gdkernels.bench.participants.subjects import subject_of
from gdkernels.errors import DivergenceError

# Calls in a row, whose claimed end is compared with the fetching of their results.
_CHAIN_SECONDS = 0.01
_CHAIN_CALLS = 1000

# Off the clock, in each process: until threads are where the system leaves them, calls take up to twice as long.
_WARM_SAMPLES = 4


class _Server:
    """The contender in its process."""

    def __init__(self, contender: Contender, started: float) -> None:
        self._subject = subject_of(contender)
        self._peer = contender.peer
        self._gauge = Gauge(contender.threads) if contender.device == "cpu" else None
        self._subject.ready()
        self._import_seconds = time.monotonic() - started
        self._works: dict[tuple[str, str], Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
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
            self._time(question | {"time": _WARM_SAMPLES * question["time"]})
        work, clock = self._works[key], time.perf_counter
        readings = [self._gauge.read()] if self._gauge else []
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
        if self._gauge:
            readings.append(self._gauge.read())
        return {
            "seconds": seconds / calls,
            "host_seconds": host / calls,
            "calls": calls,
            "clock_seconds": statistics.fmean(r.clock_seconds for r in readings) if readings else None,
            "product_seconds": max((r.product_seconds for r in readings), default=None),
        }

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
