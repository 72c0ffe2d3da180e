"""The process of a participant: ``python -m gdkernels.bench.processes.server PARTICIPANT THREADS`` answers questions.

`gdkernels.bench.processes.client` asks them.
"""

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

from gdkernels.bench.checking import evaluate
from gdkernels.bench.participants.adapter import Adapter
from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.stages import PlacedStage, Stage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.piped import answer_with
from gdkernels.bench.sampling.energy import EnergyMeter, NoEnergyError, energy_meter
from gdkernels.bench.sampling.interference import InterferenceProbe
from gdkernels.errors import DivergenceError

__all__ = ["Server", "serve"]

# A chain of calls, whose claimed end is compared with the fetching of its results.
_CHAIN_SECONDS = 0.01
_CHAIN_CALLS = 1000

# Off the clock, in each process: until threads are where the system leaves them, calls take up to twice as long.
_WARM_SAMPLES = 4

_MOST_RECORDS = 1 << 26  # of a run of steps: the order of the records has to fit into memory as well


def serve(adapter_for: Callable[[Participant], Adapter]) -> None:
    """Answer questions about the participant on the command line, until there are no more."""

    def begin() -> Callable[[dict[str, Any]], dict[str, Any]]:
        description = json.loads(sys.argv[1])
        started = description.pop("started")
        return Server(adapter_for(Participant(**description)), started).answer

    answer_with(begin)


