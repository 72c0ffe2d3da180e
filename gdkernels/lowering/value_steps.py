"""What is done with what is computed of parameters alone: the steps, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdkernels.graph.nodes import Dim, Node, is_one
from gdkernels.lowering.elementwise import ELEMENT, SINGLE, Instruction, Recipe
from gdkernels.lowering.steps import MATRIX, NUMBER, UNITS, Part

__all__ = [
    "COPY",
    "COPY_ROWS",
    "NOUGHT",
    "Pass",
    "SummedColumns",
    "Turn",
    "ValueCopy",
    "ValueProduct",
    "ValueStep",
    "ValueSteps",
    "extents",
    "is_matrix",
    "is_number",
    "number_of",
    "stands_alone",
    "vector_of",
]


# The recipes of loops that copy a vector, or a matrix.
COPY = Recipe(UNITS, (Instruction("load", (), 0.0, ELEMENT),), (0,), ())
COPY_ROWS = Recipe(MATRIX, (Instruction("load", (), 0.0, ELEMENT),), (0,), ())

# What has elements, of which there may be one.
_ARRAYS = frozenset({"cell", "columns", "filled"})

# What a number is before a loop sums into it, for backends whose loops add to what is there.
NOUGHT = Recipe(NUMBER, (Instruction("constant", (), 0.0, SINGLE),), (0,), ())


@dataclass(frozen=True, eq=False)
class Pass:
    """An elementwise loop over values.

    Attributes
    ----------
    over
        A value of the shape that it runs over: a matrix, a vector or a number.
    reads, writes
        The operands in the order of the recipe: values, or for what is written also the name of an output.
    """

    recipe: Recipe
    over: Node
    reads: tuple[Node, ...]
    writes: tuple[Node | str, ...]

    @property
    def copies(self) -> bool:
        """Whether it does nothing but copy an array."""
        return self.recipe in (COPY, COPY_ROWS)


@dataclass(frozen=True)
class ValueProduct:
    """`node` = `left` times `right`, of which neither is a column."""

    node: Node
    left: Node
    right: Node


@dataclass(frozen=True)
class SummedColumns:
    """`node` = the sums of the columns of the matrix `source`."""

    node: Node
    source: Node


@dataclass(frozen=True)
class Turn:
    """`node` = the matrix `source`, transposed."""

    node: Node
    source: Node


@dataclass(frozen=True)
class ValueCopy:
    """`node` = the parts side by side, columns of other values or 0."""

    node: Node
    parts: tuple[Part, ...]


ValueStep = Pass | ValueProduct | SummedColumns | Turn | ValueCopy


@dataclass
class ValueSteps:
    """The steps of a cut.

    Attributes
    ----------
    before, after
        The steps before the batch, and those after its sums are known; both may read what those before have written.
    parameters, sums, scalars
        What the inputs among the values are, by the number of the value: the name of a parameter, the sum over the
        batch as the rest of the step has it, a number that the host knows.
    outputs
        The value of each output, by its name.
    placed
        The names of the outputs whose place a value takes, by the number of the value.
    """

    before: list[ValueStep] = field(default_factory=list)
    after: list[ValueStep] = field(default_factory=list)
    parameters: dict[int, str] = field(default_factory=dict)
    sums: dict[int, Node] = field(default_factory=dict)
    scalars: dict[int, Node] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    placed: dict[int, str] = field(default_factory=dict)

    @property
    def passes(self) -> list[Pass]:
        return [s for s in (*self.before, *self.after) if isinstance(s, Pass)]

    @property
    def moves(self) -> bool:
        """Whether columns are copied."""
        return any(isinstance(s, ValueCopy) for s in (*self.before, *self.after))

    @property
    def multiplies(self) -> bool:
        """Whether parameters are multiplied with each other, as matrices."""
        return any(isinstance(s, ValueProduct) for s in (*self.before, *self.after))


def is_matrix(node: Node) -> bool:
    return not any(map(is_one, node.shape))


def is_number(node: Node) -> bool:
    return all(map(is_one, node.shape))


def stands_alone(node: Node) -> bool:
    """Return whether a value is a number, and not the only element of an array."""
    return is_number(node) and node.op not in _ARRAYS


def number_of(size: Dim | int) -> int:
    """Return the number that a size of a value stands for."""
    return size if isinstance(size, int) else size.size or 0


def extents(node: Node) -> tuple[int, int]:
    """Return the rows and the columns that a loop over a value has: a vector is one row."""
    rows, columns = map(number_of, node.shape)
    return (rows, columns) if rows > 1 and columns > 1 else (1, max(rows, columns))


def vector_of(node: Node) -> Node:
    """Return the value whose memory `node` has: a vector along one axis lies where it does along the other."""
    while node.op == "transpose" and not is_matrix(node):
        node = node.args[0]
    return node
