"""The memory of a bound step: parameters, values of the whole batch, values of a tile, and numbers."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import (
    MATRIX,
    UNITS,
    Accumulation,
    Buffer,
    EntryProduct,
    EntrySums,
    LookUp,
    Loop,
    Product,
    RowSums,
    kind_of,
    value_of,
    wide_dims,
)
from gdkernels.lowering.task import ScheduledTask
from gdkernels.lowering.values import vector_of
from gdkernels_numba.bytecode.arena import Arena, Matrix, panels_of, pitch_of
from gdkernels_numba.bytecode.packed import PackedOperands
from gdkernels_numba.bytecode.value_places import ValuePlaces
from gdkernels_numba.ir.vector import PANEL_BYTES, Format, padded
from gdkernels_numba.plan import GRAIN, StepChoices
from gdkernels_numba.vm.fields import WORD, StridedAddress
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS

__all__ = ["StepLayout", "runs_over"]

_NUMBER = 8

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
    parameters
        The matrices of parameters and slots, by the name of the input.
    plain
        The names of the other parameters, of which a prediction reads some rows where the caller has them.
    flat
        The names of the parameters of which a step reads some rows: they and their slots are kept number after number,
        without padding, as panels of which only the last row may be narrower.
    transposes
        The transposes of weights that are multiplied from the other side. A single column has none: it is a row.
    packed
        The operands of products in bfloat16, with their transposes; None in other precisions.
    scalars
        Numbers that the host computes for every step; they come first among a context's numbers.
    totals
        Sums over the batch or the parameters; each piece has its part, then all have the number.
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
    codes
        Where the numbers of rows are that the batch looks up, by the number of their node.
    whole_gradients
        Whether every gradient has a place of its own; a caller that wants them asks for it.
    values, computed
        What is computed of parameters alone, if anything is, and the names of the inputs that stand for it.
    phase_of
        The phase of the update in which a total is known, by the number of its node.
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
        self.computed = frozenset[str]() if task.values is None else frozenset(task.values.outputs)
        self._arena = arena
        result, pieces = task.schedule, choices.pieces
        self.by_piece = choices.column_parallel or format.bf16
        self.tile_contexts = pieces if self.by_piece else choices.threads
        share = padded(-(-sizes["B"] // pieces), GRAIN)
        whole = self.by_piece or choices.tile_local_gradients
        self.tiles = 1 if whole else -(-share // choices.tile_rows)
        by_rows = _read_by_rows(task)
        self.plain, self.flat = (by_rows, frozenset[str]()) if task.output is not None else (frozenset[str](), by_rows)
        self.parameters = {
            name: self._parameter(name, node)
            for name, node in task.parameters.items()
            if name not in self.plain and (node.shape or name not in self.computed)
        }
        self._values = None if self.values is None else ValuePlaces(self.values, arena, self.parameters)
        self.transposes = {
            p.weights.attribute: arena.matrix(self._padded(self.size(p.weights, 1)), self.size(p.weights, 0))
            for p in result.tile
            if isinstance(p, Product) and p.transposed and not self.is_kept_as_row(p.weights)
            if not choices.column_parallel and not format.bf16
        }
        self.packed = PackedOperands(task, sizes, choices, arena) if format.bf16 else None
        self.update_pieces = pieces * self._pieces_of_share()
        self.updates_by_thread = self._can_take_over()
        self.contexts = max(choices.threads, pieces, self.update_pieces)
        bank = arena.take(0)
        self._buffers = self._make_buffers()
        rows = self._padded(choices.tile_rows) * format.size
        self._columns = [{n.id: arena.take(rows) for n in result.columns} for _ in range(self.tile_contexts)]
        if choices.column_parallel:  # all pieces need what one finds out about a row
            self._columns = self._columns[:1] * self.tile_contexts
        # Otherwise a block of a gradient is used as soon as it is there.
        in_phases = len(result.updates) > 1 and not choices.column_parallel
        self.whole_gradients = whole_gradients or choices.tile_local_gradients or in_phases
        self.row_gradients = self._make_row_gradients()
        self.gradients = self._make_gradients()
        summed = {s.codes.id for s in result.row_sums if isinstance(s, RowSums)}
        looked_up = [s for s in result.tile if isinstance(s, LookUp) and s.codes.id in summed]
        self.codes = {s.codes.id: arena.take(WORD * sizes["B"]) for s in looked_up}

        loops, passes = result.loops, [] if self.values is None else self.values.passes
        scalars = [n for loop in loops for n in loop.reads if n.dtype == SCALAR]
        scalars += [] if self.values is None else self.values.scalars.values()
        self.scalars = list({n.id: n for n in scalars}.values())
        by_row = {n.id for n in result.columns}
        self.totals = [n for loop in loops for n in loop.reductions if n.id not in by_row]
        later = {n.id for phase in result.updates[:-1] for loop in phase.values() for n in loop.reductions}
        self.phase_of = {n.id: int(n.id in later) for n in self.totals}
        made = [n for loop in result.numbers if loop is not None for n in loop.outputs]
        self._numbers = {n.id: k for k, n in enumerate([*self.scalars, *self.totals, *made])}
        self._parts = {n.id: k for k, n in enumerate(self.totals)}
        self.number_base = [arena.take(_NUMBER * len(self._numbers)) for _ in range(self.contexts)]
        self.part_bytes = -(-_NUMBER * max(1, len(self.totals)) // 64) * 64
        self.part_base = arena.take(self.part_bytes * self.contexts)
        self.found = arena.take(self.part_bytes * pieces * self.tiles)
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
        self.zeros = arena.take(PANEL_BYTES)
        self.results = arena.take(2 * _NUMBER)

    # ---- what there is

    @property
    def copied(self) -> set[str]:
        """The names of the weights of which products read copies."""
        return set(self.transposes) if self.packed is None else {*self.packed.right, *self.packed.back}

    def size(self, node: Node, axis: int) -> int:
        return self.sizes[str(node.shape[axis])]

    def kind(self, node: Node) -> str:
        return kind_of(node, self.task.batch)

    def is_kept_as_row(self, node: Node) -> bool:
        """Return whether weights, or their gradient, have one column: they are then stored as a row, unpadded."""
        return self.size(node, 1) == 1 and not self.format.bf16

    @property
    def needed_sums(self) -> list[Accumulation]:
        """The sums over the batch that are needed as a whole before the update, to compute gradients of them."""
        needed = set() if self.values is None else {node.id for node in self.values.sums.values()}
        return [a for a in self.task.schedule.accumulations if a.node.id in needed]

    def rows_of_sum(self, accumulation: Accumulation) -> int:
        """Return how many rows a sum over the batch has."""
        left, _ = self.factors(accumulation)
        return 1 if left is None else self.size(left, 1)

    def is_whole(self, accumulation: Accumulation) -> bool:
        """Return whether a gradient has a place of its own, and not only room for a block."""
        return self.whole_gradients or any(accumulation is a for a in self.needed_sums)

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
        return self.gradients[0][found.id] if wide_dims(found.shape) else self.number(found, 0)

    def is_private(self, accumulation: Accumulation | RowSums | EntrySums) -> bool:
        """Return whether each piece has a gradient of its own, which its tiles add to.

        In bfloat16 the sums of columns are such, unless pieces are of units: what stays of the batch is rounded.
        """
        if not isinstance(accumulation, Accumulation):
            return False
        rounded = self.format.bf16 and not self.choices.column_parallel
        return self.choices.tile_local_gradients or (rounded and accumulation.left is None)

    def _padded(self, count: int) -> int:
        return padded(count, self.format.padding)

    def _parameter(self, name: str, node: Node) -> Matrix:
        if self.is_flat(name):
            return self._arena.matrix(self.rows(name), self.format.panel)
        if self.kind(node) == UNITS:
            return self._arena.matrix(1, self.size(node, 0))
        if self.is_kept_as_row(node):
            return self._arena.matrix(1, self.size(node, 0))
        return self._arena.matrix(self._padded(self.size(node, 0)), self.size(node, 1))

    def _make_buffers(self) -> list[list[tuple[Matrix, bool]]]:
        """Return for each context its buffers, and whether they hold the whole batch."""
        # Products read bfloat16 in whole squares.
        rows = self._padded(self.sizes["B"]) if self.format.bf16 else self.sizes["B"]
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

    def _make_row_gradients(self) -> dict[int, Matrix]:
        """Return the matrices that are summed by the codes or the entries of rows."""
        made = {}
        for name in self.task.schedule.updates[-1] if self.task.schedule.updates else ():
            for a in self.accumulated_for(name):
                if not isinstance(a, Accumulation):
                    of = self.parameters[name]
                    made[a.node.id] = self._arena.matrix(of.rows, of.columns)
        return made

    def _make_gradients(self) -> list[dict[int, Matrix]]:
        """Return for each piece, or each thread, by the accumulated node, the matrix that it is accumulated in.

        A block is enough where the update follows at once; a norm needs all gradients first; depth-first tiles add to
        every gradient in turn, each piece to its own.
        """
        arena, panel = self._arena, self.format.panel
        shared: dict[int, Matrix] = {}
        blocks: list[Matrix] = []
        pieces = []
        by_thread = self.updates_by_thread

        def whole(a: Accumulation, number: int, mine: dict[int, Matrix]) -> None:
            if a.node.id not in shared or by_thread or (self.is_private(a) and number < self.choices.pieces):
                left, right = self.factors(a)
                rows = 1 if left is None else self._padded(self.size(left, 1))
                shared[a.node.id] = arena.matrix(rows, self.size(right, 1))
            mine[a.node.id] = shared[a.node.id]

        for number in range(self.choices.threads if by_thread else max(self.choices.pieces, self.update_pieces)):
            mine: dict[int, Matrix] = dict(self.row_gradients)
            blocks.clear()
            for name in self.task.schedule.updates[-1] if self.task.schedule.updates else ():
                summed = [a for a in self.accumulated_for(name) if isinstance(a, Accumulation)]
                for k, a in enumerate(summed):
                    left, _ = self.factors(a)
                    if left is not None and not self.whole_gradients:
                        if k == len(blocks):
                            blocks.append(arena.matrix(panel, panel))
                        mine[a.node.id] = blocks[k]
                    else:
                        whole(a, number, mine)
            for a in self.needed_sums:
                whole(a, number, mine)
            pieces.append(mine)
        return pieces

    @property
    def gradient_bytes(self) -> int:
        """The bytes from the gradients of a piece to those of the next, if tiles of any thread add to them."""
        if self.by_piece or not self.choices.tile_local_gradients or self.choices.pieces == 1:
            return 0
        private = [a.node.id for a in self.task.schedule.accumulations if a.node.id in self.gradients[0]]
        return self.gradients[1][private[0]].address - self.gradients[0][private[0]].address if private else 0

    # ---- where it is

    def buffer(self, node: Node, context: int) -> tuple[Matrix, StridedAddress]:
        """Return the matrix of a tile's value, and its address."""
        matrix, whole = self._buffers[context][self.task.schedule.buffer_of[node.id]]
        return matrix, matrix.strided(follows_rows=whole)

    def number(self, node: Node, context: int) -> int:
        return self.number_base[context] + _NUMBER * self._numbers[node.id]

    def part(self, node: Node, context: int) -> int:
        """Return where a context adds up its part of a total."""
        return self.part_base + context * self.part_bytes + _NUMBER * self._parts[node.id]

    def part_of_rows(self, node: Node) -> int:
        """Return where the first piece of the rows leaves its part of a total."""
        return self.found + _NUMBER * self._parts[node.id]

    def in_tile(self, node: Node, context: int, column: int = 0) -> StridedAddress:
        """Return the address of an operand of a loop over a tile, from a column on."""
        if node.id in self.task.schedule.buffer_of:
            matrix, address = self.buffer(node, context)
            return address._replace(base=self.at_column(matrix, column))
        if node.id in self._columns[context]:
            return StridedAddress(self._columns[context][node.id])
        if node.id in self._parts:
            return StridedAddress(self.part(node, context))
        if node.op == "input" and node.dtype != SCALAR and not node.shape:
            assert self.values is not None, "a number that is no parameter is computed"
            place = self.place_of(self.values.outputs[node.attribute])
            assert isinstance(place, int), "it is a number"
            return StridedAddress(place)
        if node.op == "input" and node.dtype != SCALAR:
            return StridedAddress(self.at_column(self.parameters[node.attribute], column), 0, PANEL_BYTES)
        return StridedAddress(self.number(node, context))

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
        return self.size(loop.outputs[0] if loop.outputs else value_of(loop.reductions[0].args[0]), 1)

    def block_costs(self, name: str) -> npt.NDArray[np.float64]:
        """Return about how long the update of each block of a parameter takes, in numbers that are changed."""
        panel, columns = self.format.panel, self.parameters[name].columns
        high = np.minimum(panel, self.rows(name) - panel * np.arange(panels_of(self.rows(name), self.format)))
        wide = [pitch_of(min(panel, columns - k), self.format) / self.format.size for k in range(0, columns, panel)]
        terms = 0 if self.choices.tile_local_gradients or self.is_flat(name) else self.sizes["B"]
        of_terms = _TERMS_OF_SUM if self.kind(self.task.parameters[name]) == UNITS else _TERMS_OF_PRODUCT
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

    def rows(self, name: str) -> int:
        """Return how many rows a parameter is kept in, without those that pad it for its transpose."""
        if self.is_flat(name):
            return panels_of(self.numbers(name), self.format)
        node = self.task.parameters[name]
        return 1 if self.kind(node) == UNITS or self.is_kept_as_row(node) else self.size(node, 0)

    def factors(self, accumulation: Accumulation) -> tuple[Node | None, Node]:
        """Return what is multiplied over the batch, the first transposed; the sums of columns have no first."""
        left, right = accumulation.left, accumulation.right
        return (right, left) if left is not None and self.is_kept_as_row(right) else (left, right)

    @property
    def gradient_span(self) -> tuple[int, int]:
        """The addresses where the gradients of the first thread begin and end, with what pads them."""
        found = self.gradients[0].values()
        first = min(m.address for m in found)
        return first, max(m.address + panels_of(m.columns, self.format) * m.panel for m in found)

    @property
    def cleared(self) -> list[Matrix]:
        """The gradients that are 0 before a step, but for a run that was given up."""
        return [self.gradients[0][s.node.id] for s in self.task.schedule.row_sums if s.node.id in self.gradients[0]]

    def is_flat(self, name: str) -> bool:
        """Whether a parameter or slot is kept number after number."""
        return name.split(".", maxsplit=1)[0] in self.flat

    def numbers(self, name: str) -> int:
        """Return how many numbers a parameter has."""
        return math.prod(self.size(self.task.parameters[name], axis) for axis in (0, 1))

    def rows_of(self, name: str, matrix: Matrix | None = None) -> StridedAddress:
        """Return where the rows of a parameter, or of a matrix like it, are; what the caller has is patched later."""
        if name in self.plain or name in self.flat:
            address = 0 if name in self.plain else (matrix or self.parameters[name]).address
            return StridedAddress(address, self.size(self.task.parameters[name], 1) * self.format.size, PANEL_BYTES)
        matrix = matrix or self.parameters[name]
        step = self.format.size if self.is_kept_as_row(self.task.parameters[name]) else matrix.pitch
        return StridedAddress(matrix.address, step, matrix.panel)

    def accumulated_for(self, name: str) -> list[Accumulation | RowSums | EntrySums]:
        """Return the gradients that the update of a parameter reads."""
        result = self.task.schedule
        read = {n.id for phase in result.updates if name in phase for n in phase[name].reads}
        sums: list[Accumulation | RowSums | EntrySums] = [*result.accumulations, *result.row_sums]
        return [a for a in sums if a.node.id in read]


def _read_by_rows(task: ScheduledTask) -> frozenset[str]:
    """Return the parameters of which a tile reads some rows, and nothing else."""
    tile = task.schedule.tile
    rows = {s.table.attribute for s in tile if isinstance(s, LookUp)}
    rows |= {s.weights.attribute for s in tile if isinstance(s, EntryProduct)}
    multiplied = {s.weights.attribute for s in tile if isinstance(s, Product)}
    read = {n.attribute for s in tile if isinstance(s, Loop) for n in s.reads if n.op == "input"}
    of_values = set() if task.values is None else {*task.values.outputs, *task.values.parameters.values()}
    return frozenset(rows - multiplied - read - of_values)


def runs_over(step: object, node: Node) -> bool:
    """Return whether `step` is a loop over matrices of the width of `node`."""
    if not isinstance(step, Loop) or step.kind != MATRIX:
        return False
    shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
    return shape.shape[1] is node.shape[1]
