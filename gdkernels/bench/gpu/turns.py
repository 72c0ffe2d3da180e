"""Contenders in processes of their own, which take turns: a row of the grid.

``python -m gdkernels.bench.gpu.turns NAME`` is one of the processes; it answers one line of JSON with another.
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

from gdkernels.bench.gpu.rows import Row
from gdkernels.errors import BackendError
from gdkernels.verify import relative_error

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
        reason = exact.ask({"load": row.as_dict()})["failed"]
        if reason:
            raise BackendError(f"there is no reference to compare with: {reason}")
        wanted = exact.moved(row)
    finally:
        exact.close()
    result: dict[str, Any] = {"flops of a step": row.flops, "contenders": {}}
    processes = {}
    try:
        for name in names:
            process = processes[name] = _Process(name)
            loaded = process.ask({"load": row.as_dict()})
            if loaded["failed"]:
                result["contenders"][name] = {"skipped": loaded["failed"]}
                continue
            began = time.perf_counter()
            moved = process.moved(row)
            first = time.perf_counter() - began
            error = max(relative_error(a, b) for a, b in zip(moved, wanted, strict=True))
            result["contenders"][name] = {
                "error": error if math.isfinite(error) else str(error),
                "first seconds": first,
                "seconds of a step": [],
            }
        racing = [name for name in names if "skipped" not in result["contenders"][name]]
        for name in racing:
            processes[name].ask({"time": seconds})  # what is compiled for so many steps is compiled now
        for _ in range(rounds):
            for name in racing:
                answer = processes[name].ask({"time": seconds})
                result["contenders"][name]["seconds of a step"].append(answer["seconds"])
        for name in racing:
            found = result["contenders"][name]
            found["median"] = statistics.median(found["seconds of a step"])
            found["choices"] = processes[name].ask({"choices": True})["choices"]
    finally:
        for process in processes.values():
            process.close()
    return result


class _Process:
    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BackendError(f"a contender's process ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def moved(self, row: Row) -> list[Any]:
        """Return what the first steps added to each parameter."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "parameters.npz")
            self.ask({"check": path})
            begun = [a.astype(np.float64) for layer in row.parameters() for a in layer]
            with np.load(path, allow_pickle=False) as arrays:
                return [arrays[f"a{k}"].astype(np.float64) - a for k, a in enumerate(begun)]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _serve(name: str) -> None:
    # Whatever a library prints goes elsewhere: stdout carries the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from gdkernels.bench.gpu.contenders import CONTENDERS, Contender

    contender: Contender | None = None
    batches: list[Any] = []
    size, steps, most = 0, 1, 1
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {"failed": None}
        if "load" in question:
            row = Row(**question["load"])
            try:
                contender = CONTENDERS[name](row)
            except Exception as error:  # a contender that is not installed, or cannot do this, is a skipped row
                answer["failed"] = f"{type(error).__name__}: {error}"
            rng = np.random.default_rng(0)
            batches = list(rng.permutation(row.records).reshape(-1, row.batch))
            size, most = len(batches), max(1, _MOST_RECORDS // row.batch)
        elif contender is None:
            answer["failed"] = "nothing is loaded"
        elif "check" in question:
            contender.run([batches[k % size] for k in range(_CHECKED)])
            arrays = [a for pair in contender.parameters() for a in pair]
            np.savez(question["check"], **{f"a{k}": a for k, a in enumerate(arrays)})
        elif "choices" in question:
            answer["choices"] = getattr(contender, "choices", {})
        else:
            while True:
                began = time.perf_counter()
                contender.run([batches[k % size] for k in range(steps)])
                passed = time.perf_counter() - began
                if passed >= question["time"] or steps >= most:
                    break
                steps = min(most, max(steps + 1, min(8 * steps, math.ceil(1.2 * steps * question["time"] / passed))))
            answer["seconds"] = passed / steps
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
