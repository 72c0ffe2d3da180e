"""A program in shards as fused code: the gradient of each, their sum over all ranks, and the fused update."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Plan, State
from gdkernels.backend.arguments import arrays_by_name
from gdkernels.backend.program import Program
from gdkernels.backend.sharded_executable import SHARDS, Sharded, Spent, check_shards, order_of_rank
from gdkernels.definition.network import Arrays
from gdkernels.groups import TreeSum, rows_of_shard
from gdkernels.groups.sharding import Sharding
from gdkernels.lowering.elementwise import as_loaded
from gdkernels.lowering.scalars import known_of_steps
from gdkernels.randomness import row_keys
from gdkernels_numba.bytecode.shard_step import ShardOfBatch, ShardStep
from gdkernels_numba.executable import FusedExecutable

__all__ = ["FusedShards"]

Array = npt.NDArray[Any]


class FusedShards(Sharded):
    """Runs the shards of this rank, each on one thread; every thread has the parameters, and takes every step.

    Parameters
    ----------
    fused
        The executable of the program on its own, which has its code and predicts.
    """

    origin = "compiled"

    def __init__(self, program: Program, fused: FusedExecutable, plan: Plan, sharding: Sharding) -> None:
        self.plan = replace(plan, choices={**plan.choices, "threads": 1, SHARDS: sharding.shards})
        self._program, self._fused, self._sharding = program, fused, sharding
        self._dtype = np.dtype(fused.compiled.kernels.format.dtype)
        self._count = min(sharding.threads, len(sharding.mine))
        self._pool = ThreadPoolExecutor(self._count, "gdkernels-shard") if self._count > 1 else None
        self._steps: list[ShardStep] = []
        self._batch = 0
        self._sum: TreeSum | None = None
        self._copies: list[Array] = []
        self.spent = Spent()

    def settle(self, state: State, batch_size: int) -> None:
        rows = -(-batch_size // self._sharding.shards)
        if batch_size == self._batch:
            return
        compiled = self._fused.compiled
        task, choices = compiled.step, self._fused.shard_choices(batch_size, self._sharding.shards)
        assert task is not None, "what has an optimizer has a step"
        self._steps.clear()  # before others take their memory
        self._steps = [ShardStep(task, compiled.kernels, task.sizes_with(rows), choices) for _ in range(self._count)]
        self._batch = batch_size
        self.plan = replace(self.plan, choices={**self.plan.choices, **choices.as_dict()})
        one = self._steps[0]
        self._sum = TreeSum(
            self._sharding.group, self._sharding.shards, one.length, self._dtype, totals=len(one.totals)
        )
        self._copies.clear()

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
        began, program = time.perf_counter(), self._program
        order = order_of_rank(self._sharding, order, batch_size)
        check_shards(program, self._sharding, state, x, y, order, batch_size, learning_rates, sample_weight)
        self.settle(state, batch_size)
        state.parameters = {
            **state.parameters,
            **{name: self._writable(state.parameters[name]) for name in program.trained},
        }
        state.slots = {name: tuple(map(self._writable, slots)) for name, slots in state.slots.items()}
        arrays = {
            "x": self._contiguous(x),
            "y": self._contiguous(y),
            **arrays_by_name(state.parameters, state.slots),
        }
        if sample_weight is not None:
            arrays["sample_weight"] = self._contiguous(sample_weight)[order]
        self._on_all(lambda step: step.begin(arrays))
        records, given = len(order), program.numbers
        known = known_of_steps(learning_rates, done=state.step, records=records, batch=batch_size, numbers=given)
        numbers = self._steps[0].bound.numbers(known, len(learning_rates))
        total = norms = 0.0
        for k in range(len(learning_rates)):
            batch = order[k * batch_size : (k + 1) * batch_size]
            of_step = None if numbers is None else numbers[k]
            error, norm = self._step(state, arrays, batch, k * batch_size, of_step)
            total, norms = total + error, norms + norm
        self._steps[0].end()
        self.spent.whole += time.perf_counter() - began
        return total, norms / len(learning_rates) if program.gradient_norm else None

    def _step(
        self, state: State, arrays: dict[str, Array], batch: Array, place: int, numbers: Array | None
    ) -> tuple[float, float]:
        """Take the step of a batch, which begins at `place` of the order, and return E before it and the norm."""
        tree, shards, program = self._sum, self._sharding.shards, self._program
        assert tree is not None

        def gradient(number: int, step: ShardStep) -> None:
            part = rows_of_shard(number, shards, len(batch))
            if part.start == part.stop:
                step.clear()
                return
            mine, here, shard = batch[part], place + part.start, ShardOfBatch(number, shards, len(batch))
            if program.draws:
                keys = row_keys(state.seed, state.step, len(mine), len(mine), part.start)
                step.gradient({**arrays, "row_keys": as_loaded(keys, self._dtype)}, mine, here, numbers, shard)
            else:
                step.gradient(arrays, mine, here, numbers, shard)

        for number, vector, totals in self._gradients(gradient, tree):
            tree.add(number, vector, totals)
        with self.spent.on_exchange():
            summed, sums = tree.exchanged(into=self._steps[0].exchanged)
        found: list[tuple[float, float]] = []

        def update(step: ShardStep) -> None:
            step.put(summed)
            found.append(step.update(sums, numbers))

        self._on_all(update)
        state.step += 1
        return found[0]

    def _gradients(
        self, gradient: Callable[[int, ShardStep], None], tree: TreeSum
    ) -> Iterator[tuple[int, Array, npt.NDArray[np.float64]]]:
        """Yield the gradient and the totals of each shard of this rank, in their order."""
        mine, pool = self._sharding.mine, self._pool
        if pool is None:
            step = self._steps[0]
            for number in mine:
                gradient(number, step)
                # Nothing overwrites the gradient of the last one before the sum is there.
                whole = step.exchanged if number == mine[-1] else None
                yield number, self._copy(step, tree.depth) if whole is None else whole, step.totals
            return

        def several(worker: int) -> list[tuple[Array, npt.NDArray[np.float64]]]:
            found, step = [], self._steps[worker]
            for k in range(worker, len(mine), self._count):
                gradient(mine[k], step)
                found.append((self._copy(step, k), step.totals))
            return found

        for k in range(len(mine)):
            if k >= len(self._copies):
                self._copies.append(np.empty(tree.length, tree.dtype))
        futures = [pool.submit(copy_context().run, several, worker) for worker in range(self._count)]
        by_worker = [future.result() for future in futures]
        for k, number in enumerate(mine):
            yield number, *by_worker[k % self._count][k // self._count]

    def _copy(self, step: ShardStep, place: int) -> Array:
        while place >= len(self._copies):
            self._copies.append(np.empty(step.length, self._dtype))
        step.copy_to(self._copies[place])
        return self._copies[place]

    def _on_all(self, work: Callable[[ShardStep], None]) -> None:
        if self._pool is None:
            work(self._steps[0])
            return
        for future in [self._pool.submit(work, step) for step in self._steps]:
            future.result()

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._fused.predict(parameters, x)

    def _contiguous(self, a: Any) -> Array:
        return np.ascontiguousarray(a, self._dtype)

    def _writable(self, a: Any) -> Array:
        fits = isinstance(a, np.ndarray) and a.dtype == self._dtype and a.flags.c_contiguous and a.flags.writeable
        return a if fits else np.array(a, self._dtype, order="C")
