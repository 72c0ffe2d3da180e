"""A batch in shards, dealt to the ranks of a group: sum the gradients in one fixed tree, then take one step.

What a shard gives depends on its rows alone: it is computed on one thread, whatever the rank has. A rank computes
several shards at a time on its threads, and adds them in their order.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State
from gdkernels.backend.arguments import check_run
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.gradient_accumulation import in_steps, summing, take_step
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.groups import TreeSum, rows_of_shard
from gdkernels.groups.sharding import Sharding
from gdkernels.randomness import KeyedOrder
from gdkernels.system.thread_limits import at_most

__all__ = ["SHARDS", "Sharded", "ShardedExecutable", "Spent", "check_shards", "order_of_rank", "rows_of_rank"]

SHARDS = "shards"  # among the choices of a plan

_FEW = 4096  # places of an order, one behind the other: with as few, computing those between them takes less time

Array = npt.NDArray[Any]

# From a shard, the executable and the place in memory for it, its gradient, E and the sum of weights.
_Gradient = Callable[[int, int, int], tuple[Array, float, float]]


@dataclass
class Spent:
    """The seconds of a rank: in all, those in which it exchanged sums or waited for others, and its CPU's in these."""

    whole: float = 0.0
    exchanging: float = 0.0
    cpu_exchanging: float = 0.0

    @contextmanager
    def on_exchange(self) -> Iterator[None]:
        """Count the time within as exchange."""
        began, cpu = time.perf_counter(), time.thread_time()
        yield
        self.exchanging += time.perf_counter() - began
        self.cpu_exchanging += time.thread_time() - cpu


class Sharded(Executable):
    """An executable of a group: it runs the shards of this rank, and the steps of all.

    Attributes
    ----------
    spent
        The seconds so far.
    """

    spent: Spent

    @property
    def takes_keyed_orders(self) -> bool:
        return True  # `order_of_rank` computes what this rank needs of them

    @abstractmethod
    def settle(self, state: State, batch_size: int) -> None:
        """Make the choices of the plan that are made when sizes are known; the state does not change."""


def order_of_rank(
    sharding: Sharding, order: npt.NDArray[np.int64] | KeyedOrder, batch_size: int
) -> npt.NDArray[np.int64]:
    """Return an order whose rows are right where this rank's shards have them; of a keyed one, others are -1.

    Those of other ranks need not be computed.
    """
    rows = len(rows_of_rank(sharding, batch_size))
    if not isinstance(order, KeyedOrder) or rows < _FEW or sharding.group.size == 1:
        return np.ascontiguousarray(order, np.int64)
    found = np.full(len(order), -1, np.int64)
    for start in range(0, len(order), batch_size):
        part = rows_of_rank(sharding, min(batch_size, len(order) - start))
        here = slice(start + part.start, start + part.stop)
        found[here] = order[here]
    return found


def rows_of_rank(sharding: Sharding, rows: int) -> range:
    """Return the rows of a batch of so many that are in the shards of this rank."""
    first, last = (rows_of_shard(k, sharding.shards, rows) for k in (sharding.mine[0], sharding.mine[-1]))
    return range(first.start, last.stop)


def check_shards(
    program: Program,
    sharding: Sharding,
    state: State,
    x: Any,
    y: Any,
    order: npt.NDArray[np.int64],
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
    sample_weight: Any = None,
) -> None:
    """Refuse arguments of a run that do not fit, among the rows those of this rank: others may mean nothing here.

    Raises
    ------
    InputError
        As for `check_run`.
    """
    starts = range(0, len(order), batch_size) if batch_size > 0 else ()
    if batch_size < 1 or not starts or len(learning_rates) != len(starts):  # it names what is wrong
        check_run(program, state.parameters, x, y, order, batch_size, learning_rates, sample_weight)
    largest = 0  # of the rows, where negative ones are larger than all others
    for start in starts:
        batch = order[start : start + batch_size].view(np.uint64)
        parts = (batch[rows_of_shard(shard, sharding.shards, len(batch))] for shard in sharding.mine)
        largest = max(largest, *(int(part.max()) for part in parts if len(part)), 0)
    row = np.array([largest], np.uint64).view(np.int64)
    check_run(program, state.parameters, x, y, row, 1, learning_rates[:1], sample_weight)


