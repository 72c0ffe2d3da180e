"""The pieces of training as things to time: each call does its work and waits for the device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels import registry, streams
from gdkernels.backend import State
from gdkernels.binding import Binding
from gdkernels.definition import activations, losses, network
from gdkernels.definition.initialisation import initial_parameters
from gdkernels.definition.network import map_layers
from gdkernels.definition.optimizers import SGD
from gdkernels.program import Program

__all__ = ["PIECES", "Problem", "Workload"]

PIECES = ("forward", "gradient", "update", "epoch")

_RATE = 1e-4


@dataclass(frozen=True)
class Problem:
    """A network and random data for it: relu, SSE, plain gradient descent, the same bits for every backend.

    Attributes
    ----------
    sizes
        Inputs, units of each hidden layer, outputs.
    batch_size, records
        Records a step, and in an epoch.
    """

    sizes: tuple[int, ...]
    batch_size: int
    records: int

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} x {self.batch_size}"


class Workload:
    """A problem on a backend, with its data and parameters on the device.

    Parameters
    ----------
    problem
        What is computed.
    backend, device, precision
        Where; the device None is the backend's first.
    """

    def __init__(
        self, problem: Problem, backend: str, *, device: str | None = None, precision: str = "float32"
    ) -> None:
        choice = registry.choose(backend, device, precision)
        self.binding = Binding(choice.backend, choice.device, precision, choice.reason)
        self.problem = problem
        functions = (*(activations.relu,) * (len(problem.sizes) - 2), activations.identity)
        self.program = Program(functions, loss=losses.sse, optimizer=SGD(_RATE))
        self.executable = self.binding.executable(self.program)
        rng = streams.generator(0, "benchmark")
        self.host_parameters = initial_parameters(problem.sizes, functions, True, rng)
        self.host_x = rng.standard_normal((problem.records, problem.sizes[0]))
        self.host_y = rng.standard_normal((problem.records, problem.sizes[-1]))
        self.order = rng.permutation(problem.records)
        self.rates = np.full(-(-problem.records // problem.batch_size), _RATE)
        self._x, self._y = self.binding.place(self.host_x, "X"), self.binding.place(self.host_y, "Y")
        self._batch = self._x[: problem.batch_size, :], self._y[: problem.batch_size, :]
        self._parameters = map_layers(lambda a: self.binding.place(a, "parameters"), self.host_parameters)
        self._slots = map_layers(lambda a: (), self._parameters)
        self._gradients = self.gradient()[1]

    def piece(self, name: str) -> Callable[[], Any]:
        """Return one of `PIECES` as a call without arguments that ends when the device is done."""
        work: Callable[[], Any] = getattr(self, name)

        def run() -> Any:
            result = work()
            self.binding.backend.synchronize(self.binding.device)
            return result

        return run

    def samples(self, piece: str) -> int:
        """Return how many records one call goes through."""
        return self.problem.records if piece == "epoch" else min(self.problem.batch_size, self.problem.records)

    def forward(self) -> Any:
        return self.executable.predict(self._parameters, self._batch[0])

    def gradient(self) -> Any:
        return network.gradient(
            self._parameters,
            *self._batch,
            activations=self.program.activations,
            loss=losses.sse,
            xp=self.binding.xp,
        )

    def update(self) -> Any:
        return network.update(
            self._parameters,
            self._gradients,
            self._slots,
            optimizer=SGD(_RATE),
            learning_rate=_RATE,
            t=1.0,
            xp=self.binding.xp,
        )

    def epoch(self) -> State:
        state = State(self._parameters, self._slots).copy(self.binding.xp)
        self.executable.run(state, self._x, self._y, self.order, self.problem.batch_size, self.rates)
        return state

    def error(self) -> float:
        """Return the largest relative error of a parameter after one epoch, against the definition in float64."""
        from gdkernels.verify import reference, relative_error

        state = State(self.host_parameters, map_layers(lambda a: (), self.host_parameters))
        _, exact = reference(
            self.program, state.parameters, self.host_x, self.host_y, self.order, self.problem.batch_size, self.rates
        )
        errors: list[float] = []

        def compare(a: Any, a64: Any) -> None:
            errors.append(relative_error(self.binding.to_numpy(a), a64))

        map_layers(compare, self.epoch().parameters, exact.parameters)
        return max(errors)
