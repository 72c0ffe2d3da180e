"""The pieces of training as things to time: each is what a user calls, and can show its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import gdkernels as gd
from gdkernels import randomness
from gdkernels.backend import Plan, storage_dtype
from gdkernels.bench.participants.task import Task
from gdkernels.definition import network
from gdkernels.definition.network import Layers, map_layers

__all__ = ["PIECES", "PLACEMENTS", "Epochs", "PeerEpochs", "Pieces", "Work", "named"]

PIECES = ("forward", "gradient", "update", "epoch")
PLACEMENTS = ("resident", "transfers")

Arrays = dict[str, npt.NDArray[Any]]


class Work(ABC):
    """A piece of training on one backend, ready to be done again and again."""

    def restart(self) -> None:
        """Go back to the initial parameters, where the library allows it."""

    @abstractmethod
    def start(self) -> Arrays:
        """Return what the next call begins with: the parameters ``W0``, ``b0``, …, and the ``order`` of an epoch."""

    @abstractmethod
    def launch(self) -> None:
        """Do it once; returns when the library does."""

    @abstractmethod
    def wait(self) -> None:
        """Return when the device is said to be done."""

    @abstractmethod
    def results(self) -> Arrays:
        """Return what the last call computed, on the host."""


class Pieces:
    """A task on a backend of gdkernels, with its data and parameters on the device.

    Parameters
    ----------
    task
        What is computed.
    backend, device, precision
        Where; the device None is the backend's first.
    """

    def __init__(self, task: Task, backend: str, *, device: str | None = None, precision: str = "float32") -> None:
        self.task = task
        self.mlp = gd.MLP(
            task.sizes, activation=task.activation, seed=task.seed, backend=backend, device=device, precision=precision
        )
        self.mlp.set_parameters(task.parameters())
        self.trainer = gd.Trainer(self.mlp, optimizer=task.rule(), loss="sse", batch_size=task.batch)
        self.host = tuple(a.astype(storage_dtype(precision), copy=False) for a in task.data())
        self.binding = self.mlp._bind(self.host[0])
        self.resident = tuple(self.binding.place(a, name) for a, name in zip(self.host, "XY", strict=True))

    def bind(self) -> None:
        """Compile what training runs, or load it; nothing is done where that has happened."""
        data = self.trainer._place(*self.resident)
        self.trainer._bind_program(gradient_norm=False, data=data)

    def origin_of(self, piece: str) -> str:
        """Return where a piece came from: of gradient and update alone, nothing is compiled."""
        assert self.trainer._executable is not None
        return self.trainer._executable.origin if piece in ("forward", "epoch") else "definition"

    @property
    def plan(self) -> Plan:
        assert self.trainer._executable is not None
        return self.trainer._executable.plan

    def work(self, piece: str, placement: str = "resident") -> Work:
        """Return one of `PIECES`; with "transfers", data come from the host and results go there in every call."""
        x, y = self.resident if placement == "resident" else self.host
        if piece == "epoch":
            return Epochs(self, (x, y), transfers=placement == "transfers")
        batch = min(self.task.batch, len(self.host[0]))
        calls = {
            "forward": lambda: {"output": self.mlp.predict(x[:batch, :])},
            "gradient": lambda: named(self.mlp.gradient(x[:batch, :], y[:batch, :], loss="sse")),
            "update": self._update(),
        }
        return _Call(self, calls[piece], transfers=placement == "transfers")

    def _update(self) -> Callable[[], dict[str, Any]]:
        rule, xp = self.task.rule(), self.binding.xp
        parameters = self.mlp.parameters
        slots = map_layers(lambda a: tuple(xp.zeros_like(a) for _ in range(rule.slots)), parameters)
        batch = (a[: self.task.batch, :] for a in self.resident)
        gradients = self.mlp.gradient(*batch, loss="sse")

        def update() -> dict[str, Any]:
            rate = self.task.learning_rate
            moved, _ = network.update(parameters, gradients, slots, optimizer=rule, learning_rate=rate, t=1.0, xp=xp)
            return named(moved)

        return update

    def parameters(self) -> Arrays:
        """Return the parameters as they are now, on the host."""
        # Not `mlp.parameters`, which copies on the device first: fetched at a claimed end, they are as they are then.
        return {name: np.array(self.binding.to_numpy(a)) for name, a in named(self.mlp._parameters).items()}


class _Call(Work):
    """What starts from the same parameters every time."""

    def __init__(self, pieces: Pieces, call: Callable[[], dict[str, Any]], *, transfers: bool) -> None:
        self._pieces, self._call, self._transfers = pieces, call, transfers
        self._found: dict[str, Any] = {}

    def start(self) -> Arrays:
        return self._pieces.parameters()

    def launch(self) -> None:
        self._found = self._call()
        if self._transfers:
            self.results()

    def wait(self) -> None:
        binding = self._pieces.binding
        binding.backend.synchronize(binding.device)

    def results(self) -> Arrays:
        return {name: np.asarray(self._pieces.binding.to_numpy(a)) for name, a in self._found.items()}


class Epochs(Work):
    """One shuffled pass after another, as `gdkernels.Trainer` does them."""

    def __init__(self, pieces: Pieces, data: tuple[Any, Any], *, transfers: bool) -> None:
        self._pieces, self._data, self._transfers = pieces, data, transfers

    def restart(self) -> None:
        pieces = self._pieces
        pieces.mlp.set_parameters(pieces.task.parameters())
        pieces.trainer.epochs_done = 0  # the order of the records is then that of the first epoch again

    def start(self) -> Arrays:
        pieces = self._pieces
        stream = randomness.generator(pieces.mlp.seed, "order", pieces.trainer.epochs_done)
        return pieces.parameters() | {"order": stream.permutation(len(pieces.host[0]))}

    def launch(self) -> None:
        self._pieces.trainer.epoch(*self._data)
        if self._transfers:
            self.results()

    def wait(self) -> None:
        binding = self._pieces.binding
        binding.backend.synchronize(binding.device)

    def results(self) -> Arrays:
        return self._pieces.parameters()


class PeerEpochs(Work):
    """The passes of a peer, which shuffles by random numbers of its own.

    Parameters
    ----------
    in_order
        Whether the records are used in their order instead: then what comes out is known.
    fresh
        Whether it has not trained yet: some libraries have no parameters until they do.
    """

    def __init__(self, player: Any, task: Task, *, in_order: bool, fresh: bool) -> None:
        self._player, self._task, self._in_order, self._fresh = player, task, in_order, fresh

    def start(self) -> Arrays:
        parameters = named(self._task.parameters()) if self._fresh else self.results()
        return parameters | {"order": np.arange(self._task.records)}

    def launch(self) -> None:
        self._fresh = False
        self._player.epoch(self._task.records if self._in_order else None)

    def wait(self) -> None:
        """Do nothing: a peer's pass ends when it is done."""

    def results(self) -> Arrays:
        return named([tuple(np.array(a) for a in pair) for pair in self._player.parameters()])


def named(layers: Layers | list[tuple[Any, ...]]) -> dict[str, Any]:
    """Return the arrays of each layer as ``W0``, ``b0``, …."""
    return {f"{kind}{k}": a for k, layer in enumerate(layers) for kind, a in zip("Wb", layer, strict=True)}
