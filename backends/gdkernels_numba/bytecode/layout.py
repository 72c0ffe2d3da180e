"""The memory of a bound step: parameters, values of the whole batch, values of a tile, and numbers."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import (
    MATRIX,
    UNITS,
    Buffer,
    LookUp,
    Loop,
    Product,
    RowSums,
    value_of,
    wide_dims,
)
from gdkernels.lowering.task import ScheduledTask
from gdkernels.lowering.value_steps import vector_of
from gdkernels_numba.bytecode.arena import Arena, Matrix, panels_of, pitch_of
from gdkernels_numba.bytecode.forms import ArrayForms
from gdkernels_numba.bytecode.gradients import GradientLayout
from gdkernels_numba.bytecode.numbers import NumberLayout
from gdkernels_numba.bytecode.packed import PackedOperands
from gdkernels_numba.bytecode.value_places import ValuePlaces
from gdkernels_numba.ir.format import LINE, PANEL_BYTES, Format, padded
from gdkernels_numba.plan import GRAIN, StepChoices
from gdkernels_numba.vm.fields import WORD, StridedAddress
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS
from gdkernels_numba.vm.tape import TAPE_BYTES

__all__ = ["StepLayout", "runs_over"]

# Measured costs of updating a block of a parameter, in units of changing one number in place: writing the number into
# another layout too costs `_COPY`, and so many terms of a product, or of a sum over the batch, cost one unit.
_COPY = 0.6
_TERMS_OF_PRODUCT = 13.0
_TERMS_OF_SUM = 3.0
# An update is cut finer where it takes long, so that a thread whose core is taken holds up little of it: so many of the
# units above, some 0.3 ms, are a piece, but a thread has no more than so many of them.
_COST_OF_PIECE = 2e6
_MOST_PIECES = 16
# The most memory that is there twice. A step that leaves more takes so long that it would not be repeated.
_MOST_IN_BANK = 16 << 20


class StepLayout:
    """The addresses for a task, some sizes and some choices.

    Attributes
    ----------
    sizes
        The value of each dimension, by its name.
    forms
        The form in which each array is kept.
    parameters
        The matrices of parameters and slots, by the name of the input.
    transposes
        The transposes of weights that are multiplied from the other side. A single column has none: it is a row.
    packed
        The operands of products in bfloat16, with their transposes; None in other precisions.
    numbers
        Numbers that the host computes, and sums.
    by_piece
        Whether every piece of the rows has a context of its own; otherwise every thread has one, for any piece.
    updates_by_thread
        Whether each thread updates in memory of its own, whatever the piece, so that another can go on with it.
    contexts, tile_contexts, update_pieces, tiles
        How many contexts there are, and how many run tiles; into how many pieces an update is cut, and a piece of rows.
    transposed_block
        Room for a block of weights, transposed, for each context that runs tiles.
    bank
        Where what a phase of rows writes begins and ends.
    shift
        The bytes from there to the same memory again, the second bank; 0 if there is none.
    zeros
        A row of a panel that nobody writes to.
    leaves
        Into how many leaves of the tree a sum over the whole batch is cut.
    sum_blocks, sum_numbers
        Room for sums over leaves that wait to be merged: blocks for each context that updates, numbers for each.
    tape
        Where a thread that is alone notes the calls of a step.
    codes
        Where the numbers of rows are that the batch looks up, by the number of their node.
    gradients
        Where gradients are summed; a caller that wants each in a place of its own asks for it.
    values, computed
        What is computed of parameters alone, if anything is, and the names of the inputs that stand for it.
    """

    def __init__(
        self,
        task: ScheduledTask,
        sizes: Mapping[str, int],
        choices: StepChoices,
        format: Format,
        arena: Arena,
        *,
        whole_gradients: bool = False,
    ) -> None:
        self.task, self.sizes, self.choices, self.format = task, sizes, choices, format
        self.values = task.values
        self.computed = task.computed
        self._arena = arena
        result, pieces = task.schedule, choices.pieces
        self.by_piece = choices.column_parallel or format.bf16
        self.tile_contexts = pieces if self.by_piece else choices.threads
        share = padded(-(-sizes["B"] // pieces), GRAIN)
        whole = self.by_piece or choices.tile_local_gradients
        self.tiles = 1 if whole else -(-share // choices.tile_rows)
        self.forms = forms = ArrayForms(task, sizes, format)
        self.parameters = {
            name: forms.parameter(name, arena)
            for name, node in task.parameters.items()
            if name not in forms.plain and (node.shape or name not in self.computed)
        }
        self._values = None if self.values is None else ValuePlaces(self.values, arena, self.parameters)
        self.transposes = {
            p.weights.attribute: arena.matrix(forms.padded(forms.size(p.weights, 1)), forms.size(p.weights, 0))
            for p in result.tile
            if isinstance(p, Product) and p.transposed and not forms.is_kept_as_row(p.weights)
            if not choices.column_parallel and not format.bf16
        }
        self.packed = PackedOperands(task, sizes, choices, arena) if format.bf16 else None
        self.update_pieces = 1 if whole_gradients else pieces * self._pieces_of_share()
        self.updates_by_thread = self._can_take_over()
        self.contexts = max(choices.threads, pieces, self.update_pieces)
        bank = arena.take(0)
        self._buffers = self._make_buffers()
        rows = forms.padded(choices.tile_rows) * format.size
        self._columns = [{n.id: arena.take(rows) for n in result.columns} for _ in range(self.tile_contexts)]
        if choices.column_parallel:  # all pieces need what one finds out about a row
            self._columns = self._columns[:1] * self.tile_contexts
        self.gradients = GradientLayout(
            task,
            choices,
            format,
            forms,
            arena,
            self.parameters,
            pieces=self.update_pieces,
            by_thread=self.updates_by_thread,
            whole=whole_gradients,
        )
        summed = {s.codes.id for s in result.row_sums if isinstance(s, RowSums)}
        looked_up = [s for s in result.tile if isinstance(s, LookUp) and s.codes.id in summed]
        self.codes = {s.codes.id: arena.take(WORD * sizes["B"]) for s in looked_up}

        self.numbers = NumberLayout(task, arena, self.contexts, pieces * self.tiles)
        loops, passes = result.loops, [] if self.values is None else self.values.passes
        taken = [len(loop.reads) + len(loop.outputs) + len(loop.reductions) for loop in loops]
        operands = max([0, *taken, *(len(step.reads) + len(step.writes) for step in passes)])
        self.operand_base = [arena.take(WORD * operands) for _ in range(self.contexts)]
        block = PANEL_BYTES * format.panel if choices.transposed_back else 0
        self.transposed_block = [arena.take(block) for _ in range(self.tile_contexts)]
        self.bank = bank, arena.take(0)
        size = self.bank[1] - self.bank[0]
        repeats = choices.threads > 1 and task.output is None and not self.by_piece and size <= _MOST_IN_BANK
        self.shift = arena.take(size) - bank if repeats else 0
        self.saved_state = [arena.take(16) for _ in range(choices.threads)]
        self.claims = TURN_WORDS.threads + choices.threads * TURN_BYTES
        self.turn_bytes = self.claims + TURN_BYTES * max(pieces * self.tiles, self.update_pieces)
        self.turns = arena.take(self.turn_bytes)
        self.leaves = pieces if choices.tree_sums and not (choices.tile_local_gradients or format.bf16) else 1
        waiting = (pieces - 1).bit_length() if choices.tree_sums else 0
        room = waiting * (format.panel * PANEL_BYTES + LINE) if self.leaves > 1 else 0
        updating = choices.threads if self.updates_by_thread else self.update_pieces
        self.sum_blocks = [arena.take(room) for _ in range(updating)]
        self.sum_numbers = [arena.take(WORD * (waiting + 1)) for _ in range(self.contexts)]
        self.zeros = arena.take(PANEL_BYTES)
        self.results = arena.take(2 * WORD)
        self.tape = arena.take(TAPE_BYTES)

    # ---- what there is

    @property
    def copied(self) -> set[str]:
        """The names of the weights of which products read copies."""
        return set(self.transposes) if self.packed is None else {*self.packed.right, *self.packed.back}

    def place_of(self, value: Node) -> Matrix | int:
        """Return where a value of `values` is: one that is computed, or one that others are computed of."""
        assert self.values is not None, "there are values"
        assert self._values is not None, "they have places"
        place = self._values.of(value)
        if place is not None:
            return place
        value = vector_of(value)
        if value.id in self.values.parameters:
            return self.parameters[self.values.parameters[value.id]]
        found = self.values.sums[value.id]
        return self.gradients.of[0][found.id] if wide_dims(found.shape) else self.numbers.of(found, 0)

    def _make_buffers(self) -> list[list[tuple[Matrix, bool]]]:
        """Return for each context its buffers, and whether they hold the whole batch."""
        # Products read bfloat16 in whole squares.
        rows = self.forms.padded(self.sizes["B"]) if self.format.bf16 else self.sizes["B"]
        shared: dict[int, Matrix] = {}
        contexts = []
        for _ in range(self.tile_contexts):
            buffers = []
            for k, buffer in enumerate(self.task.schedule.buffers):
                whole, width = self._is_whole(buffer), self.sizes[buffer.width.name]
                if whole or self.choices.column_parallel:
                    if k not in shared:
                        shared[k] = self._arena.matrix(rows, width)
                    buffers.append((shared[k], True))
                else:
                    buffers.append((self._arena.matrix(self.choices.tile_rows, width), False))
            contexts.append(buffers)
        # An update reads only what holds the whole batch, whatever its piece.
        return contexts + contexts[:1] * (self.contexts - len(contexts))

    def _pieces_of_share(self) -> int:
        """Return into how many pieces each thread's share of an update is cut."""
        result = self.task.schedule
        # A total over the parameters is summed over the pieces, so their number would change its bits.
        in_turn = len(result.updates) != 1 or result.row_sums or self.values is not None
        if self.choices.threads == 1 or self.by_piece or in_turn:
            return 1
        cost = sum(float(self.block_costs(name).sum()) for name in self.parameters if "." not in name)
        return max(1, min(_MOST_PIECES, int(cost / self.choices.pieces / _COST_OF_PIECE)))

    def _can_take_over(self) -> bool:
        """Return whether threads can go on with each other's pieces of an update.

        That is where gradients are computed anew from what stays of the batch, a block at a time. Gradients of pieces
        are added up in place; what is summed over an update is summed by pieces; tables are summed in place by code.
        """
        result, trains = self.task.schedule, self.task.output is None
        in_place = self.by_piece or self.choices.tile_local_gradients or bool(result.row_sums)
        in_turn = in_place or self.values is not None
        return trains and self.choices.threads > 1 and not in_turn and len(result.updates) == 1

    def _is_whole(self, buffer: Buffer) -> bool:
        return buffer.whole or (buffer.kept and not self.choices.tile_local_gradients and not self.format.bf16)

    @property
    def gradient_bytes(self) -> int:
        """The bytes from the gradients of a piece to those of the next, if tiles of any thread add to them."""
        if self.by_piece or not self.choices.tile_local_gradients or self.choices.pieces == 1:
            return 0
        return self.gradients.bytes_apart

    # ---- where it is

    def buffer(self, node: Node, context: int) -> tuple[Matrix, StridedAddress]:
        """Return the matrix of a tile's value, and its address."""
        matrix, whole = self._buffers[context][self.task.schedule.buffer_of[node.id]]
        return matrix, matrix.strided(follows_rows=whole)

    def in_tile(self, node: Node, context: int, column: int = 0) -> StridedAddress:
        """Return the address of an operand of a loop over a tile, from a column on."""
        if node.id in self.task.schedule.buffer_of:
            matrix, address = self.buffer(node, context)
            return address._replace(base=self.at_column(matrix, column))
        if node.id in self._columns[context]:
            return StridedAddress(self._columns[context][node.id])
        if self.numbers.is_total(node):
            return StridedAddress(self.numbers.part(node, context))
        if node.op == "input" and node.dtype != SCALAR and not node.shape:
            assert self.values is not None, "a number that is no parameter is computed"
            place = self.place_of(self.values.outputs[node.attribute])
            assert isinstance(place, int), "it is a number"
            return StridedAddress(place)
        if node.op == "input" and node.dtype != SCALAR:
            return StridedAddress(self.at_column(self.parameters[node.attribute], column), 0, PANEL_BYTES)
        return StridedAddress(self.numbers.of(node, context))

    def at_column(self, matrix: Matrix, column: int) -> int:
        """Return the address of a column in the first row of a matrix."""
        panel, inside = divmod(column, self.format.panel)
        return matrix.block(panel, 0) + inside * self.format.size

    def in_blocks(self, matrix: Matrix, row: int = 0, column: int = 0) -> StridedAddress:
        """Return where the blocks of a matrix are, of one panel by one panel, the first from `row` and `column` on."""
        base = self.at_column(matrix, column) + row * matrix.pitch
        return StridedAddress(base, self.format.panel * matrix.pitch, matrix.panel)

    def pitch(self, columns: int) -> int:
        return pitch_of(columns, self.format)

    def columns_of(self, loop: Loop) -> int:
        """Return the columns of the matrices that a loop over a tile runs over."""
        return self.forms.size(loop.outputs[0] if loop.outputs else value_of(loop.reductions[0].args[0]), 1)

    def block_costs(self, name: str) -> npt.NDArray[np.float64]:
        """Return about how long the update of each block of a parameter takes, in numbers that are changed."""
        panel, columns = self.format.panel, self.parameters[name].columns
        rows = self.forms.rows(name)
        high = np.minimum(panel, rows - panel * np.arange(panels_of(rows, self.format)))
        wide = [pitch_of(min(panel, columns - k), self.format) / self.format.size for k in range(0, columns, panel)]
        terms = 0 if self.choices.tile_local_gradients or self.forms.is_flat(name) else self.sizes["B"]
        of_terms = _TERMS_OF_SUM if self.forms.kind(self.task.parameters[name]) == UNITS else _TERMS_OF_PRODUCT
        sizes = np.outer(high, wide)
        if name in self.task.schedule.symmetric:
            sizes = np.tril(sizes)
        return sizes.ravel() * (1.0 + _COPY * (name in self.copied) + terms / of_terms)

    def computed_blocks(self, name: str, blocks: range) -> list[range]:
        """Return those of some blocks of a parameter that are computed: of a symmetric one, the lower triangle's."""
        if name not in self.task.schedule.symmetric:
            return [blocks]
        across = panels_of(self.parameters[name].columns, self.format)
        rows = (range(row * across, row * across + row + 1) for row in range(across))
        parts = [range(max(row.start, blocks.start), min(row.stop, blocks.stop)) for row in rows]
        return [part for part in parts if part]

    def rows_of(self, name: str, matrix: Matrix | None = None) -> StridedAddress:
        """Return where the rows of a parameter, or of a matrix like it, are; what the caller has is patched later."""
        node, forms = self.task.parameters[name], self.forms
        if name in forms.plain or name in forms.flat:
            address = 0 if name in forms.plain else (matrix or self.parameters[name]).address
            return StridedAddress(address, forms.size(node, 1) * self.format.size, PANEL_BYTES)
        return self.rows_of_array(node, matrix or self.parameters[name])

    def rows_of_array(self, node: Node, matrix: Matrix) -> StridedAddress:
        """Return where the rows of an array are that is neither the caller's nor kept number after number."""
        step = self.format.size if self.forms.is_kept_as_row(node) else matrix.pitch
        return StridedAddress(matrix.address, step, matrix.panel)


def runs_over(step: object, node: Node) -> bool:
    """Return whether `step` is a loop over matrices of the width of `node`."""
    if not isinstance(step, Loop) or step.kind != MATRIX:
        return False
    shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
    return shape.shape[1] is node.shape[1]
