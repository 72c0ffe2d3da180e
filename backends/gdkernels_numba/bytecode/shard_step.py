"""A step in parts: gradients of some rows at a time, the exchange that is the caller's, then the update.

The interpreter and the memory are those of a bound step. It is called once to bring the parameters in, for the gradient
of each shard, for the update of each step, and to bring the parameters out: each call with streams of its own, which
leave out the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gdkernels.errors import ScheduleError
from gdkernels.groups.tree import merged
from gdkernels.lowering.steps import Accumulation
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import panels_of
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.bytecode.gradient_blocks import write_gradient, write_sums
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.update import write_change, write_numbers
from gdkernels_numba.bytecode.values import write_values
from gdkernels_numba.bytecode.weight_copies import write_copies
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.plan import StepChoices
from gdkernels_numba.vm.block_instructions import ForBlocks
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import TOTALS
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["ShardOfBatch", "ShardStep"]

Array = npt.NDArray[Any]

_UPDATES = ("update", "second_update", "third_update", "fourth_update", "fifth_update")  # words of a context
_PADDED = 1.1  # times the numbers: with more, they are exchanged without what pads them


class ShardOfBatch(NamedTuple):
    """Which shard it is, of how many, and how many rows all of them have."""

    number: int
    shards: int
    rows_of_batch: int


class ShardStep:
    """A step whose gradients are exchanged before the update; it runs on the caller's thread.

    Parameters
    ----------
    choices
        Those of one thread.

    Attributes
    ----------
    gradients
        The gradients of the last shard, as they are in memory; the update uses what is in here.
    length
        How many numbers of them are exchanged: all, or without those that pad them where these are many.
    totals
        The sums over the rows of the last shard, such as E, in float64.

    Raises
    ------
    ScheduleError
        If gradients are summed by code, which have no place as a whole.
    """

    def __init__(self, task: ScheduledTask, kernels: Kernels, sizes: Mapping[str, int], choices: StepChoices) -> None:
        if task.schedule.row_sums:
            raise ScheduleError("the engine does not exchange the gradients of tables")
        self.bound = bound = BoundStep(task, kernels, sizes, choices, whole_gradients=True)
        self._memory = bound.memory
        layout, self._writer = bound.layout, bound.writers[0]
        first, stop = layout.gradients.span
        self.gradients = self._at(first, stop - first, kernels.format.dtype)
        self._places = self._places_of_numbers(first)
        self.length = len(self.gradients) if self._places is None else len(self._places)
        numbers = layout.numbers
        count, pieces = len(numbers.totals), choices.pieces
        self._partials = self._at(numbers.part_base, WORD * count, np.float64)
        found = self._at(numbers.found, numbers.part_bytes * pieces * layout.tiles, np.float64)
        self._found = found.reshape(pieces, layout.tiles, -1)[:, :, :count]  # of each tile of each piece
        in_rows = [k for k, node in enumerate(numbers.totals) if numbers.phase_of[node.id] == 0]
        self._in_rows = np.array(in_rows, np.int64)
        self._results = np.empty(TOTALS)
        self._streams: list[Array] = []  # which the contexts point to
        self._tables: list[Array] = []  # by which they are found
        none, gradient = self._kept(InstructionStream()), self._kept(self._gradient_stream())
        updates = [self._kept(stream) for stream in self._update_streams()]
        inner = bound.context
        tile, before, after = (int(inner[k]) for k in (CONTEXT.tile, CONTEXT.before, CONTEXT.after))
        transposes = int(inner[CONTEXT.transposes])
        empty = dict.fromkeys(("before", "transposes", "result", "after"), none)
        alone = {**empty, **dict.fromkeys(_UPDATES[1:], 0), "epochs": 1, "steps": 1, "update_pieces": 1}
        self._bring_in = self._context(before=before, transposes=transposes, after=none, epochs=0)
        self._bring_out = self._context(before=none, transposes=none, after=after, epochs=0)
        self._of_rows = self._context(**alone, tile=tile, update=gradient, updates=1)
        self._of_update = self._context(
            **alone | {"result": int(inner[CONTEXT.result])} | dict(zip(_UPDATES, updates, strict=False)),
            tile=none,
            updates=len(updates),
            records=1,
            partial_count=0,
        )
        contexts = (self._bring_in, self._of_rows, self._of_update, self._bring_out)
        self._jobs = [partial(kernels.interpreter, context.ctypes.data) for context in contexts]

    def begin(self, arrays: Mapping[str, Array]) -> None:
        """Bring the parameters in; `arrays` are the caller's, by the names of the inputs."""
        self.bound.patch(arrays)
        self._jobs[0]()

    def gradient(
        self, arrays: Mapping[str, Array], order: Array, place: int, numbers: Array | None, shard: ShardOfBatch
    ) -> None:
        """Compute `gradients` and `totals` of the rows that `order` names.

        Parameters
        ----------
        arrays
            As for `begin`; where the step draws, ``row_keys`` are those of these rows.
        place
            The place of these rows in the weights, which come in the order of the run.
        numbers
            Those of the step.
        """
        if "sample_weight" in arrays:
            self.bound.patch(arrays, {"sample_weight": place * arrays["sample_weight"].itemsize})
        elif "row_keys" in arrays:
            self.bound.patch(arrays)
        context = self._of_rows
        context[CONTEXT.order], context[CONTEXT.records] = order.ctypes.data, len(order)
        context[CONTEXT.scalars] = 0 if numbers is None else numbers.ctypes.data
        pieces = self.bound.choices.pieces
        context[CONTEXT.first_leaf], context[CONTEXT.all_leaves] = shard.number * pieces, shard.shards * pieces
        context[CONTEXT.rows_of_batch] = shard.rows_of_batch
        self._jobs[1]()

    @property
    def totals(self) -> npt.NDArray[np.float64]:
        # In the order of the interpreter: tiles one after the other, and pieces in the tree.
        of_pieces = np.add.accumulate(self._found[:, :, self._in_rows], axis=1)[:, -1] + 0.0
        found: npt.NDArray[np.float64] = merged(of_pieces)
        return found

    @property
    def exchanged(self) -> Array | None:
        """The gradients where they are, if all of them are exchanged."""
        return self.gradients if self._places is None else None

    def copy_to(self, vector: Array) -> None:
        """Copy what is exchanged."""
        if self._places is None:
            vector[:] = self.gradients
        else:
            np.take(self.gradients, self._places, out=vector)

    def put(self, vector: Array) -> None:
        """Have the update use the sum that was exchanged."""
        if self._places is None:
            if vector is not self.gradients:
                self.gradients[:] = vector
        else:
            self.gradients[self._places] = vector

    def clear(self) -> None:
        """Set the gradients and the totals to those of no rows."""
        self.gradients[:] = 0
        self._found[:] = 0.0

    def update(self, totals: npt.NDArray[np.float64], numbers: Array | None) -> tuple[float, float]:
        """Take the step along `gradients`, with the sums over all rows; return E and the norm of the gradient."""
        self._partials[:] = 0.0
        self._found[:] = 0.0
        self._found[0, 0, self._in_rows] = totals
        context = self._of_update
        context[CONTEXT.scalars] = 0 if numbers is None else numbers.ctypes.data
        self._jobs[2]()
        return float(self._results[0]), float(self._results[1])

    def end(self) -> None:
        """Bring the parameters out, to where they came from."""
        self._jobs[3]()

    # ---- streams

    def _gradient_stream(self) -> InstructionStream:
        layout, stream = self.bound.layout, InstructionStream()
        for name in self._names:
            summed = [a for a in layout.gradients.read_by(name) if isinstance(a, Accumulation)]
            if summed:
                with stream.with_body(self._blocks(name)):
                    for accumulation in summed:
                        write_gradient(self._writer, stream, accumulation, [])
        write_sums(self._writer, stream, 0, 1)
        return stream

    def _update_streams(self) -> list[InstructionStream]:
        layout, task, writer = self.bound.layout, self.bound.task, self._writer
        before, writer.updates = writer.updates, [InstructionStream() for _ in writer.updates]
        way_back, values = InstructionStream(), InstructionStream()
        goes_back = layout.values is not None and bool(layout.values.after)
        for phase, stream in enumerate(writer.updates):
            first = way_back if phase == 0 and goes_back else stream
            write_numbers(writer, first, phase, layout.numbers.totals_of(phase))
            for name in self._names:
                loop = task.schedule.updates[phase].get(name)
                if loop is not None:
                    with stream.with_body(self._blocks(name)):
                        write_change(writer, stream, name, loop)
                        if loop.outputs and name in layout.copied:
                            write_copies(writer, stream, name)
        made, writer.updates = writer.updates, before
        write_values(writer, way_back, back=True)
        write_values(writer, values)
        return [*([way_back] if goes_back else []), *made, *([values] if layout.values is not None else [])]

    def _places_of_numbers(self, first: int) -> npt.NDArray[np.int64] | None:
        """Return where in `gradients` the numbers are that nothing pads; None where there are few others."""
        layout, size, found = self.bound.layout, self.bound.kernels.format.size, []
        gradients = layout.gradients
        of_names = [(a, layout.forms.rows(name)) for name in self._names for a in gradients.read_by(name)]
        for accumulation, count in [*of_names, *((a, gradients.rows_of(a)) for a in gradients.needed)]:
            matrix = gradients.of[0][accumulation.node.id]
            columns = np.array([layout.at_column(matrix, column) for column in range(matrix.columns)])
            rows = matrix.pitch * np.arange(count)
            found.append((rows[:, None] + columns - first).ravel() // size)
        places = np.concatenate(found)
        return places if len(self.gradients) > _PADDED * len(places) else None

    @property
    def _names(self) -> list[str]:
        layout = self.bound.layout
        return [name for name in layout.parameters if "." not in name and name not in layout.computed]

    def _blocks(self, name: str) -> ForBlocks:
        layout, columns = self.bound.layout, self.bound.layout.parameters[name].columns
        form = self.bound.kernels.format
        stop = panels_of(layout.forms.rows(name), form) * panels_of(columns, form)
        return ForBlocks(rows=layout.forms.rows(name), columns=columns, first=0, stop=stop)

    def _kept(self, stream: InstructionStream) -> int:
        self._streams.append(stream.array())
        return int(self._streams[-1].ctypes.data)

    def _context(self, **words: int) -> npt.NDArray[np.int64]:
        context = self.bound.context
        context[CONTEXT.results] = self._results.ctypes.data
        self._tables.append(np.array([context.ctypes.data]))
        context[CONTEXT.contexts] = self._tables[-1].ctypes.data
        for name, value in words.items():
            context[getattr(CONTEXT, name)] = value
        return context

    def _at(self, address: int, size: int, dtype: Any) -> Array:
        start = address - self._memory.ctypes.data
        return self._memory[start : start + size].view(dtype)