class ShardedExecutable(Sharded):
    """Runs a program on the shards of this rank; the definition computes the step from the sum over all shards.

    Parameters
    ----------
    rows
        The most rows of a shard that are computed at a time.
    made
        Makes what computes gradients from a program and a plan; None is what the backend compiles, or the definition.
    """

    def __init__(
        self,
        backend: Backend,
        program: Program,
        plan: Plan,
        sharding: Sharding,
        rows: int | None = None,
        made: Callable[[Program, Plan], Executable] | None = None,
    ) -> None:
        self._backend, self._program, self._sharding, self._rows = backend, program, sharding, rows
        one = {"threads": 1} if backend.threads(plan.device) else {}
        with at_most(1):
            count = min(sharding.threads, len(sharding.mine))
            made = made or partial(bind, backend)
            parts = [made(summing(program), replace(plan, choices={**plan.choices, **one})) for _ in range(count)]
        self._parts = parts
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="gdkernels-shard") if count > 1 else None
        self.origin = parts[0].origin
        self.spent = Spent()
        self._sum: TreeSum | None = None
        self._flat: dict[int, Array] = {}
        self._tell()

    def _tell(self) -> None:
        plan = self._parts[0].plan
        rows = {} if self._rows is None else {"rows_at_a_time": self._rows}
        self.plan = replace(plan, choices={**plan.choices, SHARDS: self._sharding.shards, **rows})

    def settle(self, state: State, batch_size: int) -> None:
        """Make the choices of the plan that are made when sizes are known, by a record that changes nothing."""
        program, backend = self._program, self._backend
        dtype = str(backend.to_numpy(next(iter(state.parameters.values()))).dtype)

        def zeros(*shape: int) -> Any:
            return backend.asarray(np.zeros(shape, dtype), dtype=dtype, device=self.plan.device)

        weights = zeros(1) if program.weighted else None
        flat = np.zeros(self._tree(state).length, self._tree(state).dtype)
        self._shard_gradient(
            state,
            zeros(1, program.inputs),
            zeros(1, program.outputs),
            np.zeros(1, np.int64),
            weights,
            flat=flat,
            size=self._rows_at_once(batch_size),
            worker=0,
            first=0,
        )
        self._tell()

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
        """Do the steps of all ranks; of the rows that `order` names, only those of this rank's shards are looked at."""
        began, order = time.perf_counter(), order_of_rank(self._sharding, order, batch_size)
        check_shards(self._program, self._sharding, state, x, y, order, batch_size, learning_rates, sample_weight)
        weights = None if sample_weight is None else self._backend.to_numpy(sample_weight)
        with self._on_device(), np.errstate(all="ignore"):
            total, norm = in_steps(
                lambda batch, rate: self._step(state, x, y, batch, batch_size, rate, sample_weight, weights),
                order,
                batch_size,
                learning_rates,
            )
        self._tell()
        self.spent.whole += time.perf_counter() - began
        return total, norm if self._program.gradient_norm else None

    def _on_device(self) -> AbstractContextManager[Any]:
        return self._backend.on_device(self.plan.device)

    def _step(
        self,
        state: State,
        x: Any,
        y: Any,
        batch: npt.NDArray[np.int64],
        batch_size: int,
        rate: float,
        sample_weight: Any,
        weights: Array | None,
    ) -> tuple[float, float]:
        """Take the step of a batch, and return E before it and the norm of the gradient, or 0 if none is wanted."""
        shards, xp = self._sharding.shards, self._backend.xp
        size, tree = self._rows_at_once(batch_size), self._tree(state)

        def gradient(number: int, worker: int, place: int) -> tuple[Array, float, float]:
            part = rows_of_shard(number, shards, len(batch))
            flat = self._buffer(place, tree)
            flat[:] = 0
            if part.start == part.stop:
                return flat, 0.0, 0.0
            rows = batch[part]
            error = self._shard_gradient(
                state, x, y, rows, sample_weight, flat=flat, size=size, worker=worker, first=part.start
            )
            return flat, error, float(len(rows)) if weights is None else float(np.sum(weights[rows], dtype=np.float64))

        for number, (flat, error, weight) in zip(self._sharding.mine, self._each(gradient, tree), strict=True):
            tree.add(number, flat, np.array([error, weight]))
        with self.spent.on_exchange():
            summed, totals = tree.exchanged()
        error, weight = totals.tolist()
        gradients = {
            name: self._backend.asarray(view, dtype=str(view.dtype), device=self.plan.device)
            for name, view in self._views(summed, state.parameters).items()
        }
        return take_step(self._program, state, error, gradients, total_weight=weight, rate=rate, xp=xp)

    def _shard_gradient(
        self,
        state: State,
        x: Any,
        y: Any,
        rows: npt.NDArray[np.int64],
        sample_weight: Any,
        *,
        flat: Array,
        size: int,
        worker: int,
        first: int,
    ) -> float:
        """Add the gradient of some rows to `flat`, so many at a time, and return their E."""
        views, device = self._views(flat, state.parameters), self.plan.device
        slots = {n: (self._backend.asarray(v, dtype=str(v.dtype), device=device),) for n, v in views.items()}
        sums = State(dict(state.parameters), slots, state.step, state.seed, first)
        given = () if sample_weight is None else (sample_weight,)
        with at_most(1):
            error, _ = self._parts[worker].run(sums, x, y, rows, size, np.zeros(-(-len(rows) // size)), *given)
        for name, view in views.items():
            found = self._backend.to_numpy(sums.slots[name][0])
            if found is not view:
                view[...] = found
        return error

    def _rows_at_once(self, batch_size: int) -> int:
        """Return how many rows of a shard are computed at a time: one number for all shards, whatever their rows."""
        of_shard = -(-batch_size // self._sharding.shards)
        return of_shard if self._rows is None else min(of_shard, self._rows)

    def _each(self, gradient: _Gradient, tree: TreeSum) -> Iterator[tuple[Array, float, float]]:
        """Yield what `gradient` gives for each shard of this rank; each thread has an executable of its own."""
        mine, pool = self._sharding.mine, self._pool
        if pool is None:
            for number in mine:
                yield gradient(number, 0, tree.depth)  # the places behind those that still wait for a sibling
            return
        count = len(self._parts)

        def several(worker: int) -> list[tuple[Array, float, float]]:
            return [gradient(number, worker, number) for number in mine[worker::count]]

        found = [pool.submit(copy_context().run, several, worker) for worker in range(count)]
        by_worker = [one.result() for one in found]
        yield from (by_worker[k % count][k // count] for k in range(len(mine)))

    def _tree(self, state: State) -> TreeSum:
        if self._sum is None:
            trained = [state.parameters[name] for name in self._program.trained]
            length = sum(math.prod(a.shape) for a in trained)
            dtype = self._backend.to_numpy(trained[0]).dtype
            self._sum = TreeSum(self._sharding.group, self._sharding.shards, length, dtype, totals=2)
        return self._sum

    def _buffer(self, place: int, tree: TreeSum) -> Array:
        if place not in self._flat:
            self._flat[place] = np.empty(tree.length, tree.dtype)
        return self._flat[place]

    def _views(self, flat: Array, parameters: Arrays) -> dict[str, Array]:
        """Return the parts of a vector that are the gradients of the parameters."""
        found, at = {}, 0
        for name in self._program.trained:
            shape = tuple(parameters[name].shape)
            count = math.prod(shape)
            found[name] = flat[at : at + count].reshape(shape)
            at += count
        return found

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._parts[0].predict(parameters, x)
