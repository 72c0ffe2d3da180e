"""The contract of an executable, which runs many steps of a program, and of a job, its part among many models."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.backend.values import Plan, State
from gdkernels.definition.network import Arrays

__all__ = ["EpochsExecutable", "Executable", "Job"]


class Executable(ABC):
    """A program bound to a backend, a device and a precision.

    Attributes
    ----------
    origin
        "definition" where the definition itself runs on the backend's namespace, "compiled" where its trace does.
    checks_itself
        Whether it compares what is compiled with the definition by itself; if not, gdkernels does where
        ``GDKERNELS_CHECK=always`` asks for it.
    remark
        Why the definition runs on a backend that compiles others, which of several engines runs, or how a model beside
        others does; empty where there is nothing to say.
    """

    origin: str
    plan: Plan
    checks_itself: ClassVar[bool] = False
    remark: str = ""

    @property
    def is_one_of_many(self) -> bool:
        """Whether `run_many` does its jobs beside those of other models, in about the time of one."""
        return False

    @property
    def takes_entries(self) -> bool:
        """Whether x may also be `gdkernels.backend.entries.Entries`, on the host; most executables need not."""
        return False

    @property
    def takes_keyed_orders(self) -> bool:
        """Whether an order may also be `gdkernels.randomness.KeyedOrder`, computed where it is used; few need it."""
        return False

    @property
    def takes_seeded_orders(self) -> bool:
        """Whether orders of epochs may also be `gdkernels.randomness.SeededOrders`, drawn where they are used."""
        return False

    @abstractmethod
    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        """Do one step for each batch of rows and update `state` in place.

        Parameters
        ----------
        x, y
            Arrays of this backend on the plan's device: [records, inputs] and [records, outputs].
        order
            Row numbers in the order in which they are used; the last batch may be smaller. `numpy.asarray` gives them
            where it is a keyed order, which it is only where `takes_keyed_orders` says so.
        learning_rates
            The rate of each step.
        sample_weight
            An array like x and y, [records]; given where the program is weighted, and only there.

        Returns
        -------
        tuple
            The sum of E over the batches, each measured before its step, and the mean over the steps of the norm of the
            gradient, or None if the program does not ask for it by `gradient_norm`.
        """

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> list[tuple[float, float | None]]:
        """Do what `run` does for one epoch after the other, and return what it returns for each.

        Parameters
        ----------
        orders, learning_rates
            Those of each epoch: [epochs, records] and [epochs, steps]. Keyed orders come one for each epoch, and
            seeded ones as one, where `takes_seeded_orders` says so.
        """
        weights = () if sample_weight is None else (sample_weight,)
        return [
            self.run(state, x, y, order, batch_size, rates, *weights)
            for order, rates in zip(orders, learning_rates, strict=True)
        ]

    def run_many(self, jobs: Iterable[Job], threads: int = 1) -> Iterator[list[tuple[float, float | None]]]:
        """Do each job as `run_epochs` of its executable does, to the bit; several at a time where that is faster.

        Parameters
        ----------
        jobs
            Their executables have this one's backend, device and precision, and may share memory. No two jobs have the
            same state. A job may be made only when it is asked for, while others run.
        threads
            The most jobs that run at the same time, this thread's included.

        Yields
        ------
        list
            What `run_epochs` returns, for one job after the other in their order; `seconds` of the job are known then.
            Whoever stops before the end must not use the states of those that have not come.
        """
        for job in jobs:
            yield job.run()

    def with_program(self, program: Program) -> Executable | None:
        """Return an executable for a program that differs from this one's in numbers alone, such as the rate and λ.

        It shares the memory of this one, so that one of them runs at a time. None means that there is none.
        """
        return None

    @abstractmethod
    def predict(self, parameters: Arrays, x: Any) -> Any:
        """Return the network's output [records, outputs]."""

    def workspace(self, batch_size: int) -> int:
        """Return the bytes that a step needs beyond data and state; 0 where the namespace allocates as it goes."""
        return 0


class EpochsExecutable(Executable):
    """An executable that does epochs in one call: a run is a call of one epoch."""

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        once = np.asarray(order)[None], batch_size, np.asarray(learning_rates)[None]
        return self.run_epochs(state, x, y, *once, sample_weight)[0]

    @abstractmethod
    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> list[tuple[float, float | None]]: ...


@dataclass
class Job:
    """Epochs of one training among many.

    Attributes
    ----------
    executable
        What does them.
    state, x, y, orders, batch_size, learning_rates, sample_weight
        As for `Executable.run_epochs`.
    seconds
        How long they took, once they are done.
    """

    executable: Executable
    state: State
    x: Any
    y: Any
    orders: npt.NDArray[np.int64]
    batch_size: int
    learning_rates: npt.NDArray[np.float64]
    sample_weight: Any = None
    seconds: float = 0.0

    def run(self) -> list[tuple[float, float | None]]:
        """Do it now, and return what `Executable.run_epochs` returns."""
        # A third party's backend need not know the argument: it is passed only if the program asks for it.
        weights = () if self.sample_weight is None else (self.sample_weight,)
        given = self.state, self.x, self.y, self.orders, self.batch_size, self.learning_rates
        began = time.perf_counter()
        found = self.executable.run_epochs(*given, *weights)
        self.seconds = time.perf_counter() - began
        return found
