"""A peer in a process of its own, which answers one line of JSON with another.

``python -m gdkernels.bench.processes.peer_process NAME THREADS`` is the process; `Peer` is the end that asks.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import Process, ProcessError, answer_with
from gdkernels.definition.network import Layer

__all__ = ["Peer"]


class Peer:
    """One peer, alive until it is closed.

    Parameters
    ----------
    name
        One of `gdkernels.bench.participants.players.PLAYERS`.
    threads
        How many it may use.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self._process = Process(__name__, name, threads=threads)

    def load(self, task: Task) -> str | None:
        """Make the peer ready; return why it cannot do the task, or None."""
        try:
            reason: str | None = self._process.ask({"load": task.as_dict()})["unsuited"]
        except ProcessError as error:
            return str(error)
        return reason

    def check(self, records: int) -> tuple[list[Layer], float]:
        """Return the parameters after the first records in their order, and the seconds that it took at first."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "parameters.npz")
            seconds = self._process.ask({"check": records, "path": path})["seconds"]
            with np.load(path, allow_pickle=False) as arrays:
                layers = len(arrays.files) // 2
                return [Layer(arrays[f"W{k}"], arrays[f"b{k}"]) for k in range(layers)], seconds

    def time(self, seconds: float) -> float:
        """Return the seconds that an epoch takes, over as many as fit into about `seconds`."""
        result: float = self._process.ask({"time": seconds})["seconds"]
        return result

    def product_rate(self, size: int) -> float:
        """Return the FLOP/s of the product of two square matrices, the best of several; 0 if that is not measured."""
        rate: float = self._process.ask({"product": size})["rate"]
        return rate

    def close(self) -> None:
        self._process.close()


class _Server:
    """The peer in its process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._player: Any = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        from gdkernels.bench.participants.players import PLAYERS, Unsuited

        if "load" in question:
            try:
                self._player = PLAYERS[self._name](Task.from_dict(question["load"]))
            except Unsuited as reason:
                return {"unsuited": str(reason)}
            return {"unsuited": None}
        if "product" in question:
            return {"rate": _product_rate(self._player.product(question["product"]), question["product"])}
        began = time.perf_counter()
        if "check" in question:
            self._player.epoch(question["check"])
            seconds = time.perf_counter() - began
            pairs = enumerate(self._player.parameters())
            arrays = {f"{kind}{k}": a for k, pair in pairs for kind, a in zip("Wb", pair, strict=True)}
            np.savez(question["path"], **arrays)
            return {"seconds": seconds}
        self._player.train(1)
        first = time.perf_counter() - began
        more = int(question["time"] / first)
        if more:
            began = time.perf_counter()
            self._player.train(more)
        return {"seconds": (time.perf_counter() - began) / max(1, more)}


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
    answer_with(lambda: _Server(sys.argv[1]).answer)
