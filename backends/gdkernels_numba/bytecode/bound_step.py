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
from gdkernels.lowering.schedule import PREDICTION
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix, address_of, allocate, panels_of
from gdkernels_numba.bytecode.column_parallel import changed_on_the_way, columns_of_thread, write_column_parallel
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.row_parallel import write_row_parallel
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.turn_state import TurnState
from gdkernels_numba.bytecode.update import (
    write_blocks,
    write_changes,
    write_columns,
    write_copies,
    write_numbers,
    write_result,
    write_sums,
)
from gdkernels_numba.bytecode.values import write_values
from gdkernels_numba.bytecode.workspace import Workspace
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.ir.vector import GRANULE, LINE
from gdkernels_numba.plan import GRAIN, StepChoices
from gdkernels_numba.vm.block_instructions import ForBlocks
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import TOTALS
from gdkernels_numba.vm.thread_context import CONTEXT, ThreadContext

__all__ = ["BoundStep"]

# The words of a context that differ between runs, in the order in which a run tells them.
_DIFFERS = [CONTEXT.order, CONTEXT.records, CONTEXT.steps, CONTEXT.scalars, CONTEXT.epochs, CONTEXT.results]

_MOST_WORKSPACES = 64  # that wait for threads

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
        self._memory, self._base = allocate(self.measure(task, kernels, sizes, choices, whole_gradients=whole))
        arena = Arena(kernels.format, self._base)
        self.layout = StepLayout(task, sizes, choices, kernels.format, arena, whole_gradients=whole)
        self._scalars = ScalarTable(self.layout.scalars)
        self._sizes: dict[str, npt.NDArray[np.float64] | float] = {name: float(n) for name, n in sizes.items()}
        self.writers = [InstructionWriter(self.layout, kernels, k) for k in range(self.layout.contexts)]
        self._kept_bounds: list[npt.NDArray[np.int64]] = []  # which streams point to
        self._write_streams()
        self._streams = [
            {id(stream): self._in_bank(bank, stream.array()) for writer in self.writers for stream in writer.streams}
            for bank in range(2 if self.layout.shift else 1)
        ]
        self._totals = np.frombuffer(self._memory, np.float64, TOTALS, self.layout.results - self._memory.ctypes.data)
        words = self.layout.turn_bytes // WORD
        turns = np.frombuffer(self._memory, np.int64, words, self.layout.turns - self._memory.ctypes.data)
        self._turns = TurnState(turns, self.layout.claims)
        self._of_one_epoch = np.empty((1, TOTALS))  # addresses take a while to ask for
        self._address_of_one = self._of_one_epoch.ctypes.data
        banks = range(len(self._streams))
        cleared = self.layout.gradients.cleared
        self._cleared = [self._bytes(matrix, self.layout.shift * k) for matrix in cleared for k in banks]
        self._addresses = np.zeros(self.layout.contexts * len(banks), np.int64)
        self._contexts = np.array([self._context(k, bank) for bank in banks for k in range(self.layout.contexts)])
        self._addresses[:] = self._contexts.ctypes.data + self._contexts.strides[0] * np.arange(len(self._contexts))
        self._told: tuple[int, ...] = ()
        self._rows: tuple[Array, Array] | None = None
        self._jobs = [partial(kernels.interpreter, int(address)) for address in self._addresses[: choices.threads]]
        self._patches: dict[str, list[tuple[Array, int, int]]] = {}
        for streams, writer in product(self._streams, self.writers):
            for stream, word, name, offset in writer.patches:
                self._patches.setdefault(name, []).append((streams[id(stream)], word, offset))
        self._last: dict[str, weakref.ref[Array]] = {}
        self._lock = threading.Lock()
        self._workspaces: list[Workspace] = []

    def _bytes(self, matrix: Matrix, shift: int) -> Array:
        count = panels_of(matrix.columns, self.kernels.format) * matrix.panel
        return np.frombuffer(self._memory, np.uint8, count, matrix.address + shift - self._memory.ctypes.data)

    def _in_bank(self, bank: int, stream: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a stream whose addresses are those of a bank: they alone are numbers as large."""
        first, stop = self.layout.bank
        return stream + bank * self.layout.shift * ((first <= stream) & (stream < stop))

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
        for writer in self.writers[: layout.tile_contexts]:
            write_tile(writer, task.output)
        changed = {name for names in task.schedule.written.values() for name in names}
        given = {name: matrix for name, matrix in layout.parameters.items() if name not in layout.computed}
        for (name, matrix), (k, writer) in product(given.items(), enumerate(self._updating)):
            flat = layout.forms.is_flat(name)
            rows = layout.forms.numbers(name) // matrix.columns if flat else layout.forms.rows(name)
            first, stop = (rows * j // layout.update_pieces for j in (k, k + 1))
            writer.write_parameter(name, matrix, first, stop, back=name in changed)
            if flat and writer is self._updating[-1]:
                writer.write_rest(name, matrix, layout.forms.numbers(name) % matrix.columns)
        for writer, name, first, stop in self._shared(n for n in given if n in layout.copied):
            columns = layout.parameters[name].columns
            blocks = ForBlocks(rows=layout.forms.rows(name), columns=columns, first=first, stop=stop)
            with writer.transposes.with_body(blocks):
                write_copies(writer, writer.transposes, name)
        write_values(self.writers[0], self.writers[0].transposes)
        changing = self.writers[: self.choices.threads] if layout.updates_by_thread else self._updating
        for phase, writer in product(range(len(task.schedule.updates)), changing):
            stream = writer.updates[phase] if phase else writer.phases[0]
            write_numbers(writer, stream, phase, [n for n in layout.totals if layout.phase_of[n.id] == phase])
        if task.output is None:
            for (k, node), writer in product(enumerate((task.error, task.norm)), changing):
                if node is not None:
                    write_result(writer, node, layout.results + WORD * k)
            for k, writer in enumerate(self._updating):
                write_sums(writer, writer.sums, k, layout.update_pieces)
            write_values(self.writers[0], self.writers[0].way_back, back=True)
            write_values(self.writers[0], self.writers[0].values)
            self._write_updates()

    @property
    def _updating(self) -> list[InstructionWriter]:
        """The writers of the pieces of an update."""
        return self.writers[: self.layout.update_pieces]

    def _write_updates(self) -> None:
        layout = self.layout
        phases = range(len(self.task.schedule.updates))
        names = [n for n in layout.parameters if "." not in n and n not in layout.computed]
        if layout.updates_by_thread:
            for (name, bounds), writer in product(self._bounds(names), self.writers[: self.choices.threads]):
                self._kept_bounds.append(bounds)
                write_changes(writer, name, bounds.ctypes.data)
            return
        if not self.choices.column_parallel:
            self._write_shared(names)
            return
        self._write_shared([n for n in names if layout.forms.is_flat(n)])
        # The columns that the thread of this piece multiplied with, and may still have in its cache.
        changed = changed_on_the_way(layout).values()
        for phase, writer, name in product(phases, self._updating, names):
            if name not in changed and not layout.forms.is_flat(name):
                for start, stop in columns_of_thread(writer, layout.parameters[name].columns):
                    write_columns(writer, phase, name, start, stop)

    def _write_shared(self, names: Sequence[str]) -> None:
        for phase, (writer, name, first, stop) in product(range(len(self.task.schedule.updates)), self._shared(names)):
            write_blocks(writer, phase, name, first, stop)

    def _shared(self, names: Iterable[str]) -> Iterator[tuple[InstructionWriter, str, int, int]]:
        """Give each piece consecutive blocks of each parameter."""
        for name, bounds in self._bounds(names):
            for writer, first, stop in zip(self._updating, bounds[:-1], bounds[1:], strict=True):
                if first < stop:
                    yield writer, name, int(first), int(stop)

    def _bounds(self, names: Iterable[str]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Yield for each parameter where the blocks of each piece begin; all pieces are about the same work."""
        costs = {name: self.layout.block_costs(name) for name in names}
        pieces = self.layout.update_pieces
        loads = np.zeros(pieces)
        for name, cost in sorted(costs.items(), key=lambda item: -float(item[1].sum())):
            wanting = np.maximum((loads.sum() + cost.sum()) / pieces - loads, 0.0)
            edges = np.cumsum(wanting / wanting.sum() * cost.sum())
            piece_of = np.minimum(np.searchsorted(edges, np.cumsum(cost) - cost / 2), pieces - 1)
            loads += np.bincount(piece_of, cost, pieces)
            yield name, np.searchsorted(piece_of, range(pieces + 1)).astype(np.int64)

    def _context(self, number: int, bank: int) -> npt.NDArray[np.int64]:
        layout, choices, writer, form = self.layout, self.choices, self.writers[number], self.kernels.format
        shift, banks = bank * layout.shift, len(self._streams)

        def at(stream: InstructionStream) -> int:
            return self._streams[bank][id(stream)].ctypes.data

        updates = [*(at(t) for t in writer.phases), 0, 0, 0, 0, 0]
        context = ThreadContext(
            thread=number,
            threads=choices.threads,
            contexts=self._addresses.ctypes.data,
            in_bank=layout.contexts,
            banks=banks,
            turns=layout.turns,
            claims=layout.turns + layout.claims,
            watched=layout.turns if banks > 1 else layout.zeros,
            float_state=self.kernels.address["float_state"],
            saved_state=layout.saved_state[number] if number < choices.threads else 0,
            panel=form.panel,
            lanes_log2=form.lanes.bit_length() - 1,
            product_depth=choices.product_depth,
            product_panels=choices.product_depth // form.left_panel,
            sums_depth=choices.sums_depth,
            sums_by_piece=int(choices.sums_by_piece),
            bf16=int(form.bf16),
            batch=self.sizes["B"],
            tile_rows=choices.tile_rows,
            grain=GRANULE if form.bf16 and not choices.tile_local_gradients else GRAIN,
            all_rows=int(choices.column_parallel),
            row_pieces=choices.pieces,
            tiles=layout.tiles,
            by_piece=int(layout.by_piece),
            updates_by_thread=int(layout.updates_by_thread),
            segments=1 + self._barriers(),
            update_pieces=layout.update_pieces,
            updates=len(writer.phases),
            operands=layout.operand_base[number] + shift,
            scalar_count=len(layout.scalars),
            numbers=layout.number_base[number] + shift,
            partials=layout.part_base + number * layout.part_bytes + shift,
            partial_bytes=layout.part_bytes,
            partial_count=len(layout.totals),
            found=layout.found + shift,
            gradient_bytes=layout.gradient_bytes,
            before=at(writer.before),
            transposes=at(writer.transposes),
            tile=at(writer.tile),
            update=updates[0],
            second_update=updates[1],
            third_update=updates[2],
            fourth_update=updates[3],
            fifth_update=updates[4],
            result=at(writer.result),
            after=at(writer.after),
            totals=layout.results,
        )
        return np.array([*context, *[0] * (-len(context) % (2 * LINE // WORD))], np.int64)  # each in lines of its own

    def _barriers(self) -> int:
        """Return how often the pieces of the rows wait for each other; all do alike."""
        return self.writers[0].barriers

    # ---- for threads that each run it on their own

    @property
    def is_of_one_thread(self) -> bool:
        """Whether one thread does it, and `workspace` makes copies for others."""
        return self.choices.threads == 1

    def arrays_in_order(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return those of the caller's arrays that streams use, in the order that a workspace numbers them."""
        return [arrays[name] for name in self._patches]

    def let_go(self) -> None:
        """Forget what the last run was about."""
        self._last.clear()

    def take_workspace(self) -> Workspace:
        """Return a copy with memory of its own, for `give_workspace`."""
        try:
            return self._workspaces.pop()
        except IndexError:
            return self._workspace()

    def give_workspace(self, workspace: Workspace) -> None:
        """Take a workspace back, for the next who needs one."""
        if len(self._workspaces) < _MOST_WORKSPACES:
            self._workspaces.append(workspace)

    def _workspace(self) -> Workspace:
        assert self.is_of_one_thread
        (streams,) = self._streams
        patches = [(*one, k) for k, places in enumerate(self._patches.values()) for one in places]
        size = self._memory.ctypes.data + self._memory.size - self._base
        told = ((stream, word, k, offset) for stream, word, offset, k in patches)
        return Workspace(self._base, size, self._contexts, list(streams.values()), told)

    # ---- for a caller that runs its own streams in this memory

    @property
    def memory(self) -> Array:
        """The bytes of everything that it has."""
        return self._memory

    @property
    def context(self) -> npt.NDArray[np.int64]:
        """A copy of what the first thread's interpreter is given."""
        copied: npt.NDArray[np.int64] = self._contexts[0].copy()
        return copied

    def patch(self, arrays: Mapping[str, Array], places: Mapping[str, int] | None = None) -> None:
        """Have the streams read the caller's arrays, or what begins so many bytes further on in them."""
        self._patch(arrays)
        for name, further in (places or {}).items():
            address = address_of(arrays[name]) + further
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
            address, last[name] = address_of(array), weakref.ref(array)
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
            address = self._address_of_one if epochs == 1 else address_of(results)
            results[:] = self._totals[:] = 0.0
            rows = 0 if order is None else address_of(order)
            self._tell(rows, records, steps, 0 if numbers is None else address_of(numbers), epochs, address)
            for gradient in self._cleared:  # a run that was given up may have left something
                gradient[:] = 0
            self._turns.run(self._jobs)
            return results.copy() if epochs == 1 else results

    def predict(self, parameters: Mapping[str, Array], x: Array) -> Array:
        """Return the predictions of a few rows, which go through arrays of its own: to find addresses takes longer."""
        rows = len(x)
        with self._lock:
            own_x, own_y = self._own(x.shape[1])
            own_x[:rows] = x
            self._patch({**parameters, "x": own_x, PREDICTION: own_y})
            numbers = self._numbers({"B": float(rows)}, 1)
            self._tell(0, rows, 1, 0 if numbers is None else address_of(numbers), 1, self._address_of_one)
            self._turns.run(self._jobs)
            return own_y[:rows].copy()

    def _own(self, columns: int) -> tuple[Array, Array]:
        """Return rows of its own, as many as it is bound to, and their predictions."""
        if self._rows is None:
            output, rows, dtype = self.task.output, self.sizes["B"], self.kernels.format.dtype
            assert output is not None, "a training has no predictions"
            self._rows = np.empty((rows, columns), dtype), np.empty((rows, self.layout.forms.size(output, 1)), dtype)
        return self._rows

    def _tell(self, *told: int) -> None:
        """Write what differs between runs into the contexts, in the order of `_DIFFERS`."""
        if told != self._told:
            self._contexts[:, _DIFFERS] = self._told = told

    def _numbers(
        self, scalars: dict[str, npt.NDArray[np.float64] | float], steps: int
    ) -> npt.NDArray[np.float64] | None:
        """Return the numbers that differ between steps, for each step; predictions have none."""
        if not self.layout.scalars:
            return None
        return self._scalars.values(self._sizes | scalars, steps)
