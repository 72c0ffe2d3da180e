"""A contender inside its process: what it can be asked to do, by gdkernels itself or by a peer."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

import gdkernels as gd
from gdkernels.bench.participants.participant import PEERS, Contender
from gdkernels.bench.participants.players import PLAYERS, Player, Unsuited
from gdkernels.bench.participants.task import Task
from gdkernels.bench.participants.stages import Arrays, PeerEpochs, Pieces, Work
from gdkernels.dispatch import registry

__all__ = ["Subject", "subject_of"]


class Subject(ABC):
    """What runs tasks in this process.

    Attributes
    ----------
    task
        The one that is loaded.
    """

    task: Task

    def __init__(self, contender: Contender) -> None:
        self.contender = contender

    @abstractmethod
    def ready(self) -> None:
        """Import what it needs, and open the device."""

    @abstractmethod
    def load(self, task: Task) -> None:
        """Take a task, with its initial weights.

        Raises
        ------
        Unsuited
            Where it cannot be done, with the reason.
        """

    @abstractmethod
    def bind(self) -> None:
        """Compile what training runs, where that is a thing of its own."""

    @abstractmethod
    def step(self) -> None:
        """Train on the first batch."""

    @abstractmethod
    def epoch(self) -> None:
        """Do a shuffled pass."""

    @abstractmethod
    def parameters(self) -> Arrays:
        """Return ``W0``, ``b0``, … on the host."""

    @abstractmethod
    def work(self, piece: str, placement: str, *, known: bool) -> Work:
        """Return a piece of work; one whose result can be foretold, if it is to be `known`.

        Raises
        ------
        Unsuited
            Where it has no such piece.
        """

    @abstractmethod
    def product(self, size: int) -> Callable[[], Any] | None:
        """Return a product of two matrices [size, size] by its library, or None."""

    def layer(self, size: int) -> Callable[[], Any] | None:
        """Return the same product as a layer of a network, or None."""
        return None

    def copy(self, size: int) -> Callable[[], Any] | None:
        """Return a copying of `size` bytes from one array to another, or None."""
        return None

    def described(self, piece: str) -> dict[str, Any]:
        """Return where the running piece came from, and its plan, where those are known."""
        return {"origin": None, "plan": None}


class Ours(Subject):
    """gdkernels on one of its backends."""

    _pieces: Pieces

    def ready(self) -> None:
        self._choice = registry.choose(self.contender.name, self.contender.device, self.contender.precision)
        backend = self._choice.backend
        backend.asarray(np.zeros((1, 1)), dtype="float32", device=self.contender.device)
        backend.synchronize(self.contender.device)

    def load(self, task: Task) -> None:
        contender = self.contender
        self.task = task
        self._pieces = Pieces(task, contender.name, device=contender.device, precision=contender.precision)

    def bind(self) -> None:
        self._pieces.bind()

    def step(self) -> None:
        x, y = self._pieces.resident
        self._pieces.trainer.epoch(x[: self.task.batch, :], y[: self.task.batch, :])
        self._synchronize()

    def epoch(self) -> None:
        self._pieces.trainer.epoch(*self._pieces.resident)
        self._synchronize()

    def parameters(self) -> Arrays:
        return self._pieces.parameters()

    def work(self, piece: str, placement: str, *, known: bool) -> Work:
        return self._pieces.work(piece, placement)

    def product(self, size: int) -> Callable[[], Any] | None:
        binding = self._pieces.binding
        a = self._numbers(size)

        def product() -> None:
            with binding.backend.on_device(binding.device):
                binding.xp.matmul(a, a)
            self._synchronize()

        return product

    def layer(self, size: int) -> Callable[[], Any] | None:
        contender = self.contender
        mlp = gd.MLP(
            [size, size],
            bias=False,
            seed=0,
            backend=contender.name,
            device=contender.device,
            precision=contender.precision,
        )
        a = self._numbers(size)

        def layer() -> None:
            mlp.predict(a)
            self._synchronize()

        return layer

    def copy(self, size: int) -> Callable[[], Any] | None:
        binding, threads = self._pieces.binding, self.contender.threads if self.contender.device == "cpu" else 1
        count = size // threads // np.dtype(binding.dtype).itemsize
        pairs = [(self._zeros(count), self._zeros(count)) for _ in range(threads)]
        pool = ThreadPoolExecutor(threads)

        def move(pair: tuple[Any, Any]) -> None:
            with binding.backend.on_device(binding.device):
                pair[1][...] = pair[0]

        def copy() -> None:
            list(pool.map(move, pairs))
            self._synchronize()

        return copy

    def described(self, piece: str) -> dict[str, Any]:
        return {"origin": self._pieces.origin_of(piece), "plan": self._pieces.plan.as_dict()}

    def _synchronize(self) -> None:
        self._choice.backend.synchronize(self.contender.device)

    def _numbers(self, size: int) -> Any:
        return self._pieces.binding.place(np.random.default_rng(0).standard_normal((size, size)), "numbers")

    def _zeros(self, count: int) -> Any:
        return self._pieces.binding.place(np.zeros(count, self._pieces.binding.dtype), "zeros")


class Theirs(Subject):
    """A peer: only whole training is compared, as its own documentation has it."""

    _player: Player

    def ready(self) -> None:
        with suppress(ImportError):  # loading says how to install it
            importlib.import_module(PEERS[self.contender.name].module)

    def load(self, task: Task) -> None:
        self.task = task
        self._player = PLAYERS[PEERS[self.contender.name].player](task)
        self._fresh = True

    def bind(self) -> None:
        """Do nothing: peers compile in their first step."""

    def step(self) -> None:
        self._fresh = False
        self._player.epoch(min(self.task.batch, self.task.records))

    def epoch(self) -> None:
        self._fresh = False
        self._player.epoch()

    def parameters(self) -> Arrays:
        return self.work("epoch", "resident", known=True).results()

    def work(self, piece: str, placement: str, *, known: bool) -> Work:
        if (piece, placement) != ("epoch", "resident"):
            raise Unsuited("of peers, only epochs over data in memory are compared")
        fresh, self._fresh = self._fresh, False
        return PeerEpochs(self._player, self.task, in_order=known, fresh=fresh)

    def product(self, size: int) -> Callable[[], Any] | None:
        return self._player.product(size)


def subject_of(contender: Contender) -> Subject:
    """Return what runs `contender` in this process."""
    return (Theirs if contender.peer else Ours)(contender)
