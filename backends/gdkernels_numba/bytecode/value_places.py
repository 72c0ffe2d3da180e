"""The memory of what is computed of parameters alone."""

from collections.abc import Mapping

from gdkernels.graph.nodes import Node
from gdkernels.lowering.value_steps import Pass, ValueSteps, extents, is_matrix, stands_alone, vector_of
from gdkernels_numba.bytecode.arena import Arena, Matrix
from gdkernels_numba.ir.format import padded

__all__ = ["ValuePlaces"]

_NUMBER = 8


class ValuePlaces:
    """A place for each value that a step writes: a matrix, or the address of a number.

    Parameters
    ----------
    outputs
        The matrices of the inputs that stand for values, by name: some values have their places.
    """

    def __init__(self, steps: ValueSteps, arena: Arena, outputs: Mapping[str, Matrix]) -> None:
        self._places: dict[int, Matrix | int] = {}
        for step in (*steps.before, *steps.after):
            written = step.writes if isinstance(step, Pass) else (step.node,)
            for value in written:
                if isinstance(value, Node) and value.id not in self._places:
                    self._places[value.id] = self._place(value, steps, arena, outputs)

    def _place(self, value: Node, steps: ValueSteps, arena: Arena, outputs: Mapping[str, Matrix]) -> Matrix | int:
        if value.id in steps.placed:
            return outputs[steps.placed[value.id]]
        if stands_alone(value):
            return arena.take(_NUMBER)
        rows, columns = extents(value)
        if is_matrix(value):
            return arena.matrix(padded(rows, arena.format.padding), columns)  # transposes move whole squares
        return arena.matrix(1, max(rows, columns))

    def of(self, value: Node) -> Matrix | int | None:
        """Return where a value is, or None for an input."""
        return self._places.get(vector_of(value).id)
