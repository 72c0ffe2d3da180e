"""A task with memory of its own on a device, its steps captured as CUDA graphs, ready to run for some sizes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.graph.text import nodes_text
from gdkernels.lowering.scalars import ScalarTable
from gdkernels.lowering.task import DATA, ScheduledTask
from gdkernels.randomness import KeyedOrder
from gdkernels.system.hashing import sha256
from gdkernels_cupy.cuda.device import CudaDevice, DeviceMemory
from gdkernels_cupy.cuda.keyed_order import order_words
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.bound_steps import BoundSteps, StepBinder, bound_call, do
from gdkernels_cupy.graphs.calls import calls_of, fill_order, module_text
from gdkernels_cupy.graphs.captured_graphs import MOST_NODES, CapturedGraphs
from gdkernels_cupy.graphs.epilogue_fusion import OVERWRITING
from gdkernels_cupy.graphs.grouping import Launch, grouped
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.memory_plan import plan_memory
from gdkernels_cupy.graphs.operations import BYTES, DeviceBuffer, OperationList
from gdkernels_cupy.graphs.session_memory import SUMS, DeviceArray, SessionAddresses
from gdkernels_cupy.graphs.shared_steps import SharedSteps
from gdkernels_cupy.graphs.step_text import step_text

__all__ = ["GraphSession"]

_KEPT_RESTS = 7  # sizes of a last batch besides the one of this run
_CAPTURED_AT = 3  # runs with a last batch of a size that was added: a capture takes as long as two launches or more
_REPEATS = 5  # of what is timed
_TIMED_SECONDS, _TIMED_ROWS = 4e-3, 1 << 20  # of the steps that are timed, at least and at most


@dataclass(frozen=True)
class _PlannedList:
    """A list of operations with its place in memory."""

    op_list: OperationList
    offsets: dict[str, int]
    bytes: int


class GraphSession:
    """Runs a task; one run at a time.

    Parameters
    ----------
    pieces
        For each number of rows that a batch can have, its micro-batches; a full batch first.
    epilogues
        What products may take over: only what this device was seen to do right. `offered` keeps them, `epilogues` those
        that lists of several micro-batches can have.
    algorithms
        Those of an earlier plan, by what they were chosen for; others are added.
    streamed
        Whether data stays in the host's memory: each batch is then fetched while the one before is worked on.
    ranks
        The ranks that share each batch; the pieces are then its shards.
    """

    def __init__(
        self,
        device: CudaDevice,
        task: ScheduledTask,
        widths: tuple[int, ...],
        precision: str,
        pieces: Iterable[tuple[int, ...]],
        epilogues: Iterable[str],
        algorithms: dict[str, str],
        *,
        streamed: bool = False,
        ranks: SharedSteps | None = None,
    ) -> None:
        self._ranks = ranks
        self.device, self.task, self.precision, self.widths = device, task, precision, widths
        self.algorithms, self.streamed = algorithms, streamed
        pieces = tuple(pieces)
        self.pieces = pieces[0]
        # The numbers of a step are the same for all lists: what one of them may not do, none does.
        self.offered = tuple(epilogues)
        self.epilogues = tuple(e for e in self.offered if len(self.pieces) == 1 or e not in OVERWRITING)
        self.batch = sum(self.pieces)
        planned = [self._planned(p) for p in pieces]
        self.op_list = planned[0].op_list
        self.scalars = ScalarTable(self.op_list.scalars)
        self._count = self.op_list.numbers + self.op_list.numbers % 2  # so that what follows stays aligned
        self._numbers = device.allocate(SessionAddresses.bytes(self._count))
        self._memory = device.allocate(max(p.bytes for p in planned))
        self.bytes = self._memory.size + self._numbers.size
        self._at: dict[int, SessionAddresses] = {}
        self._steps: dict[int, BoundSteps] = {}
        self._nodes: dict[int, int] = {}
        self._graphs = CapturedGraphs()
        self._texts: dict[int, str] = {}
        carrier = None if ranks is None else ranks.carrier
        self._binder = StepBinder(
            device, precision, self.batch, algorithms, streamed=streamed, timed=ranks is None, carrier=carrier
        )
        self._module = device.kernels(module_text(self._launches(p.op_list) for p in planned))
        for rows, plan in zip(map(sum, pieces), planned, strict=True):
            self._take_in(rows, plan, self._module)
        self._used = dict.fromkeys(self._steps, _CAPTURED_AT)

    def _planned(self, pieces: tuple[int, ...]) -> _PlannedList:
        sizes = self.task.sizes_with(sum(pieces))
        dealt = None if self._ranks is None else self._ranks.dealt
        op_list = lower(self.task, sizes, self.precision, pieces, self.epilogues, dealt)
        return _PlannedList(op_list, *plan_memory(op_list, streamed=self.streamed))

    def _launches(self, op_list: OperationList) -> tuple[Launch, ...]:
        return grouped(op_list, streamed=self.streamed)

    def _take_in(self, rows: int, plan: _PlannedList, module: Any) -> None:
        self._at[rows] = SessionAddresses(self._memory.address, plan.offsets, self._numbers.address, self._count)
        steps = self._binder.bound(plan.op_list, self._at[rows], module)
        self._steps[rows], self._texts[rows] = steps, step_text(plan.op_list.operations)
        self._nodes[rows] = len(steps.rest[0]) + len(steps.gathers[0])

    def add(self, pieces: tuple[int, ...]) -> bool:
        """Let a last batch have so many records too, where that fits into the session's memory; return whether.

        Raises
        ------
        UnsupportedProductError
            Where cuBLAS has no algorithm for what an epilogue does with so many.
        """
        rows = sum(pieces)
        if rows in self._steps:
            return True
        plan = self._planned(pieces)
        lasting = [b.name for b in self.op_list.lasting]
        stays = all(plan.offsets[name] == self._at[self.batch].offsets[name] for name in lasting)
        same = [n.id for n in plan.op_list.scalars] == [n.id for n in self.op_list.scalars]
        if plan.bytes > self._memory.size or not (stays and same) or plan.op_list.numbers != self.op_list.numbers:
            return False
        self._take_in(rows, plan, self.device.kernels(module_text([self._launches(plan.op_list)])))
        self._used[rows] = 0
        for old in [r for r in self._steps if r not in (self.batch, rows)][:-_KEPT_RESTS]:
            for kept in (self._at, self._steps, self._nodes, self._texts, self._used):
                kept.pop(old)
            self._graphs.forget(old)
        return True

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what results of this session depend on besides its device."""
        kernels = sha256(module_text([self._launches(self.op_list)]).encode()).hexdigest()
        scalars = nodes_text(self.op_list.scalars)
        mine = {key: self.algorithms[key] for key in sorted(self._binder.products)}
        return [self._texts[self.batch], kernels, scalars, mine, self.streamed]

    def _launch(self, rows: int, count: int = 1) -> None:
        """Do so many steps; where data is streamed, each fetches the next one's batch on another stream."""
        steps, stream, copying = self._steps[rows], self.device.stream, self.device.copying
        do(steps.gathers[0])
        for k in range(count):
            fetches = self.streamed and k + 1 < count
            if fetches:
                # The batch before last is worked on: its place is free.
                copying.wait_event(stream.record())
                with copying:
                    do(steps.gathers[(k + 1) % 2])
                fetched = copying.record()
            do(steps.rest[k % len(steps.rest)])
            if fetches:
                stream.wait_event(fetched)

    # ---- parameters

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Bring parameters and slots in, and make their copies."""
        for name, buffer in self.op_list.parameters.items():
            size = BYTES[buffer.storage]
            width = buffer.columns * size
            self.device.copy_rows(
                self._at[self.batch].of(buffer), buffer.pitch * size, arrays[name].data.ptr, width, width, buffer.rows
            )
        for name, copy in self.op_list.copies.items():
            cast = ops.Cast(self.op_list.parameters[name], copy)
            for call in calls_of(cast, self.op_list, self.batch, self._at[self.batch]):
                bound_call(call, self._module)()

    def store(self, arrays: Mapping[str, Any]) -> None:
        """Put parameters and slots back into the caller's arrays."""
        for name, buffer in self.op_list.parameters.items():
            self._copy_out(buffer, arrays[name].data.ptr, buffer.rows)

    def _copy_out(self, buffer: DeviceBuffer, to: int, rows: int) -> None:
        size = BYTES[buffer.storage]
        width = buffer.columns * size
        at = self._at[self.batch].of(buffer)
        self.device.copy_rows(to, width, at, buffer.pitch * size, width, rows)

    # ---- runs

    def run(
        self,
        parameters: Mapping[str, Any],
        sources: Mapping[str, DeviceArray],
        order: npt.NDArray[np.int64] | KeyedOrder,
        table: npt.NDArray[np.float64],
    ) -> tuple[float, float]:
        """Do a step for each row of `table` and put the results into `parameters`; nothing changes if that fails.

        Parameters
        ----------
        order
            The rows to use: full batches, and what is left in the last.
        table
            The numbers of each step that the host knows, after zero and one.

        Returns
        -------
        tuple
            The sums over the steps of E and of the gradient's norm.
        """
        rest = len(order) % self.batch
        full = len(table) - (rest > 0)
        sums = np.zeros(SUMS)
        with self.device.working():
            rows_there, table_there = self._put_order(order), self.device.put(table)
            control = self._control(sources, rows_there.address, table_there.address)
            counts = {rows: count for rows, count in ((self.batch, full), (rest, 1)) if rows and count}
            if self._ranks is not None:
                self._nodes |= self._ranks.nodes_of_all({rows: self._nodes[rows] for rows in counts})
            captured = {rows: count for rows, count in counts.items() if self._is_captured(rows)}
            self._prepare(control, captured)
            self._upload_control(control)
            self.device.upload(self._at[self.batch].sums_at, sums)
            self.load(parameters)
            for rows, count in counts.items():
                if rows not in captured:
                    self._launch(rows, count)
                    continue
                for size, times in self._graphs.parts(count, self._nodes[rows]):
                    for _ in range(times):
                        self._graphs[rows, size].launch(self.device.stream)
            self.device.download(sums, self._at[self.batch].sums_at)
            self.store(parameters)
        return float(sums[0]), float(sums[1])

    def _is_captured(self, rows: int) -> bool:
        """Return whether steps on so many records are worth a graph: not where a last batch may never come again."""
        self._used[rows] += 1
        return self._used[rows] >= _CAPTURED_AT

    def seconds(
        self,
        parameters: Mapping[str, Any],
        sources: Mapping[str, DeviceArray],
        order: npt.NDArray[np.int64] | KeyedOrder,
        table: npt.NDArray[np.float64],
    ) -> float:
        """Return what a step on a full batch takes here; arguments are those of `run`, and nothing of them changes."""
        full = min(len(order) // self.batch, max(1, _TIMED_ROWS // self.batch))
        order = np.asarray(order[: full * self.batch])
        one = self._seconds_of(1, parameters, sources, order, table)
        count = min(_TIMED_ROWS // self.batch, round(_TIMED_SECONDS / one), MOST_NODES // self._nodes[self.batch])
        if count <= 1:
            return one
        rows = np.resize(order, count * self.batch)
        numbers = np.resize(table[:full], (count, table.shape[1]))
        return self._seconds_of(count, parameters, sources, rows, numbers) / count

    def _seconds_of(
        self,
        count: int,
        parameters: Mapping[str, Any],
        sources: Mapping[str, DeviceArray],
        order: npt.NDArray[np.int64],
        table: npt.NDArray[np.float64],
    ) -> float:
        times = []
        with self.device.working():
            rows_there, table_there = self.device.put(order), self.device.put(table)
            control = self._control(sources, rows_there.address, table_there.address)
            self._prepare(control, {self.batch: count})
            for _ in range(_REPEATS):
                self._upload_control(control)
                self.load(parameters)
                self.device.stream.synchronize()
                began = perf_counter()
                self._graphs[self.batch, count].launch(self.device.stream)
                self.device.stream.synchronize()
                times.append(perf_counter() - began)
        return statistics.median(times)

    def _prepare(self, control: npt.NDArray[np.int64], counts: Mapping[int, int]) -> None:
        """Capture what is not captured yet; each list runs once before, so that all its kernels are loaded."""

        def once(missing: list[int]) -> None:
            for rows in missing:
                self._upload_control(control)
                self._launch(rows)
            self.device.stream.synchronize()

        def capture(rows: int, count: int) -> Any:
            return self.device.captured([partial(self._launch, rows, count)])

        self._graphs.prepare(counts, self._nodes, once, capture)

    def _put_order(self, order: npt.NDArray[np.int64] | KeyedOrder) -> DeviceMemory:
        """Return memory with the numbers of an order; those of a keyed one are computed there."""
        if not isinstance(order, KeyedOrder):
            return self.device.put(order)
        there, words = self.device.allocate(8 * len(order)), self.device.put(order_words(order))
        bound_call(fill_order(words.address, order.first, len(order), there.address), self._module)()
        return there

    def _upload_control(self, control: npt.NDArray[np.int64]) -> None:
        """Let a run begin at its first step: its own work, and what is fetched ahead."""
        self.device.upload(self._at[self.batch].control, np.concatenate([control, control]))

    def predict(self, parameters: Mapping[str, Any], x: DeviceArray, inputs: int, output: Any, table: Any) -> None:
        """Write the network's output for all records [records, inputs] into `output`, a batch at a time."""
        buffer = self.op_list.output
        assert buffer is not None
        item = BYTES[buffer.storage]
        with self.device.working():
            table_there = self.device.put(table)
            self.load(parameters)
            for start in range(0, x.records, self.batch):
                count = min(self.batch, x.records - start)
                part = DeviceArray(x.address + start * inputs * item, count)
                self._upload_control(self._control({"x": part}, 0, table_there.address))
                self._launch(self.batch)
                self._copy_out(buffer, output.data.ptr + start * buffer.columns * item, count)

    def _control(self, sources: Mapping[str, DeviceArray], order: int, table: int) -> npt.NDArray[np.int64]:
        records = next(iter(sources.values())).records
        addresses = [sources[name].address if name in sources else 0 for name in DATA]
        return np.array([0, 0, order, table, records, *addresses], np.int64)
