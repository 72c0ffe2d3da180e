"""The places of operands in bfloat16: the forms of the weights, and of the values of a tile."""

from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import Product
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix
from gdkernels_numba.cpu.features import caches
from gdkernels_numba.ir.format import GRANULE, LINE, Format
from gdkernels_numba.plan import StepChoices
from gdkernels_numba.vm.fields import StridedAddress

__all__ = ["NOWHERE", "PackedForms", "PackedOperands"]

NOWHERE = StridedAddress(0)  # of a form that no product reads


@dataclass(frozen=True)
class PackedForms:
    """The addresses of the forms of a tile's value, by the names of `kernels.bfloat16`.

    Attributes
    ----------
    left
        Of the tile.
    right, transposed
        They hold the tile too if tiles add to the gradients one after another, and otherwise the whole batch.
    right_pitch
        The bytes from one pair of rows to the next.
    """

    left: StridedAddress = NOWHERE
    right: StridedAddress = NOWHERE
    transposed: StridedAddress = NOWHERE
    right_pitch: int = 0

    def from_column(self, column: int, format: Format) -> "PackedForms":
        """Return the addresses from a column on that begins a square, the unit in which the forms are written."""
        panel, inside = divmod(column, format.panel)
        left, right, transposed = (
            address._replace(base=address.base + further) if address.base else address
            for address, further in (
                (self.left, column // GRANULE * self.left.across),
                (self.right, panel * self.right.across + inside * format.size),
                (self.transposed, column * LINE),
            )
        )
        return PackedForms(left, right, transposed, self.right_pitch)


class PackedOperands:
    """The forms for a task, some sizes and some choices.

    Attributes
    ----------
    right, back
        The forms of weights, by the name of the parameter, where a product reads them.
    distant_weights, distant_rows
        Whether the forms of the weights, or of what the whole batch computes, are so large that they have left the
        caches when they are read.
    """

    def __init__(self, task: ScheduledTask, sizes: Mapping[str, int], choices: StepChoices, arena: Arena) -> None:
        self._arena, self._choices, self._sizes = arena, choices, sizes
        products = [step for step in task.schedule.tile if isinstance(step, Product)]
        sums = [(a.left, a.right) for a in task.schedule.accumulations if a.left is not None]

        self.right: dict[str, Matrix] = {}
        self.back: dict[str, Matrix] = {}
        begin = arena.size
        for p in products:
            m, n = self._size(p.weights, 0), self._size(p.weights, 1)
            name, forms = p.weights.attribute, self.back if p.transposed else self.right
            if name not in forms:
                forms[name] = arena.right(n, m) if p.transposed else arena.right(m, n)
        self.distant_weights = arena.size - begin > caches().last // 4  # beside masters and slots

        multiplied = {p.left.id: p.left for p in products}
        first, second = {a.id: a for a, _ in sums}, {d.id: d for _, d in sums}
        nodes = multiplied | first | second
        self._values: list[dict[int, PackedForms]] = []
        begin = arena.size
        for number in range(choices.pieces):
            if number == 0 or choices.tile_local_gradients:
                kept = {k: self._kept(node, k in first, k in second) for k, node in nodes.items()}
            if number == 0 or not choices.column_parallel:
                values = {k: self._with_left(kept[k], node, k in multiplied) for k, node in nodes.items()}
            self._values.append(values)
        self.distant_rows = not choices.tile_local_gradients and arena.size - begin > caches().last // 2

    def _size(self, node: Node, axis: int) -> int:
        return self._sizes[str(node.shape[axis])]

    def _kept(self, node: Node, first: bool, second: bool) -> PackedForms:
        """Return the forms of which gradients are made, the value being the first or the second of their factors."""
        whole, units = not self._choices.tile_local_gradients, self._size(node, 1)
        rows = self._sizes["B"] if whole else self._choices.tile_rows
        right, transposed, pitch = NOWHERE, NOWHERE, 0
        if second:
            matrix = self._arena.right(rows, units)
            pitch = matrix.pitch
            right = StridedAddress(matrix.address, pitch // 2 * whole, matrix.panel)
        if first:
            matrix = self._arena.left(units, rows)
            transposed = StridedAddress(matrix.address, matrix.panel // GRANULE * whole, matrix.panel)
        return PackedForms(NOWHERE, right, transposed, pitch)

    def _with_left(self, forms: PackedForms, node: Node, multiplied: bool) -> PackedForms:
        if not multiplied:
            return forms
        left = self._arena.left(self._choices.tile_rows, self._size(node, 1))
        return PackedForms(
            StridedAddress(left.address, 0, left.panel), forms.right, forms.transposed, forms.right_pitch
        )

    def of(self, node: Node, piece: int) -> PackedForms | None:
        """Return the forms of a tile's value, if a product reads it."""
        return self._values[piece].get(node.id)
