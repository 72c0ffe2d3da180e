"""A task with memory of its own, ready to run for some sizes."""

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.scalars import ScalarTable
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix, allocate, panels_of
from gdkernels_numba.bytecode.column_parallel import changed_on_the_way, columns_of_thread, write_column_parallel
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.row_parallel import write_row_parallel
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.update import write_blocks, write_columns, write_copies, write_numbers, write_result
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.cpu.threads import run_on_threads
from gdkernels_numba.ir.vector import GRANULE
from gdkernels_numba.plan import GRAIN, StepChoices
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import BARRIER_BYTES, BARRIER_WORDS, CONTEXT, TOTALS, ForBlocks, ThreadContext

__all__ = ["BoundStep"]

Array = npt.NDArray[Any]


class BoundStep:
    """A task with its memory and instruction streams; it runs once at a time.

    Parameters
    ----------
    sizes
        The value of each dimension, by its name; "B" is that of a full batch.
    whole_gradients
        Whether every gradient has a place of its own, for a caller that changes them before the update.
    """

    def __init__(
        self,
        task: ScheduledTask,
        kernels: Kernels,
        sizes: Mapping[str, int],
        choices: StepChoices,
        *,
        whole_gradients: bool = False,
    ) -> None:
        self.task, self.kernels, self.sizes, self.choices = task, kernels, sizes, choices
        whole = whole_gradients
        self._memory, base = allocate(self.measure(task, kernels, sizes, choices, whole_gradients=whole))
        arena = Arena(kernels.format, base)
        self.layout = StepLayout(task, sizes, choices, kernels.format, arena, whole_gradients=whole)
        self._scalars = ScalarTable(self.layout.scalars)
        self._sizes: dict[str, npt.NDArray[np.float64] | float] = {name: float(n) for name, n in sizes.items()}
        self.writers = [InstructionWriter(self.layout, kernels, k) for k in range(choices.threads)]
        self._write_streams()
        self._arrays = {id(stream): stream.array() for writer in self.writers for stream in writer.streams}
        self._totals = np.frombuffer(self._memory, np.float64, TOTALS, self.layout.results - self._memory.ctypes.data)
        self._barrier = np.frombuffer(
            self._memory, np.int64, BARRIER_BYTES // WORD, self.layout.barrier - self._memory.ctypes.data
        )
        self._of_one_epoch = np.empty((1, TOTALS))  # addresses take a while to ask for
        self._address_of_one = self._of_one_epoch.ctypes.data
        self._cleared = [self._bytes(matrix) for matrix in self.layout.cleared]
        self._contexts = [self._context(k) for k in range(choices.threads)]
        self._jobs = [partial(kernels.interpreter, context.ctypes.data) for context in self._contexts]
        self._patches: dict[str, list[tuple[Array, int, int]]] = {}
        for writer in self.writers:
            for stream, word, name, offset in writer.patches:
                self._patches.setdefault(name, []).append((self._arrays[id(stream)], word, offset))
        self._last: dict[str, weakref.ref[Array]] = {}
        self._lock = threading.Lock()

    def _bytes(self, matrix: Matrix) -> Array:
        count = panels_of(matrix.columns, self.kernels.format) * matrix.panel
        return np.frombuffer(self._memory, np.uint8, count, matrix.address - self._memory.ctypes.data)

    @staticmethod
    def measure(
        task: ScheduledTask,
        kernels: Kernels,
        sizes: Mapping[str, int],
        choices: StepChoices,
        *,
        whole_gradients: bool = False,
    ) -> int:
        """Return how many bytes it needs."""
        arena = Arena(kernels.format)
        StepLayout(task, sizes, choices, kernels.format, arena, whole_gradients=whole_gradients)
        return arena.size

    # ---- instruction streams

    def _write_streams(self) -> None:
        task, layout = self.task, self.layout
        write_tile = write_column_parallel if self.choices.column_parallel else write_row_parallel
        for writer in self.writers:
            write_tile(writer, task.output)
        for (name, matrix), (k, writer) in product(layout.parameters.items(), enumerate(self.writers)):
            flat = layout.is_flat(name)
            rows = layout.numbers(name) // matrix.columns if flat else layout.rows(name)
            first, stop = (rows * j // len(self.writers) for j in (k, k + 1))
            writer.write_parameter(name, matrix, first, stop, back=task.output is None)
            if flat and writer is self.writers[-1]:
                writer.write_rest(name, matrix, layout.numbers(name) % matrix.columns)
        for writer, name, first, stop in self._shared(n for n in layout.parameters if n in layout.copied):
            columns = layout.parameters[name].columns
            blocks = ForBlocks(rows=layout.rows(name), columns=columns, first=first, stop=stop)
            with writer.transposes.with_body(blocks):
                write_copies(writer, writer.transposes, name)
        for phase in range(len(task.schedule.updates)):
            for writer in self.writers:
                write_numbers(writer, phase, [n for n in layout.totals if layout.phase_of[n.id] == phase])
        if task.output is None:
            for k, node in enumerate((task.error, task.norm)):
                if node is not None:
                    write_result(self.writers[0], node, layout.results + WORD * k)
            self._write_updates()

    def _write_updates(self) -> None:
        layout = self.layout
        phases = range(len(self.task.schedule.updates))
        names = [n for n in layout.parameters if "." not in n]
        if not self.choices.column_parallel:
            self._write_shared(names)
            return
        self._write_shared([n for n in names if layout.is_flat(n)])
        # The columns that the thread multiplied with, and may still have in its cache.
        changed = changed_on_the_way(layout).values()
        for phase, writer, name in product(phases, self.writers, names):
            if name not in changed and not layout.is_flat(name):
                for start, stop in columns_of_thread(writer, layout.parameters[name].columns):
                    write_columns(writer, phase, name, start, stop)

    def _write_shared(self, names: Sequence[str]) -> None:
        for phase, (writer, name, first, stop) in product(range(len(self.task.schedule.updates)), self._shared(names)):
            write_blocks(writer, phase, name, first, stop)

    def _shared(self, names: Iterable[str]) -> Iterator[tuple[InstructionWriter, str, int, int]]:
        """Give each thread consecutive blocks of each parameter, so that all threads have about the same work."""
        costs = {name: self.layout.block_costs(name) for name in names}
        threads = len(self.writers)
        loads = np.zeros(threads)
        for name, cost in sorted(costs.items(), key=lambda item: -float(item[1].sum())):
            wanting = np.maximum((loads.sum() + cost.sum()) / threads - loads, 0.0)
            edges = np.cumsum(wanting / wanting.sum() * cost.sum())
            thread_of = np.minimum(np.searchsorted(edges, np.cumsum(cost) - cost / 2), threads - 1)
            loads += np.bincount(thread_of, cost, threads)
            bounds = np.searchsorted(thread_of, range(threads + 1))
            for writer, first, stop in zip(self.writers, bounds[:-1], bounds[1:], strict=True):
                if first < stop:
                    yield writer, name, int(first), int(stop)

    def _context(self, thread: int) -> npt.NDArray[np.int64]:
        layout, choices, writer, form = self.layout, self.choices, self.writers[thread], self.kernels.format

        def at(stream: InstructionStream) -> int:
            return self._arrays[id(stream)].ctypes.data

        updates = [*(at(t) for t in writer.updates), 0, 0]
        context = ThreadContext(
            thread=thread,
            threads=choices.threads,
            barrier=layout.barrier,
            float_state=self.kernels.address["float_state"],
            saved_state=layout.saved_state[thread],
            panel=form.panel,
            lanes_log2=form.lanes.bit_length() - 1,
            product_depth=choices.product_depth,
            product_panels=choices.product_depth // form.left_panel,
            sums_depth=choices.sums_depth,
            bf16=int(form.bf16),
            batch=self.sizes["B"],
            tile_rows=choices.tile_rows,
            grain=GRANULE if form.bf16 and not choices.tile_local_gradients else GRAIN,
            all_rows=int(choices.column_parallel),
            operands=layout.operand_base[thread],
            scalar_count=len(layout.scalars),
            numbers=layout.number_base[thread],
            partials=layout.part_base,
            partial_bytes=layout.part_bytes,
            partial_count=len(layout.totals),
            before=at(writer.before),
            transposes=at(writer.transposes),
            tile=at(writer.tile),
            update=updates[0],
            second_update=updates[1],
            after=at(writer.after),
            totals=layout.results,
        )
        return np.array(context, np.int64)

    # ---- for a caller that runs its own streams in this memory

    @property
    def memory(self) -> Array:
        """The bytes of everything that it has."""
        return self._memory

    @property
    def context(self) -> npt.NDArray[np.int64]:
        """A copy of what the first thread's interpreter is given."""
        return self._contexts[0].copy()

    def patch(self, arrays: Mapping[str, Array], places: Mapping[str, int] | None = None) -> None:
        """Have the streams read the caller's arrays, or what begins so many bytes further on in them."""
        self._patch(arrays)
        for name, further in (places or {}).items():
            address = arrays[name].ctypes.data + further
            for stream, word, offset in self._patches.get(name, ()):
                stream[word] = address + offset

    def numbers(self, scalars: dict[str, npt.NDArray[np.float64] | float], steps: int) -> Array | None:
        """Return the numbers that differ between steps, [steps, numbers]; None if there are none."""
        return self._numbers(scalars, steps)

    # ---- runs

    def _patch(self, arrays: Mapping[str, Array]) -> None:
        """Write the addresses of the caller's arrays into the streams, unless they are those of the last run.

        The caller's records are not kept alive. An array that is gone is none of the new ones, even if one of them has
        its address.
        """
        last = self._last
        for name, array in arrays.items():
            if name in last and last[name]() is array:
                continue
            address, last[name] = array.ctypes.data, weakref.ref(array)
            for stream, word, offset in self._patches.get(name, ()):
                stream[word] = address + offset

    def run(
        self,
        arrays: Mapping[str, Array],
        order: npt.NDArray[np.int64] | None,
        records: int,
        times: tuple[int, int],
        scalars: dict[str, npt.NDArray[np.float64] | float],
    ) -> npt.NDArray[np.float64]:
        """Run on the arrays of the caller, C-contiguous and of this precision, by the names of the inputs.

        Parameters
        ----------
        order
            The rows to use, epoch after epoch; None uses all, from the first to the last.
        records
            The number of rows that an epoch uses.
        times
            The numbers of epochs, and of the steps of each.
        scalars
            The numbers that differ between steps, for each step.

        Returns
        -------
        array
            The sums over the steps of each epoch of E and of the gradient's norm: [epochs, 2].
        """
        epochs, steps = times
        with self._lock:
            self._patch(arrays)
            numbers = self._numbers(scalars, epochs * steps)
            results = self._of_one_epoch if epochs == 1 else np.empty((epochs, TOTALS))
            address = self._address_of_one if epochs == 1 else results.ctypes.data
            results[:] = self._totals[:] = 0.0
            for context in self._contexts:
                context[CONTEXT.order] = 0 if order is None else order.ctypes.data
                context[CONTEXT.records], context[CONTEXT.steps] = records, steps
                context[CONTEXT.scalars] = 0 if numbers is None else numbers.ctypes.data
                context[CONTEXT.epochs], context[CONTEXT.results] = epochs, address
            self._barrier[:] = 0  # a run that was given up may have left something
            for gradient in self._cleared:
                gradient[:] = 0
            run_on_threads(self._jobs, self._give_up)
            return results.copy() if epochs == 1 else results

    def _numbers(
        self, scalars: dict[str, npt.NDArray[np.float64] | float], steps: int
    ) -> npt.NDArray[np.float64] | None:
        """Return the numbers that differ between steps, for each step; predictions have none."""
        if not self.layout.scalars:
            return None
        return self._scalars.values(self._sizes | scalars, steps)

    def _give_up(self) -> None:
        """End the run of threads that wait for one that will never come."""
        self._barrier[BARRIER_WORDS.given_up // WORD] = 1
