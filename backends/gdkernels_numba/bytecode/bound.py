"""A task with memory of its own, ready to run for some sizes."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.scalars import scalar_table
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, allocate
from gdkernels_numba.bytecode.by_rows import write_tile_by_rows
from gdkernels_numba.bytecode.by_units import changed_on_the_way, columns_of_thread, write_tile_by_units
from gdkernels_numba.bytecode.layout import Layout
from gdkernels_numba.bytecode.operands import Tables
from gdkernels_numba.bytecode.update import add_blocks, add_columns, add_copies, add_numbers, add_record
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.cpu.threads import run_on_threads
from gdkernels_numba.ir.vector import GRANULE
from gdkernels_numba.plan import GRAIN, Choices
from gdkernels_numba.vm.instructions import BARRIER_BYTES, CONTEXT, FIELDS, GIVEN_UP, Table

__all__ = ["Bound"]

_ORDER, _RECORDS, _STEPS, _SCALARS = (CONTEXT.index(k) for k in ("order", "records", "steps", "scalars"))

Array = npt.NDArray[Any]


class Bound:
    """Runs a task; one run at a time.

    Parameters
    ----------
    sizes
        The value of each dimension, by its name; "B" is that of a full batch.
    """

    def __init__(self, task: ScheduledTask, kernels: Kernels, sizes: Mapping[str, int], choices: Choices) -> None:
        self.task, self.kernels, self.sizes, self.choices = task, kernels, sizes, choices
        self._memory, base = allocate(self.measure(task, kernels, sizes, choices))
        self.layout = Layout(task, sizes, choices, kernels.format, Arena(kernels.format, base))
        self.threads = [Tables(self.layout, kernels, k) for k in range(choices.threads)]
        self._write_tables()
        self._words: dict[int, npt.NDArray[np.int64]] = {}
        for tables in self.threads:
            for table in (tables.before, tables.transposes, tables.tile, *tables.updates, tables.after):
                self._words[id(table)] = table.array()
        self._results = np.frombuffer(self._memory, np.float64, 2, self.layout.results - self._memory.ctypes.data)
        self._barrier = np.frombuffer(
            self._memory, np.int64, BARRIER_BYTES // 8, self.layout.barrier - self._memory.ctypes.data
        )
        self._contexts = [self._context(k) for k in range(choices.threads)]
        self._last: dict[str, Array] = {}
        self._lock = threading.Lock()

    @staticmethod
    def measure(task: ScheduledTask, kernels: Kernels, sizes: Mapping[str, int], choices: Choices) -> int:
        """Return how many bytes it needs."""
        arena = Arena(kernels.format)
        Layout(task, sizes, choices, kernels.format, arena)
        return arena.size

    # ---- tables

    def _write_tables(self) -> None:
        task, layout = self.task, self.layout
        write_tile = write_tile_by_units if self.choices.by_units else write_tile_by_rows
        for tables in self.threads:
            write_tile(tables, task.output)
        for (name, matrix), (k, tables) in product(layout.parameters.items(), enumerate(self.threads)):
            first, stop = (layout.rows(name) * j // len(self.threads) for j in (k, k + 1))
            tables.add_parameter(name, matrix, first, stop, back=task.output is None)
        for tables, name, first, stop in self._shared(n for n in layout.parameters if n in layout.copied):
            with tables.transposes.blocks(layout.rows(name), layout.parameters[name].columns, first, stop):
                add_copies(tables, tables.transposes, name)
        for phase in range(len(task.schedule.updates)):
            for tables in self.threads:
                add_numbers(tables, phase, [n for n in layout.totals if layout.phase_of[n.id] == phase])
        if task.output is None:
            for k, node in enumerate((task.error, task.norm)):
                if node is not None:
                    add_record(self.threads[0], node, layout.results + 8 * k)
            self._write_updates()

    def _write_updates(self) -> None:
        layout = self.layout
        phases = range(len(self.task.schedule.updates))
        names = [n for n in layout.parameters if "." not in n]
        if not self.choices.by_units:
            for phase, (tables, name, first, stop) in product(phases, list(self._shared(names))):
                add_blocks(tables, phase, name, first, stop)
            return
        # The columns that the thread multiplied with, and may still have in its cache.
        changed = changed_on_the_way(layout).values()
        for phase, tables, name in product(phases, self.threads, names):
            if name not in changed:
                for start, stop in columns_of_thread(tables, layout.parameters[name].columns):
                    add_columns(tables, phase, name, start, stop)

    def _shared(self, names: Iterable[str]) -> Iterator[tuple[Tables, str, int, int]]:
        """Give each thread some consecutive blocks of each parameter, of all together about as much work as others."""
        costs = {name: self.layout.block_costs(name) for name in names}
        threads = len(self.threads)
        loads = np.zeros(threads)
        for name, cost in sorted(costs.items(), key=lambda item: -float(item[1].sum())):
            wanting = np.maximum((loads.sum() + cost.sum()) / threads - loads, 0.0)
            edges = np.cumsum(wanting / wanting.sum() * cost.sum())
            thread_of = np.minimum(np.searchsorted(edges, np.cumsum(cost) - cost / 2), threads - 1)
            loads += np.bincount(thread_of, cost, threads)
            bounds = np.searchsorted(thread_of, range(threads + 1))
            for tables, first, stop in zip(self.threads, bounds[:-1], bounds[1:], strict=True):
                if first < stop:
                    yield tables, name, int(first), int(stop)

    def _context(self, thread: int) -> npt.NDArray[np.int64]:
        layout, choices, tables, form = self.layout, self.choices, self.threads[thread], self.kernels.format

        def at(table: Table) -> int:
            return self._words[id(table)].ctypes.data

        updates = [*(at(t) for t in tables.updates), 0, 0]
        words = {
            "thread": thread,
            "threads": choices.threads,
            "barrier": layout.barrier,
            "float_state": self.kernels.address["float_state"],
            "saved_state": layout.saved_state[thread],
            "panel": form.panel,
            "lanes_log2": form.lanes.bit_length() - 1,
            "product_depth": choices.product_depth,
            "product_panels": choices.product_depth // form.left_panel,
            "sums_depth": choices.sums_depth,
            "paired": int(form.paired),
            "batch": self.sizes["B"],
            "tile_rows": choices.tile_rows,
            "grain": GRANULE if form.paired and not choices.depth_first else GRAIN,
            "all_rows": int(choices.by_units),
            "operands": layout.operand_base[thread],
            "scalar_count": len(layout.scalars),
            "numbers": layout.number_base[thread],
            "partials": layout.part_base,
            "partial_bytes": layout.part_bytes,
            "partial_count": len(layout.totals),
            "before": at(tables.before),
            "transposes": at(tables.transposes),
            "tile": at(tables.tile),
            "update": updates[0],
            "second_update": updates[1],
            "after": at(tables.after),
        }
        return np.array([words.get(name, 0) for name in CONTEXT], np.int64)

    # ---- runs

    def _patch(self, arrays: Mapping[str, Array]) -> None:
        """Write the addresses of the caller's arrays into the tables, where they are not those of the last run."""
        moved = {name: array.ctypes.data for name, array in arrays.items() if array is not self._last.get(name)}
        if moved:
            for tables in self.threads:
                for table, record, operation, name, offset in tables.patches:
                    if name in moved:
                        self._words[id(table)][record + FIELDS[operation]["plain"]] = moved[name] + offset
            # Kept alive, so that no other array gets the same address; what is predicted from is not, it may be large.
            self._last = dict(arrays) if self.task.output is None else {}

    def run(
        self,
        arrays: Mapping[str, Array],
        order: npt.NDArray[np.int64] | None,
        records: int,
        steps: int,
        scalars: Mapping[str, npt.NDArray[np.float64] | float],
    ) -> tuple[float, float]:
        """Do `steps` steps on the arrays of the caller, C-contiguous and of this precision, by the names of the inputs.

        Parameters
        ----------
        order
            The rows to use; None for all in turn.
        records
            How many there are to use.
        scalars
            For each step, what differs between steps.

        Returns
        -------
        tuple
            The sums over the steps of E and of the gradient's norm.
        """
        with self._lock:
            self._patch(arrays)
            known: dict[str, npt.NDArray[np.float64] | float] = {
                **{k: float(v) for k, v in self.sizes.items()},
                **scalars,
            }
            numbers = scalar_table(self.layout.scalars, known, steps)
            totals = self._results
            totals[:] = 0.0
            for context in self._contexts:
                context[_ORDER] = 0 if order is None else order.ctypes.data
                context[_RECORDS], context[_STEPS] = records, steps
                context[_SCALARS] = numbers.ctypes.data
            walk = self.kernels.walk
            self._barrier[:] = 0  # of a run that was given up, something may be left
            run_on_threads([partial(walk, context.ctypes.data) for context in self._contexts], self._give_up)
            return float(totals[0]), float(totals[1])

    def _give_up(self) -> None:
        """Make the threads that wait for one that never comes end their run."""
        self._barrier[GIVEN_UP // 8] = 1
