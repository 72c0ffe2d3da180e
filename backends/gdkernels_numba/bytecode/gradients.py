"""Where gradients are summed: in a block that is used at once, in a matrix that all share, or in one for each piece."""

from collections.abc import Mapping

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import Accumulation, EntrySums, Loop, RowSums
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix, panels_of
from gdkernels_numba.bytecode.forms import ArrayForms
from gdkernels_numba.ir.format import PANEL_BYTES, Format
from gdkernels_numba.plan import StepChoices

__all__ = ["GradientLayout"]

# What it takes to transpose a vector of rows of a gradient, in multiply-adds of vectors; and the share of the time for
# a gradient that its transpose must take less than.
_TURN = 130
_GAIN = 0.9


class GradientLayout:
    """The memory of the gradients of a bound step.

    A block is enough where the update follows at once; a norm needs all gradients first; depth-first tiles add to
    every gradient in turn, each piece to its own.

    Parameters
    ----------
    parameters
        The memory of parameters and slots, by the name of the input.
    pieces
        Into how many pieces the update is cut.
    by_thread
        Whether each thread updates in memory of its own, whatever the piece.
    whole
        Whether the caller wants a place of its own for every gradient.

    Attributes
    ----------
    whole
        Whether every gradient has a place of its own.
    of
        For each piece, or each thread, by the accumulated node, the matrix that it is summed in.
    """

    def __init__(
        self,
        task: ScheduledTask,
        choices: StepChoices,
        format: Format,
        forms: ArrayForms,
        arena: Arena,
        parameters: Mapping[str, Matrix],
        *,
        pieces: int,
        by_thread: bool,
        whole: bool,
    ) -> None:
        self._task, self._choices, self._format, self._forms = task, choices, format, forms
        self._arena, self._parameters = arena, parameters
        # Otherwise a block of a gradient is used as soon as it is there.
        in_phases = len(task.schedule.updates) > 1 and not choices.column_parallel
        self.whole = whole or choices.tile_local_gradients or in_phases
        self._rooms: dict[int, int] = {}
        self.of = self._make(pieces, self._make_by_row(), by_thread=by_thread)

    # ---- which gradients there are

    def read_by(self, name: str) -> list[Accumulation | RowSums | EntrySums]:
        """Return the gradients that the update of a parameter reads."""
        schedule = self._task.schedule
        read = {n.id for phase in schedule.updates if name in phase for n in phase[name].reads}
        sums: list[Accumulation | RowSums | EntrySums] = [*schedule.accumulations, *schedule.row_sums]
        return [a for a in sums if a.node.id in read]

    def is_private(self, accumulation: Accumulation | RowSums | EntrySums) -> bool:
        """Return whether each piece has a gradient of its own, which its tiles add to.

        In bfloat16 the sums of columns are such, unless pieces are of units: what stays of the batch is rounded.
        """
        if not isinstance(accumulation, Accumulation):
            return False
        rounded = self._format.bf16 and not self._choices.column_parallel
        return self._choices.tile_local_gradients or (rounded and accumulation.left is None)

    @property
    def are_private(self) -> bool:
        """Whether pieces have any gradients of their own."""
        return any(map(self.is_private, self._task.schedule.accumulations))

    def factors(self, accumulation: Accumulation) -> tuple[Node | None, Node]:
        """Return what is multiplied over the batch, the first transposed; the sums of columns have no first."""
        left, right = accumulation.left, accumulation.right
        return (right, left) if left is not None and self._forms.is_kept_as_row(right) else (left, right)

    @property
    def needed(self) -> list[Accumulation]:
        """The sums that are needed as a whole before the update, because gradients are computed of them."""
        return [a for a in self._task.schedule.accumulations if a.node.id in self._wanted]

    @property
    def needed_by_row(self) -> list[RowSums | EntrySums]:
        """Those of the sums by code, or by entry, that are needed so."""
        return [s for s in self._task.schedule.row_sums if s.node.id in self._wanted]

    @property
    def _wanted(self) -> set[int]:
        values = self._task.values
        return set() if values is None else {node.id for node in values.sums.values()}

    def rows_of(self, accumulation: Accumulation) -> int:
        """Return how many rows a sum has."""
        left, _ = self.factors(accumulation)
        return 1 if left is None else self._forms.size(left, 1)

    def is_whole(self, accumulation: Accumulation) -> bool:
        """Return whether a gradient has a place of its own, and not only room for a block."""
        return self.whole or any(accumulation is a for a in self.needed)

    def _is_turned(self, accumulation: Accumulation) -> bool:
        """Return whether a gradient of few columns is computed sooner as its transpose, whose rows fill vectors."""
        first, second = self.factors(accumulation)
        if first is None or self.is_whole(accumulation) or self._format.bf16 or self._task.schedule.symmetric:
            return False
        lanes, terms = self._format.lanes, self._forms.size(second, 0)
        rows, columns = min(self._forms.size(first, 1), self._format.panel), self._forms.size(second, 1)
        vectors = -(-rows // lanes)
        return columns < lanes and terms * columns * vectors + _TURN * vectors < terms * rows * _GAIN

    # ---- where they are

    def room_to_transpose(self, accumulation: Accumulation, number: int) -> int:
        """Return where a thread or piece computes the transpose of a gradient; 0 if it computes none."""
        return self._rooms.get(number, 0) if self._is_turned(accumulation) else 0

    @property
    def span(self) -> tuple[int, int]:
        """The addresses where the gradients of the first thread begin and end, with what pads them."""
        found = self.of[0].values()
        first = min(m.address for m in found)
        return first, max(m.address + panels_of(m.columns, self._format) * m.panel for m in found)

    @property
    def cleared(self) -> list[Matrix]:
        """The gradients that are 0 before a step, but for a run that was given up."""
        return [self.of[0][s.node.id] for s in self._task.schedule.row_sums if s.node.id in self.of[0]]

    @property
    def bytes_apart(self) -> int:
        """The bytes from the gradients of a piece to those of the next; 0 where pieces have none of their own."""
        private = [a.node.id for a in self._task.schedule.accumulations if a.node.id in self.of[0]]
        return self.of[1][private[0]].address - self.of[0][private[0]].address if private else 0

    @property
    def _changed(self) -> Mapping[str, Loop]:
        """The loops of the last phase of an update, by the parameter that each changes; a prediction has none."""
        updates = self._task.schedule.updates
        return updates[-1] if updates else {}

    def _make_by_row(self) -> dict[int, Matrix]:
        """Return the matrices that are summed by the codes or the entries of rows."""
        made = {s.node.id: self._forms.array(s.node, self._arena) for s in self.needed_by_row}
        for name in self._changed:
            for a in self.read_by(name):
                if not isinstance(a, Accumulation):
                    of = self._parameters[name]
                    made[a.node.id] = self._arena.matrix(of.rows, of.columns)
        return made

    def _make(self, pieces: int, by_row: Mapping[int, Matrix], *, by_thread: bool) -> list[dict[int, Matrix]]:
        arena, panel, choices = self._arena, self._format.panel, self._choices
        shared: dict[int, Matrix] = {}
        blocks: list[Matrix] = []
        made = []

        def give(a: Accumulation, number: int, mine: dict[int, Matrix]) -> None:
            if a.node.id not in shared or by_thread or (self.is_private(a) and number < choices.pieces):
                left, right = self.factors(a)
                rows = 1 if left is None else self._forms.padded(self._forms.size(left, 1))
                shared[a.node.id] = arena.matrix(rows, self._forms.size(right, 1))
            mine[a.node.id] = shared[a.node.id]

        turned = any(self._is_turned(a) for a in self._task.schedule.accumulations)
        for number in range(choices.threads if by_thread else max(choices.pieces, pieces)):
            if turned:
                self._rooms[number] = arena.take(self._format.lanes * PANEL_BYTES)
            mine: dict[int, Matrix] = dict(by_row)
            blocks.clear()
            for name in self._changed:
                summed = [a for a in self.read_by(name) if isinstance(a, Accumulation)]
                for k, a in enumerate(summed):
                    left, _ = self.factors(a)
                    if left is not None and not self.whole:
                        if k == len(blocks):
                            blocks.append(arena.matrix(panel, panel))
                        mine[a.node.id] = blocks[k]
                    else:
                        give(a, number, mine)
            for a in self.needed:
                give(a, number, mine)
            made.append(mine)
        return made
