"""The numbers of a bound step: what the host computes for it, and what it sums over the batch or the parameters."""

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena
from gdkernels_numba.ir.format import LINE
from gdkernels_numba.vm.fields import WORD

__all__ = ["NumberLayout"]


class NumberLayout:
    """The addresses of numbers; each context has all of them, and a part of each total.

    Attributes
    ----------
    scalars
        Numbers that the host computes for every step; they come first among a context's numbers.
    totals
        Sums over the batch or the parameters; each piece has its part, then all have the number.
    phase_of
        The phase of the update in which a total is known, by the number of its node.
    base
        Where the numbers of each context begin.
    part_base, part_bytes
        Where the parts of the contexts are, and the bytes from those of one to those of the next.
    found
        Where the pieces of the rows leave their parts.
    """

    def __init__(self, task: ScheduledTask, arena: Arena, contexts: int, pieces_of_rows: int) -> None:
        result, loops, values = task.schedule, task.schedule.loops, task.values
        scalars = [n for loop in loops for n in loop.reads if n.dtype == SCALAR]
        scalars += [] if values is None else values.scalars.values()
        self.scalars = list({n.id: n for n in scalars}.values())
        by_row = {n.id for n in result.columns}
        self.totals = [n for loop in loops for n in loop.reductions if n.id not in by_row]
        later = {n.id for phase in result.updates[:-1] for loop in phase.values() for n in loop.reductions}
        self.phase_of = {n.id: int(n.id in later) for n in self.totals}
        made = [n for loop in result.numbers if loop is not None for n in loop.outputs]
        self._places = {n.id: WORD * k for k, n in enumerate([*self.scalars, *self.totals, *made])}
        self._parts = {n.id: WORD * k for k, n in enumerate(self.totals)}
        self.base = [arena.take(WORD * len(self._places)) for _ in range(contexts)]
        self.part_bytes = -(-WORD * max(1, len(self.totals)) // LINE) * LINE
        self.part_base = arena.take(self.part_bytes * contexts)
        self.found = arena.take(self.part_bytes * pieces_of_rows)

    def of(self, node: Node, context: int) -> int:
        """Return where a context has a number."""
        return self.base[context] + self._places[node.id]

    def is_total(self, node: Node) -> bool:
        return node.id in self._parts

    def totals_of(self, phase: int) -> list[Node]:
        """Return the totals that are known in a phase of the update."""
        return [n for n in self.totals if self.phase_of[n.id] == phase]

    def part(self, node: Node, context: int) -> int:
        """Return where a context adds up its part of a total."""
        return self.part_base + context * self.part_bytes + self._parts[node.id]

    def part_of_rows(self, node: Node) -> int:
        """Return where the first piece of the rows leaves its part of a total."""
        return self.found + self._parts[node.id]
