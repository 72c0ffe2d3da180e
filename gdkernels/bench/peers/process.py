"""A peer in a process of its own, which answers one line of JSON with another.

``python -m gdkernels.bench.peers.process NAME THREADS`` is the process; `Peer` is the end that asks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.peers.task import Task
from gdkernels.definition.network import Layer

__all__ = ["Peer"]

# What BLAS libraries, OpenMP, Numba and XLA read when they start.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Peer:
    """One peer, alive until it is closed.

    Parameters
    ----------
    name
        One of `gdkernels.bench.peers.players.PLAYERS`.
    threads
        How many it may use.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def load(self, task: Task) -> str | None:
        """Make the peer ready; return why it cannot do the task, or None."""
        reason: str | None = self._ask({"load": task.as_dict()})["unsuited"]
        return reason

    def check(self, records: int) -> tuple[list[Layer], float]:
        """Return the parameters after the first records in their order, and the seconds that it took at first."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "parameters.npz")
            seconds = self._ask({"check": records, "path": path})["seconds"]
            with np.load(path, allow_pickle=False) as arrays:
                layers = len(arrays.files) // 2
                return [Layer(arrays[f"W{k}"], arrays[f"b{k}"]) for k in range(layers)], seconds

    def time(self, seconds: float) -> float:
        """Return the seconds that an epoch takes, over as many as fit into about `seconds`."""
        result: float = self._ask({"time": seconds})["seconds"]
        return result

    def product_rate(self, size: int) -> float:
        """Return the FLOP/s of the product of two square matrices, the best of several; 0 if that is not measured."""
        rate: float = self._ask({"product": size})["rate"]
        return rate

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"unsuited": f"its process ended with exit code {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve(name: str, threads: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        # Not every library can be told how many threads to use: XLA goes by the cores that it may run on.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    # Whatever a library prints goes elsewhere: stdout carries the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from gdkernels.bench.peers.players import PLAYERS, Player, Unsuited

    player: Player | None = None
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        began = time.perf_counter()
        if "load" in question:
            try:
                player = PLAYERS[name](Task.from_dict(question["load"]))
                answer["unsuited"] = None
            except Unsuited as reason:
                answer["unsuited"] = str(reason)
        elif player is None:
            answer["unsuited"] = "nothing is loaded"
        elif "check" in question:
            player.epoch(question["check"])
            answer["seconds"] = time.perf_counter() - began
            arrays = {
                f"{kind}{k}": a
                for k, pair in enumerate(player.parameters())
                for kind, a in zip("Wb", pair, strict=True)
            }
            np.savez(question["path"], **arrays)
        elif "product" in question:
            answer["rate"] = _product_rate(player.product(question["product"]), question["product"])
        else:
            epochs = 0
            while epochs == 0 or time.perf_counter() - began < question["time"]:
                player.epoch()
                epochs += 1
            answer["seconds"] = (time.perf_counter() - began) / epochs
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _product_rate(product: Callable[[], Any] | None, size: int) -> float:
    if product is None:
        return 0.0
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