class Server:
    """The participant's side: its answer to each question."""

    def __init__(self, adapter: Adapter, started: float) -> None:
        self._adapter = adapter
        cpu = adapter.participant.device == "cpu"
        self._probe = InterferenceProbe(adapter.participant.threads) if cpu else None
        adapter.ready()
        self._import_seconds = time.monotonic() - started
        self._energy: EnergyMeter | str  # or why there is none
        try:
            self._energy = energy_meter(adapter.participant.device)
        except NoEnergyError as reason:
            self._energy = str(reason)
        self._stages: dict[PlacedStage, Stage] = {}
        self._steps = 1
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load,
            "step": self._step,
            "first_steps": self._first_steps,
            "check": self._check,
            "time": self._time,
            "steps": self._time_steps,
            "fit": self._time_fit,
            "train": self._train,
            "ceiling": self._ceiling,
            "describe": lambda question: self._adapter.described(question["describe"]),
        }

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._answers[next(iter(question))](question)
        except UnsuitableError as reason:
            return {"unsuitable": str(reason)}

    def _load(self, question: dict[str, Any]) -> dict[str, Any]:
        self._stages, self._steps = {}, 1
        self._adapter.load(TrainingTask.from_dict(question["load"]))
        began = time.perf_counter()
        binds = self._adapter.bind()
        seconds = time.perf_counter() - began
        return {"import_seconds": self._import_seconds, "bind_seconds": seconds if binds else None}

    def _step(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"seconds": _seconds(self._adapter.step)}

    def _first_steps(self, question: dict[str, Any]) -> dict[str, Any]:
        order = np.arange(question["first_steps"])
        seconds = _seconds(lambda: self._adapter.train_on(order))
        _write(question["folder"], "parameters", self._adapter.parameters())
        return {"seconds": seconds}

    def _check(self, question: dict[str, Any]) -> dict[str, Any]:
        stage = self._adapter.stage(PlacedStage(question["check"], question["placement"]), in_order=True)
        stage.restart()
        start = stage.start()
        began = time.perf_counter()
        stage.launch()
        stage.wait()
        # Fetched at the claimed end: what is not finished then is wrong here.
        results = stage.results()
        once = time.perf_counter() - began
        _write(question["folder"], "start", start)
        _write(question["folder"], "results", results)
        calls = int(min(max(_CHAIN_SECONDS / self._adapter.common(once), 1), _CHAIN_CALLS))
        claimed, late = [], []
        for _ in range(question["trials"]):
            began = time.perf_counter()
            for _ in range(calls):
                stage.launch()
                stage.wait()
            claimed.append(time.perf_counter() - began)
            first, again = _seconds(stage.results), _seconds(stage.results)
            late.append(first - again)
        return {
            "claimed_seconds": statistics.median(claimed or [0.0]),
            "late_seconds": max(0.0, min(late, default=0.0)),
            **self._adapter.described(question["check"]),
        }

    def _time(self, question: dict[str, Any]) -> dict[str, Any]:
        placed = PlacedStage(question["stage"], question["placement"])
        if placed not in self._stages:
            self._stages[placed] = self._adapter.stage(placed, in_order=False)
            self._time(question | {"time": _WARM_SAMPLES * question["time"]})
        stage, clock = self._stages[placed], time.perf_counter
        readings = [self._probe.read()] if self._probe else []
        stage.launch()  # off the clock: another participant has just had the caches
        stage.wait()
        self._joules()
        exchanging = self._adapter.exchanging()
        calls, host, began = 0, 0.0, clock()
        while True:
            launched = clock()
            stage.launch()
            host += clock() - launched
            stage.wait()
            calls += 1
            seconds = self._adapter.common(clock() - began)
            if seconds >= question["time"]:
                break
        joules = self._joules()
        if self._probe:
            readings.append(self._probe.read())
        exchanged = self._adapter.exchanging()
        return {
            "seconds": seconds / calls,
            "host_seconds": host / calls,
            "calls": calls,
            "clock_seconds": statistics.fmean(r.clock_seconds for r in readings) if readings else None,
            "product_seconds": max((r.product_seconds for r in readings), default=None),
            "joules": None if joules is None else joules / calls,
            "exchange_seconds": None if exchanging is None or exchanged is None else (exchanged - exchanging) / calls,
            "no_energy": self._energy if isinstance(self._energy, str) else None,
        }

    def _joules(self) -> float | None:
        """Return the joules since the last call; None where nobody can tell."""
        if not isinstance(self._energy, str):
            try:
                return self._energy.joules()
            except NoEnergyError as reason:
                self._energy = str(reason)
        return None

    def _time_steps(self, question: dict[str, Any]) -> dict[str, Any]:
        """Time more and more steps, until they fill the time; the next question begins with as many."""
        task, wanted = self._adapter.task, question["steps"]
        shuffled = np.random.default_rng(0).permutation(task.records)
        most = max(1, _MOST_RECORDS // task.batch)
        while True:
            order = np.resize(shuffled, self._steps * task.batch)
            passed = self._adapter.common(_seconds(lambda order=order: self._adapter.train_on(order)))  # type: ignore[misc]
            if passed >= wanted or self._steps >= most:
                return {"seconds": passed / self._steps}
            more = min(8 * self._steps, math.ceil(1.2 * self._steps * wanted / passed))
            self._steps = min(most, max(self._steps + 1, more))

    def _time_fit(self, question: dict[str, Any]) -> dict[str, Any]:
        first = self._adapter.common(_seconds(lambda: self._adapter.fit(1)))
        epochs = int(question["fit"] / first)
        return {"seconds": _seconds(lambda: self._adapter.fit(epochs)) / epochs if epochs else first}

    def _train(self, question: dict[str, Any]) -> dict[str, Any]:
        task = TrainingTask.from_dict(question["train"])
        self._load({"load": question["train"]})
        ((measure, wanted),) = question["goal"].items()
        x, y = task.data()
        taken: list[float] = []
        while True:
            try:
                taken.append(self._adapter.common(_seconds(self._adapter.epoch)))
            except DivergenceError:
                return {"epoch_seconds": taken, "reached": False, "value": None}
            # Evaluated by the definition and off the clock, alike for all.
            value = evaluate(measure, task, self._adapter.parameters(), x, y)
            reached = value <= wanted if measure == "loss" else value >= wanted
            if reached or not math.isfinite(value) or sum(taken) > question["seconds"]:
                finite = value if math.isfinite(value) else None
                return {"epoch_seconds": taken, "reached": reached, "value": finite}

    def _ceiling(self, question: dict[str, Any]) -> dict[str, Any]:
        kind, size, adapter = question["ceiling"], question["size"], self._adapter
        calls = {"product": adapter.product, "layer": adapter.layer, "copy": adapter.copy}
        call = calls[kind](size)
        if call is None:
            return {"rate": 0.0}
        amount = 2.0 * size if kind == "copy" else 2.0 * size**3  # a copy reads and writes
        call()
        return {"rate": amount / min(_seconds(call) for _ in range(8))}


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _write(folder: str, name: str, arrays: Mapping[str, Any]) -> None:
    np.savez(Path(folder) / f"{name}.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    serve(adapter_of)
