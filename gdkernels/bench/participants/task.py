"""The task of every participant: a network, its initial weights, data, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend.program import Program
from gdkernels.backend.verification import continue_on_numpy, relative_error, start
from gdkernels.bench.participants.networks import CHAIN, NETWORKS, in_words
from gdkernels.definition import losses
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.blocks.names import place_of
from gdkernels.definition.chain import Layer, by_layer
from gdkernels.definition.naming import resolve
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, Optimizer

__all__ = ["BLOCK_GRID", "GRID", "TrainingTask", "errors_by_array", "random_tasks"]

Array = npt.NDArray[np.float32]

# Steps after which parameters are compared with the definition: enough to see a wrong update, and few enough that
# rounding has not grown.
_CHECKED_STEPS = 3


@dataclass(frozen=True)
class TrainingTask:
    """Training on SSE with data in memory: float32, shuffled batches, the gradient of E/B.

    Attributes
    ----------
    records
        In an epoch; a multiple of the batch, because some libraries drop the rest.
    optimizer
        "sgd" (plain) or "adam".
    seed
        Of the initial weights, of data that are drawn, and of what blocks draw in training.
    source
        An NPZ file with X [records, inputs] and Y [records, outputs]; without one, data are drawn from the standard
        normal distribution.
    network
        What is made of the layers: one of `NETWORKS`.
    """

    sizes: tuple[int, ...]
    batch: int
    records: int
    activation: str = "relu"
    optimizer: str = "sgd"
    threads: int = 1
    learning_rate: float = 1e-3
    seed: int = 0
    source: str | None = None
    network: str = CHAIN

    def __str__(self) -> str:
        return f"{in_words(self.sizes, self.network)} × {self.batch} {self.activation} {self.optimizer}"

    def as_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        if self.network == CHAIN:
            del fields["network"]  # so that an older checkout can read it too
        return fields

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> TrainingTask:
        return cls(**{**description, "sizes": tuple(description["sizes"])})

    def data(self) -> tuple[Array, Array]:
        """Return X and Y, the same bits in every process."""
        if self.source is not None:
            with np.load(self.source, allow_pickle=False) as arrays:
                return arrays["X"][: self.records], arrays["Y"][: self.records]
        rng = randomness.generator(self.seed, "peers data")
        shape = (self.records, self.sizes[0]), (self.records, self.sizes[-1])
        return rng.standard_normal(shape[0], dtype=np.float32), rng.standard_normal(shape[1], dtype=np.float32)

    def parameters(self) -> dict[str, Any]:
        """Return the initial weights and biases by name, in float32, the same bits in every process."""
        drawn = initial_values(self.program().parameters, randomness.generator(self.seed, "peers weights"))
        return {name: a.astype(np.float32) for name, a in drawn.items()}

    def layers(self) -> tuple[Layer, ...]:
        """Return them layer by layer, if the network is a chain."""
        return by_layer(self.parameters())

    def program(self) -> Program:
        """Return the network, loss and optimizer, as the definition takes them."""
        block = NETWORKS[self.network].block(self.sizes[1:], resolve("activation", self.activation))
        return Program(block, self.sizes[0], objective=Objective(losses.sse), optimizer=self.rule())

    def rule(self) -> Optimizer:
        return SGD(self.learning_rate) if self.optimizer == "sgd" else Adam(self.learning_rate)

    def flops_per_record(self) -> int:
        """Return the FLOPs of the products for a record: forward, gradient, and the way back above the inputs."""
        program = self.program()
        weights = {name: math.prod(s) for name, s in program.shapes.items() if len(s) == 2}
        first = sum(size for name, size in weights.items() if place_of(name) == (0,))
        return 6 * sum(weights.values()) - 2 * first

    def checked_records(self) -> int:
        return min(self.records, _CHECKED_STEPS * self.batch)


def errors_by_array(task: TrainingTask, parameters: Mapping[str, npt.NDArray[Any]], records: int) -> dict[str, float]:
    """Return how far each of `parameters` moved wrong: ‖Δ − Δ64‖/‖Δ64‖.

    Δ is what training on the first `records`, in batches in their order, added to an initial parameter; Δ64 is what the
    definition adds in float64 on NumPy. Movements are compared, and not parameters: a small learning rate would hide a
    wrong gradient behind the weights. Where blocks draw random numbers, both draw the same.
    """
    x, y = task.data()
    program, begun = task.program(), task.parameters()
    exact = start(program, begun, lambda a: np.array(a, np.float64))
    exact.seed = task.seed
    rates = np.full(-(-records // task.batch), task.learning_rate)
    continue_on_numpy(program, exact, x, y, np.arange(records), task.batch, rates)
    moved = {name: a - begun[name] for name, a in exact.parameters.items()}
    return {
        name: relative_error(np.asarray(parameters[name], dtype=np.float64) - begun[name], moved[name])
        for name in program.trained
    }


def _task(sizes: tuple[int, ...], batch: int, records: int, network: str = CHAIN) -> TrainingTask:
    return TrainingTask(sizes, batch, records, NETWORKS[network].activation, network=network)


GRID = (
    _task((8, 32, 32, 1), 32, 8192),
    _task((32, 64, 64, 1), 64, 16384),
    _task((64, 128, 128, 10), 128, 16384),
    _task((256, 256, 256, 256, 10), 256, 16384),
    _task((784, 512, 512, 10), 256, 8192),
    _task((784, 1024, 1024, 1024, 10), 1024, 8192),
    _task((1024, 2048, 2048, 2048, 10), 2048, 8192),
    _task((64, 64, 64, 64, 64, 4), 16384, 131072),
)

BLOCK_GRID = (
    _task((*(128,) * 7, 10), 256, 16384, "residual"),
    _task((*(256,) * 4, 10), 1024, 8192, "gated"),
    _task((512, 512, 512, 10), 256, 16384, "dropout"),
)


def random_tasks(count: int, seed: int, threads: int, least: int = 1) -> list[TrainingTask]:
    """Return `count` random tasks: widths 1 to 3000, batches 1 to 20000, 0 to 6 hidden layers, 1 to 100 outputs.

    `least` is the smallest of widths, batches and outputs.

    Sizes are drawn evenly on a logarithmic scale. A draw whose step would take more than a few tenths of a second on a
    small machine is drawn again, so that the whole stays affordable.
    """
    rng = randomness.generator(seed, "peers tasks")

    def log_uniform(low: int, high: int) -> int:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    tasks: list[TrainingTask] = []
    while len(tasks) < count:
        hidden = [log_uniform(least, 3000) for _ in range(int(rng.integers(0, 7)))]
        sizes = (log_uniform(least, 3000), *hidden, log_uniform(least, 100))
        batch = log_uniform(least, 20000)
        activation = str(rng.choice(["relu", "tanh", "gelu"]))
        optimizer = str(rng.choice(["sgd", "adam"]))
        flops = 6 * batch * sum(m * n for m, n in pairwise(sizes))
        if flops > 3e10:
            continue
        # An epoch of about 2 GFLOP, in 3 to 256 steps.
        steps = int(min(256, max(3, 2e9 // flops)))
        tasks.append(TrainingTask(sizes, batch, batch * steps, activation, optimizer, threads))
    return tasks
