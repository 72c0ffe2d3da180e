"""The forms in which a step keeps arrays: padded to panels, as a row, or number after number."""

import math
from collections.abc import Mapping

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import UNITS, EntryProduct, LookUp, Loop, Product, kind_of
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix, panels_of
from gdkernels_numba.ir.format import Format, padded

__all__ = ["ArrayForms"]


class ArrayForms:
    """The form of each array of a task, for some sizes.

    Attributes
    ----------
    plain
        The names of the parameters of which a prediction reads some rows where the caller has them.
    flat
        The names of the parameters of which a step reads some rows: they and their slots are kept number after number,
        without padding, as panels of which only the last row may be narrower.
    """

    def __init__(self, task: ScheduledTask, sizes: Mapping[str, int], format: Format) -> None:
        self._task, self._sizes, self._format = task, sizes, format
        by_rows, none = _read_by_rows(task), frozenset[str]()
        self.plain, self.flat = (by_rows, none) if task.output is not None else (none, by_rows)

    def size(self, node: Node, axis: int) -> int:
        return self._sizes[str(node.shape[axis])]

    def kind(self, node: Node) -> str:
        return kind_of(node, self._task.batch)

    def padded(self, count: int) -> int:
        return padded(count, self._format.padding)

    def is_kept_as_row(self, node: Node) -> bool:
        """Return whether weights, or their gradient, have one column: they are then stored as a row, unpadded."""
        return self.size(node, 1) == 1 and not self._format.bf16

    def is_flat(self, name: str) -> bool:
        """Whether a parameter or slot is kept number after number."""
        return name.split(".", maxsplit=1)[0] in self.flat

    def numbers(self, name: str) -> int:
        """Return how many numbers a parameter has."""
        return math.prod(self.size(self._task.parameters[name], axis) for axis in (0, 1))

    def rows(self, name: str) -> int:
        """Return how many rows a parameter is kept in, without those that pad it for its transpose."""
        if self.is_flat(name):
            return panels_of(self.numbers(name), self._format)
        node = self._task.parameters[name]
        return 1 if self.kind(node) == UNITS or self.is_kept_as_row(node) else self.size(node, 0)

    def parameter(self, name: str, arena: Arena) -> Matrix:
        """Return new memory for a parameter or slot."""
        node = self._task.parameters[name]
        if self.is_flat(name):
            return arena.matrix(self.rows(name), self._format.panel)
        return self.array(node, arena)

    def array(self, node: Node, arena: Arena) -> Matrix:
        """Return new memory for an array in the shape of a parameter."""
        if self.kind(node) == UNITS or self.is_kept_as_row(node):
            return arena.matrix(1, self.size(node, 0))
        return arena.matrix(self.padded(self.size(node, 0)), self.size(node, 1))


def _read_by_rows(task: ScheduledTask) -> frozenset[str]:
    """Return the parameters of which a tile reads some rows, and nothing else; nor is their gradient computed."""
    tile = task.schedule.tile
    rows = {s.table.attribute for s in tile if isinstance(s, LookUp)}
    rows |= {s.weights.attribute for s in tile if isinstance(s, EntryProduct)}
    multiplied = {s.weights.attribute for s in tile if isinstance(s, Product)}
    read = {n.attribute for s in tile if isinstance(s, Loop) for n in s.reads if n.op == "input"}
    values = () if task.values is None else (*task.values.outputs, *task.values.parameters.values())
    return frozenset(rows - multiplied - read - {name.split(".", maxsplit=1)[0] for name in values})
