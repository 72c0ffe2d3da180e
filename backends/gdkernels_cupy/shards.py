"""Steps shared by the GPUs of several ranks: CUDA graphs with NCCL between the gradients and the update.

Where any rank cannot do that, all of them sum their gradients on the host, and `remark` says why.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, State
from gdkernels.backend.program import Program
from gdkernels.backend.sharded_executable import (
    SHARDS,
    Sharded,
    ShardedExecutable,
    Spent,
    check_shards,
    order_of_rank,
    rows_of_rank,
)
from gdkernels.checking.check import Call
from gdkernels.checking.mode import check_mode
from gdkernels.checking.ways import Way
from gdkernels.definition.network import Arrays
from gdkernels.errors import BackendError
from gdkernels.groups import SerialGroup
from gdkernels.groups.sharding import Sharding
from gdkernels.randomness import KeyedOrder
from gdkernels_cupy.choice import persistent_runs, ways_of
from gdkernels_cupy.cuda.device import device
from gdkernels_cupy.cuda.errors import as_backend_errors
from gdkernels_cupy.cuda.nccl import NcclRanks, problem_of_ranks
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.graphs.shared_steps import SharedSteps

__all__ = ["SharedGraphs"]

_log = logging.getLogger("gdkernels")

_WAY = "the engine of CUDA graphs in shards"


class SharedGraphs(Sharded):
    """Decides when it first sees the data, on all ranks alike, what runs the shards of this rank.

    Raises
    ------
    TraceError, ScheduleError
        Where the program is not one that is compiled.
    """

    def __init__(self, program: Program, plan: Plan, number: int, sharding: Sharding, backend: Backend) -> None:
        self._program, self._number, self._sharding, self._backend = program, number, sharding, backend
        self._wished = plan
        # It runs on the shards of one rank; NCCL comes with the decision.
        self._alone = CudaGraphExecutable(program, plan, number, ranks=self._steps_alone())
        self._runs: CudaGraphExecutable | ShardedExecutable = self._alone
        self._exchange = 0.0  # seconds of each step
        self._decided = False
        self.spent = Spent()

    def _steps_alone(self) -> SharedSteps:
        return SharedSteps(Sharding(SerialGroup(), self._sharding.shards))

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self._runs.origin

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        plan = self._runs.plan
        return replace(plan, choices={**plan.choices, SHARDS: self._sharding.shards})

    def settle(self, state: State, batch_size: int) -> None:
        """Choices are made with the data, by which they are checked."""

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
        began, mine = time.perf_counter(), self._of_this_rank(order, batch_size)
        check_shards(self._program, self._sharding, state, x, y, mine, batch_size, learning_rates, sample_weight)
        if not self._decided:
            rows = mine[mine >= 0]
            call = Call(state, x, y, rows, min(batch_size, max(1, len(rows))), learning_rates, sample_weight)
            with as_backend_errors(self._wished.device):
                self._decide(call)
        if isinstance(self._runs, ShardedExecutable):
            self._runs.spent = self.spent
        found = self._runs.run(state, x, y, mine, batch_size, learning_rates, sample_weight)
        if not isinstance(self._runs, ShardedExecutable):
            self.spent.whole += time.perf_counter() - began
            self.spent.exchanging += self._exchange * len(learning_rates)
        return found

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._runs.predict(parameters, x)

    def _of_this_rank(self, order: npt.NDArray[np.int64] | KeyedOrder, batch_size: int) -> npt.NDArray[np.int64]:
        """Return an order whose rows of other ranks' shards are -1."""
        given, found = order_of_rank(self._sharding, order, batch_size), np.full(len(order), -1, np.int64)
        for start in range(0, len(order), batch_size):
            part = rows_of_rank(self._sharding, min(batch_size, len(order) - start))
            here = slice(start + part.start, start + part.stop)
            found[here] = given[here]
        return found

    # ---- what runs

    def _decide(self, call: Call) -> None:
        """Let CUDA graphs run, or have all ranks sum on the host where one of them cannot."""
        group, plan, number = self._sharding.group, self._wished, self._number
        problem = self._common(self._problem(call))
        carrier = None
        if problem is None and group.size > 1:
            problem = problem_of_ranks(group, number)
            if problem is None:
                carrier = NcclRanks(group, device(number))
                problem = carrier.problem(group, device(number))
        if problem is not None:
            self._runs = ShardedExecutable(self._backend, self._program, plan, self._sharding)
            self.remark = f"sums go over the host, because {problem}"
            _log.warning("%s", self.remark)
        else:
            self._runs = CudaGraphExecutable(self._program, plan, number, ranks=SharedSteps(self._sharding, carrier))
            if persistent_runs(self._program, plan, number):
                self.remark = "CUDA graphs run the shards: the persistent kernel exchanges nothing"
                _log.info("%s", self.remark)
            if carrier is not None:
                size = sum(a.nbytes for name, a in call.state.parameters.items() if name in self._program.trained)
                self._exchange = carrier.seconds(-(-size // group.size), group, device(number))
        self._decided = True

    def _problem(self, call: Call) -> str | None:
        """Return why this rank cannot run its shards as CUDA graphs."""
        if is_on_host(call.x):
            return "its data do not fit on the device"
        if check_mode() == "never" or not len(call.order):
            return None
        search = ways_of(self._backend, self._program, self._wished)
        way = Way(_WAY, self._alone, (self._alone,), self._sharding.shards, self._alone.identity)
        try:
            believed = search.believed([way], call)
        except BackendError as error:
            return str(error)
        return None if believed is self._alone else search.passed_over[_WAY]

    def _common(self, problem: str | None) -> str | None:
        """Return the first problem that a rank has, the same on all of them."""
        told = self._sharding.group.gather_json(problem)
        return next((f"of rank {rank}: {one}" for rank, one in enumerate(told) if one is not None), None)
