"""The adapter: what a library must do to take part, inside the process of its participant."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.stages import Arrays, PlacedStage, Stage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition.chain import by_name
from gdkernels.randomness import row_keys
from gdkernels.system.libraries import is_missing, lack_of

__all__ = ["Adapter", "LibraryEpochs", "Order", "check_chain", "copied", "imported"]

Order = npt.NDArray[np.int64]


class Adapter(ABC):
    """One library, with one task at a time: its network, weights and data, ready to train.

    Attributes
    ----------
    task
        The task that is loaded.
    draws, steps_done
        Whether blocks draw random numbers; if so, the steps since `load`.
    """

    task: TrainingTask
    draws = False
    steps_done = 0

    def __init__(self, participant: Participant) -> None:
        self.participant = participant

    @abstractmethod
    def ready(self) -> None:
        """Import the library, and open the device; `load` reports a library that is not installed."""

    @abstractmethod
    def load(self, task: TrainingTask) -> None:
        """Take a task, with its initial weights.

        Raises
        ------
        UnsuitableError
            If the library cannot do it.
        """

    @abstractmethod
    def train_on(self, order: Order) -> None:
        """Do a step on each batch of the records in this order, and wait until it is done."""

    @abstractmethod
    def epoch(self) -> None:
        """Do one pass, shuffled as the library shuffles, and wait until it is done."""

    @abstractmethod
    def parameters(self) -> Arrays:
        """Return copies of the parameters, ``W0``, ``b0``, …, and of constants, on the host."""

    def fit(self, epochs: int) -> None:
        """Do so many shuffled passes, as a whole training where the library has one."""
        for _ in range(epochs):
            self.epoch()

    def next_keys(self, records: int) -> npt.NDArray[np.int32] | None:
        """Return the keys of the random numbers of the next records, and count their steps; None if none are drawn."""
        if not self.draws:
            return None
        keys = row_keys(self.task.seed, self.steps_done, records, self.task.batch)
        self.steps_done += -(-records // self.task.batch)
        return keys

    def bind(self) -> bool:
        """Compile what training runs, and return whether the library does that before its first step."""
        return False

    def step(self) -> None:
        """Do a step on the first batch."""
        self.train_on(np.arange(min(self.task.batch, self.task.records)))

    def stage(self, placed: PlacedStage, *, in_order: bool) -> Stage:
        """Return a stage of training to time.

        Parameters
        ----------
        in_order
            Whether an epoch takes the records in their order, so that its result is known.

        Raises
        ------
        UnsuitableError
            If the library has no such stage.
        """
        if placed != PlacedStage("epoch"):
            raise UnsuitableError("other libraries are compared only in epochs over data in memory")
        return LibraryEpochs(self, in_order=in_order)

    def product(self, size: int) -> Callable[[], Any] | None:
        """Return a product of two matrices [size, size] by the library, or None."""
        return None

    def layer(self, size: int) -> Callable[[], Any] | None:
        """Return the same product as a layer of a network, or None."""
        return None

    def copy(self, size: int) -> Callable[[], Any] | None:
        """Return a copy of `size` bytes from one array to another, or None."""
        return None

    def common(self, number: float) -> float:
        """Return a number that is the same in all processes of the participant, where there are several."""
        return number

    def exchanging(self) -> float | None:
        """Return the seconds in which processes exchanged sums so far; None where there is one process."""
        return None

    def described(self, stage: str) -> dict[str, Any]:
        """Return the ``origin`` of what runs a stage, and its ``plan``, where those are known."""
        return {"origin": None, "plan": None}


class LibraryEpochs(Stage):
    """The passes of a library, which shuffles by random numbers of its own, or takes the records in their order."""

    def __init__(self, adapter: Adapter, *, in_order: bool) -> None:
        self._adapter, self._in_order = adapter, in_order

    def start(self) -> Arrays:
        adapter = self._adapter
        step = {"step": np.asarray(adapter.steps_done)} if adapter.draws else {}
        return adapter.parameters() | {"order": np.arange(adapter.task.records), **step}

    def launch(self) -> None:
        if self._in_order:
            self._adapter.train_on(np.arange(self._adapter.task.records))
        else:
            self._adapter.epoch()

    def wait(self) -> None:
        """Do nothing: a pass ends when it is done."""

    def results(self) -> Arrays:
        return self._adapter.parameters()


def check_chain(task: TrainingTask, who: str) -> None:
    """Raise `UnsuitableError` for a network that is no chain of dense layers."""
    if task.network != CHAIN:
        raise UnsuitableError(f"{who} is compared only with chains of dense layers, and this network is {task.network}")


def copied(layers: Iterable[tuple[Any, Any]]) -> Arrays:
    """Return copies of W [inputs, units] and b [units] of each layer of a chain, by name."""
    return by_name([tuple(np.array(a) for a in pair) for pair in layers])


def imported(module: str) -> Any:
    """Return a library's module.

    Raises
    ------
    UnsuitableError
        If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a library that is broken raises anything
        package, _, _ = module.partition(".")
        distribution = "scikit-learn" if package == "sklearn" else package
        if is_missing(module, error):
            raise UnsuitableError(f"{package} is not installed: pip install {distribution}") from error
        lack = lack_of(module, error, f"pip install {distribution}")
        raise UnsuitableError(f"it takes {package}, {lack}") from error
