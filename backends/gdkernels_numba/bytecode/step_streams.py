"""The instruction streams of a step: those of its tiles, of what comes in and out, of values, and of the update."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.column_parallel import changed_on_the_way, columns_of_thread, write_column_parallel
from gdkernels_numba.bytecode.gradient_blocks import write_sums
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.row_parallel import write_row_parallel
from gdkernels_numba.bytecode.update import write_blocks, write_changes, write_columns, write_numbers, write_result
from gdkernels_numba.bytecode.values import write_values
from gdkernels_numba.bytecode.weight_copies import write_copies
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.plan import StepChoices
from gdkernels_numba.vm.block_instructions import ForBlocks
from gdkernels_numba.vm.fields import WORD

__all__ = ["write_streams"]


def write_streams(writers: Sequence[InstructionWriter], choices: StepChoices) -> list[npt.NDArray[np.int64]]:
    """Write the streams of each context; return the arrays that they point to, which the caller has to keep."""
    streams = _Streams(writers, choices)
    streams.write()
    return streams.kept


@dataclass(frozen=True)
class _Streams:
    """The streams of all contexts of a step."""

    writers: Sequence[InstructionWriter]
    choices: StepChoices
    kept: list[npt.NDArray[np.int64]] = field(default_factory=list)

    @property
    def layout(self) -> StepLayout:
        return self.writers[0].layout

    @property
    def task(self) -> ScheduledTask:
        return self.layout.task

    def write(self) -> None:
        """Write all of them."""
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
            write_numbers(writer, stream, phase, layout.numbers.totals_of(phase))
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
    def _updating(self) -> Sequence[InstructionWriter]:
        """The writers of the pieces of an update."""
        return self.writers[: self.layout.update_pieces]

    def _write_updates(self) -> None:
        layout = self.layout
        phases = range(len(self.task.schedule.updates))
        names = [n for n in layout.parameters if "." not in n and n not in layout.computed]
        if layout.updates_by_thread:
            for (name, bounds), writer in product(self._bounds(names), self.writers[: self.choices.threads]):
                self.kept.append(bounds)
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
