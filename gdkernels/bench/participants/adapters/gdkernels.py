"""gdkernels on one of its backends: every stage of training, and a product, a layer and a copy for the ceilings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import gdkernels as gd
from gdkernels.backend.sharded_executable import Sharded
from gdkernels.bench.participants.adapter import Adapter, Order
from gdkernels.bench.participants.stages import Arrays, BackendStages, PlacedStage, Stage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.dispatch import choosing
from gdkernels.groups import Group, joined

__all__ = ["GdkernelsAdapter"]


class GdkernelsAdapter(Adapter):
    """gdkernels, as `gdkernels.MLP` and `gdkernels.Trainer` run it."""

    _stages: BackendStages
    _group: Group | None = None

    def ready(self) -> None:
        me = self.participant
        if me.group is not None:
            self._group = joined(me.group)
        self._backend = choosing.choose(me.name, me.device, me.precision).backend
        self._backend.asarray(np.zeros((1, 1)), dtype="float32", device=me.device)
        self._synchronize()

    def load(self, task: TrainingTask) -> None:
        me = self.participant
        self.task = task
        self._stages = BackendStages(task, me.name, device=me.device, precision=me.precision, group=self._group)

    def bind(self) -> bool:
        self._stages.bind()
        return True

    def train_on(self, order: Order) -> None:
        runner = self._stages.trainer.runner
        # What blocks draw for a record depends on its place in the batch.
        runner.order = (lambda epoch, records: np.arange(records)) if self._stages.draws else None
        for start in range(0, len(order), self.task.batch):
            # One batch an epoch: the order within a batch does not matter, that of the batches does.
            x, y = self._batch(order[start : start + self.task.batch])
            self._stages.trainer.epoch(x, y)
        runner.order = None
        self._synchronize()

    def epoch(self) -> None:
        self._stages.trainer.epoch(*self._stages.resident)
        self._synchronize()

    def fit(self, epochs: int) -> None:
        self._stages.trainer.fit(*self._stages.resident, epochs=epochs, progress=False)
        self._synchronize()

    def parameters(self) -> Arrays:
        return self._stages.parameters()

    def stage(self, placed: PlacedStage, *, in_order: bool) -> Stage:
        return self._stages.stage(placed)  # the order of an epoch is known: it comes from the seed

    def product(self, size: int) -> Callable[[], Any] | None:
        binding = self._stages.binding
        a = self._numbers(size)

        def product() -> None:
            with binding.backend.on_device(binding.device):
                binding.xp.matmul(a, a)
            self._synchronize()

        return product

    def layer(self, size: int) -> Callable[[], Any] | None:
        me = self.participant
        mlp = gd.MLP([size, size], bias=False, seed=0, backend=me.name, device=me.device, precision=me.precision)
        a = self._numbers(size)

        def layer() -> None:
            mlp.predict(a)
            self._synchronize()

        return layer

    def copy(self, size: int) -> Callable[[], Any] | None:
        binding, threads = self._stages.binding, self.participant.threads if self.participant.device == "cpu" else 1
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

    def common(self, number: float) -> float:
        return number if self._group is None else float(self._group.gather_numbers([number])[0, 0])

    def exchanging(self) -> float | None:
        runs = None if self._group is None else self._stages.trainer.runner.executable
        return runs.spent.exchanging if isinstance(runs, Sharded) else None

    def described(self, stage: str) -> dict[str, Any]:
        return {"origin": self._stages.origin_of(stage), "plan": self._stages.plan.as_dict()}

    def _batch(self, rows: Order) -> tuple[Any, Any]:
        first, count = int(rows[0]), len(rows)
        if np.array_equal(rows, np.arange(first, first + count)):
            x, y = self._stages.resident
            return x[first : first + count, :], y[first : first + count, :]
        x, y = self._stages.host
        return x[rows], y[rows]

    def _synchronize(self) -> None:
        self._backend.synchronize(self.participant.device)

    def _numbers(self, size: int) -> Any:
        return self._stages.binding.place(np.random.default_rng(0).standard_normal((size, size)), "numbers")

    def _zeros(self, count: int) -> Any:
        return self._stages.binding.place(np.zeros(count, self._stages.binding.dtype), "zeros")
