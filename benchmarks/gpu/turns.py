"""Contenders in processes of their own, which take turns: a row of the grid.

``python -m benchmarks.gpu.turns NAME`` is one of the processes; it answers one line of JSON with another.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.contenders import CONTENDERS, Contender
from benchmarks.gpu.rows import Row
from gdkernels.backend.verification import relative_error
from gdkernels.errors import BackendError

__all__ = ["compare"]

_CHECKED = 3  # steps after which what has moved is compared with float64
_ROUNDS, _SECONDS = 7, 0.25
_MOST_RECORDS = 1 << 26  # in a run: the order of the records has to fit into memory as well


def compare(row: Row, names: Sequence[str], *, rounds: int = _ROUNDS, seconds: float = _SECONDS) -> dict[str, Any]:
    """Return for each contender the seconds of a step in each round, and its error against float64.

    The error is ‖Δ − Δ64‖/‖Δ64‖, the largest over the parameters, of what the first steps added to each: Δ64 is what
    the definition in float64 adds, on the same device.
    """
    exact = _Process("reference")
    try:
        wanted = exact.moved(row)
    except LookupError as reason:
        raise BackendError(f"there is no reference to compare with: {reason}") from reason
    finally:
        exact.close()
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    processes = {name: _Process(name) for name in names}
    try:
        for name, process in processes.items():
            began = time.perf_counter()
            try:
                error = max(relative_error(a, b) for a, b in zip(process.moved(row), wanted, strict=True))
                found[name] = {"error": error, "first seconds": time.perf_counter() - began, "seconds of a step": []}
                process.ask({"time": seconds})  # what is compiled for so many steps is compiled now
            except LookupError as reason:
                found[name] = {"skipped": str(reason)}
        racing = [name for name in names if "skipped" not in found[name]]
        for _ in range(rounds):
            for name in racing:
                found[name]["seconds of a step"].append(processes[name].ask({"time": seconds})["seconds"])
        for name in racing:
            found[name]["median"] = statistics.median(found[name]["seconds of a step"])
            found[name]["choices"] = processes[name].ask({"choices": True})["choices"]
    finally:
        for process in processes.values():
            process.close()
    return {"flops of a step": row.flops, "contenders": found}


class _Process:
    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; a contender that cannot do it raises LookupError with the reason."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise LookupError(f"its process ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise LookupError(answer["failed"])
        return answer

    def moved(self, row: Row) -> list[Any]:
        """Load a row, and return what the first steps added to each parameter."""
        self.ask({"load": row.as_dict()})
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "parameters.npz")
            self.ask({"check": path})
            begun = [a.astype(np.float64) for layer in row.parameters() for a in layer]
            with np.load(path, allow_pickle=False) as arrays:
                return [arrays[f"a{k}"].astype(np.float64) - a for k, a in enumerate(begun)]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Server:
    """The contender's side: what it answers to each question."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._contender: Contender | None = None
        self._batches: list[Any] = []
        self._steps = self._most = 1

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if "load" in question:
            row = Row(**question["load"])
            self._contender = CONTENDERS[self._name](row)
            self._batches = list(np.random.default_rng(0).permutation(row.records).reshape(-1, row.batch))
            self._most = max(1, _MOST_RECORDS // row.batch)
            return {}
        assert self._contender is not None, "nothing is loaded"
        if "check" in question:
            self._run(_CHECKED)
            arrays = [a for pair in self._contender.parameters() for a in pair]
            np.savez(question["check"], **{f"a{k}": a for k, a in enumerate(arrays)})
            return {}
        if "choices" in question:
            return {"choices": getattr(self._contender, "choices", {})}
        while True:
            began = time.perf_counter()
            self._run(self._steps)
            passed, wanted = time.perf_counter() - began, question["time"]
            if passed >= wanted or self._steps >= self._most:
                return {"seconds": passed / self._steps}
            more = min(8 * self._steps, math.ceil(1.2 * self._steps * wanted / passed))
            self._steps = min(self._most, max(self._steps + 1, more))

    def _run(self, steps: int) -> None:
        assert self._contender is not None
        self._contender.run([self._batches[k % len(self._batches)] for k in range(steps)])


def _serve(name: str) -> None:
    # Whatever a library prints goes elsewhere: stdout carries the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _Server(name)
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # of a stranger's library: a skipped row with its reason
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
