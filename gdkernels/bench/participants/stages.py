"""The stages of training as things to time: each is a call that users make, and can show its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import gdkernels as gd
from gdkernels import randomness
from gdkernels.backend import Plan, storage_dtype
from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition import network
from gdkernels.definition.chain import by_name
from gdkernels.groups import Group

__all__ = ["PLACEMENTS", "STAGES", "Arrays", "BackendStages", "PlacedStage", "Stage"]

STAGES = ("forward", "gradient", "update", "epoch")
PLACEMENTS = ("resident", "transfers")

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PlacedStage:
    """One of `STAGES`, with its data "resident" on the device, or with "transfers" from the host and back."""

    stage: str
    placement: str = "resident"


class Stage(ABC):
    """A stage of training, ready to be done again and again."""

    def restart(self) -> None:
        """Go back to the initial parameters, where the library allows it."""

    @abstractmethod
    def start(self) -> Arrays:
        """Return what the next call starts from: the parameters ``W0``, ``b0``, …, and the ``order`` of an epoch.

        Where blocks draw random numbers, an epoch also starts from a ``step``: how many steps were done before.
        """

    @abstractmethod
    def launch(self) -> None:
        """Do it once, and return when the library does."""

    @abstractmethod
    def wait(self) -> None:
        """Return when the library says that the device is done."""

    @abstractmethod
    def results(self) -> Arrays:
        """Return the results of the last call, on the host."""


class BackendStages:
    """A task on a backend of gdkernels, with its data and parameters on the device.

    Parameters
    ----------
    task
        The network, its data and how it is trained.
    backend, device, precision
        The place where it runs; the device None is the backend's first.
    group
        The ranks that share each batch; None is this process alone.
    """

    def __init__(
        self,
        task: TrainingTask,
        backend: str,
        *,
        device: str | None = None,
        precision: str = "float32",
        group: Group | None = None,
    ) -> None:
        self.task, self.group = task, group
        where: dict[str, Any] = {"seed": task.seed, "backend": backend, "device": device, "precision": precision}
        program = task.program()
        self.model: gd.Network = (
            gd.MLP(task.sizes, activation=task.activation, **where)
            if task.network == CHAIN
            else gd.Network(program.block, task.sizes[0], **where)
        )
        self.draws = program.draws
        self.model.set_parameters(task.parameters())
        self.trainer = gd.Trainer(self.model, optimizer=task.rule(), loss="sse", batch_size=task.batch, group=group)
        self.host = tuple(a.astype(storage_dtype(precision), copy=False) for a in task.data())
        self.binding = self.model.network.bind(self.host[0])
        self.resident = tuple(self.binding.place(a, name) for a, name in zip(self.host, "XY", strict=True))

    def bind(self) -> None:
        """Compile what training runs, or load it, unless that has happened; ranks agree on it by a fit."""
        if self.group is not None:
            self.trainer.fit(*self.resident, epochs=1, progress=False)
            self.stage(PlacedStage("epoch")).restart()
            return
        data = self.trainer.runner.place_records(*self.resident)
        self.trainer.runner.prepare(self.trainer.workload(len(data)))

    def origin_of(self, stage: str) -> str:
        """Return where a stage comes from: gradient and update alone are never compiled."""
        return self.trainer.runner.executable.origin if stage in ("forward", "epoch") else "definition"

    @property
    def plan(self) -> Plan:
        return self.trainer.runner.executable.plan

    def stage(self, placed: PlacedStage) -> Stage:
        """Return a stage; with "transfers", every call takes data from the host and brings results there."""
        transfers = placed.placement == "transfers"
        x, y = self.host if transfers else self.resident
        if self.group is not None and placed != PlacedStage("epoch"):
            raise UnsuitableError("ranks share epochs over data in memory; the other stages are those of each of them")
        if placed.stage == "epoch":
            return _EpochStage(self, (x, y), transfers=transfers)
        batch = min(self.task.batch, len(self.host[0]))
        calls = {
            "forward": lambda: {"output": self.model.predict(x[:batch, :])},
            "gradient": lambda: self._gradient(x[:batch, :], y[:batch, :]),
            "update": self._update(),
        }
        return _CallStage(self, calls[placed.stage], transfers=transfers)

    def _gradient(self, x: Any, y: Any) -> dict[str, Any]:
        found = self.model.gradient(x, y, loss="sse")
        return found if isinstance(found, dict) else by_name(found)

    def _update(self) -> Callable[[], dict[str, Any]]:
        rule, xp = self.task.rule(), self.binding.xp
        parameters = self.model.network.copied_parameters()
        slots = {name: tuple(xp.zeros_like(a) for _ in range(rule.slots)) for name, a in parameters.items()}
        batch = (a[: self.task.batch, :] for a in self.resident)
        gradients = self._gradient(*batch)
        settings = {"optimizer": rule, "learning_rate": self.task.learning_rate, "t": 1.0, "xp": xp}
        decaying = self.task.program().decaying

        def update() -> dict[str, Any]:
            return network.update(parameters, gradients, slots, decaying=decaying, **settings)[0]

        return update

    def parameters(self) -> Arrays:
        """Return the parameters as they are now, on the host."""
        # Not `model.parameters`, which copies on the device first: fetched at a claimed end, they are as they are then.
        return {name: np.array(self.binding.to_numpy(a)) for name, a in self.model.network.parameters.items()}


class _CallStage(Stage):
    """A call that starts from the same parameters every time."""

    def __init__(self, stages: BackendStages, call: Callable[[], dict[str, Any]], *, transfers: bool) -> None:
        self._stages, self._call, self._transfers = stages, call, transfers
        self._found: dict[str, Any] = {}

    def start(self) -> Arrays:
        return self._stages.parameters()

    def launch(self) -> None:
        self._found = self._call()
        if self._transfers:
            self.results()

    def wait(self) -> None:
        binding = self._stages.binding
        binding.backend.synchronize(binding.device)

    def results(self) -> Arrays:
        return {name: np.asarray(self._stages.binding.to_numpy(a)) for name, a in self._found.items()}


class _EpochStage(Stage):
    """One shuffled pass after another, as `gdkernels.Trainer` does them."""

    def __init__(self, stages: BackendStages, data: tuple[Any, Any], *, transfers: bool) -> None:
        self._stages, self._data, self._transfers = stages, data, transfers

    def restart(self) -> None:
        stages = self._stages
        stages.model.set_parameters(stages.task.parameters())
        runner = stages.trainer.runner
        runner.epochs_done = 0  # the order of the records is then that of the first epoch again
        if stages.draws:
            runner.restore(replace(runner.state(), step=0))

    def start(self) -> Arrays:
        stages = self._stages
        order = randomness.epoch_order(stages.model.seed, stages.trainer.epochs_done, len(stages.host[0]))
        step = {"step": np.asarray(stages.trainer.runner.state().step)} if stages.draws else {}
        return stages.parameters() | {"order": np.asarray(order), **step}

    def launch(self) -> None:
        self._stages.trainer.epoch(*self._data)
        if self._transfers:
            self.results()

    def wait(self) -> None:
        binding = self._stages.binding
        binding.backend.synchronize(binding.device)

    def results(self) -> Arrays:
        return self._stages.parameters()
