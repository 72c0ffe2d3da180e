"""The parts of a compiled step: gathers, products, loops and accumulations, and the memory between them."""

from dataclasses import dataclass, field

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Dim, Node, Shape

__all__ = [
    "COLUMN",
    "MATRIX",
    "NUMBER",
    "UNITS",
    "WEIGHTS",
    "Accumulation",
    "Buffer",
    "Copy",
    "EntryProduct",
    "EntrySums",
    "Gather",
    "LookUp",
    "Loop",
    "Outer",
    "Part",
    "Product",
    "RowProduct",
    "RowSums",
    "Step",
    "StepSchedule",
    "has_dim",
    "kind_of",
    "value_of",
    "wide_dims",
]

# The kinds of values: [B, n]; [B] or [B, 1]; [m, n]; [n]; or a single number.
MATRIX, COLUMN, WEIGHTS, UNITS, NUMBER = "matrix", "column", "weights", "units", "number"

_VIEWS = frozenset({"squeeze", "expand_dims", "detach"})


@dataclass(frozen=True)
class Gather:
    """The rows of an input, a matrix or a column, that belong to the tile are copied next to each other."""

    node: Node


@dataclass(frozen=True)
class Product:
    """`node` = `left` times the parameter `weights`, or times its transpose."""

    node: Node
    left: Node
    weights: Node
    transposed: bool


@dataclass(frozen=True)
class Part:
    """So many columns of `source`, a matrix or a column, from `first` on become those from `to` on.

    Without a source, they become 0.
    """

    source: Node | None
    first: int
    count: int
    to: int = 0


@dataclass(frozen=True)
class Copy:
    """`node` = the parts side by side, beside what is looked up into it."""

    node: Node
    parts: tuple[Part, ...]

    @property
    def sources(self) -> tuple[Node, ...]:
        return tuple(part.source for part in self.parts if part.source is not None)


@dataclass(frozen=True)
class LookUp:
    """For each row of the tile, that row of the parameter `table` whose number stands in a column of `source`.

    Attributes
    ----------
    node
        The matrix that it becomes a part of, or all.
    codes
        The node of the numbers, by which the gradient of the table is summed.
    to
        The column of `node` that its first one becomes.
    """

    node: Node
    table: Node
    codes: Node
    source: Node
    column: int
    to: int = 0

    @property
    def sources(self) -> tuple[Node, ...]:
        return (self.source,)


@dataclass(frozen=True)
class Outer:
    """For each row of the tile, the products of all its numbers in `left` with all those in `right`, side by side.

    Attributes
    ----------
    node
        The matrix that they become a part of, or all.
    to
        The column of `node` that the first of them becomes.
    """

    node: Node
    left: Node
    right: Node
    to: int = 0

    @property
    def sources(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(frozen=True)
class RowProduct:
    """For each row of the tile, `node` = the product of two matrices of its own, whose rows stand side by side."""

    node: Node
    left: Node
    right: Node

    @property
    def sources(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(frozen=True)
class EntryProduct:
    """`node` = the inputs, of which the entries are known that are not 0, times the parameter `weights`."""

    node: Node
    weights: Node


@dataclass(frozen=True)
class Loop:
    """Elementwise work in one pass.

    Attributes
    ----------
    kind
        The kind of array that it runs over: a MATRIX or a COLUMN of the tile, WEIGHTS or UNITS, or a NUMBER.
    stage
        The loop loads values of earlier stages, or computes them again from stored values. It never waits for them.
    outputs
        The elementwise results that it stores.
    reductions
        Its sums, maxima or minima: along the units, or of everything that it runs over.
    reads
        The operands that it loads: stored values, inputs, results of earlier reductions, numbers.
    """

    kind: str
    stage: int
    outputs: tuple[Node, ...]
    reductions: tuple[Node, ...]
    reads: tuple[Node, ...]


@dataclass(frozen=True)
class Accumulation:
    """`node` = `left`ᵀ `right` over the rows of the batch; without `left`, the sums of the columns of `right`."""

    node: Node
    left: Node | None
    right: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.right,) if self.left is None else (self.left, self.right)


@dataclass(frozen=True)
class RowSums:
    """`node` = for each row of a table the sum of those rows of the batch that have its number in `codes`.

    What is summed are as many columns of `right` as the table has, from `first` on, in the order of the batch.
    """

    node: Node
    codes: Node
    right: Node
    first: int = 0

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.right,)


@dataclass(frozen=True)
class EntrySums:
    """`node` = the inputs, of which the entries are known that are not 0, transposed, times `right`.

    The sums are taken in the order of the batch.
    """

    node: Node
    right: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.right,)


Step = Gather | Copy | LookUp | Outer | RowProduct | EntryProduct | Product | Loop | Accumulation


@dataclass(frozen=True)
class Buffer:
    """Memory for matrices of one width, one after the other.

    Attributes
    ----------
    kept
        Whether it is read again after the batch: an accumulation reads it.
    whole
        Whether it is read as it is, of the whole batch at once: sums by code are.
    """

    width: Dim
    kept: bool
    whole: bool = False


@dataclass
class StepSchedule:
    """The work of a step, in order.

    Attributes
    ----------
    tile
        The steps for every tile of rows.
    stored
        The values that loops load instead of computing them, by the number of the node.
    buffers, buffer_of
        The memory of a tile's matrices: the number of a buffer for the id of a node.
    columns
        Values with one number a row.
    accumulations
        The sums over the batch, in the order in which they become known.
    row_sums
        The sums over the batch by code or by entry.
    numbers
        For each phase of the update, the loop that computes its numbers from totals, or None if none is needed.
    updates
        For each phase, the loops over the parameters, by the parameter's name; the last phase changes them.
    written
        The parameter and the slots that the outputs of a loop of the last phase replace.
    symmetric
        The names of those of which only blocks of the lower triangle are computed, because the caller knows the rest.
    aliases
        For conditions that follow from a stored value, the node that later stages compute instead.
    stages
        When each node is known; a product and a reduction along the units begin a new stage.
    """

    tile: list[Step] = field(default_factory=list)
    stored: dict[int, Node] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    buffer_of: dict[int, int] = field(default_factory=dict)
    columns: list[Node] = field(default_factory=list)
    accumulations: list[Accumulation] = field(default_factory=list)
    row_sums: list[RowSums | EntrySums] = field(default_factory=list)
    numbers: list[Loop | None] = field(default_factory=list)
    updates: list[dict[str, Loop]] = field(default_factory=list)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    symmetric: frozenset[str] = frozenset()
    aliases: dict[int, Node] = field(default_factory=dict)
    stages: dict[int, int] = field(default_factory=dict)

    @property
    def moves(self) -> list[Copy | LookUp | Outer | RowProduct]:
        """The steps of the tile that put columns into a matrix: copied, looked up, or products of others."""
        return [s for s in self.tile if isinstance(s, (Copy, LookUp, Outer, RowProduct))]

    @property
    def takes_entries(self) -> bool:
        """Whether a product takes entries that are not 0."""
        return any(isinstance(s, EntryProduct) for s in self.tile)

    @property
    def loops(self) -> list[Loop]:
        """The loops of the tile, those over numbers, and those of the update, in the order in which they run first."""
        loops = [s for s in self.tile if isinstance(s, Loop)]
        loops += [loop for loop in self.numbers if loop is not None]
        return loops + [loop for phase in self.updates for loop in phase.values()]


def value_of(node: Node) -> Node:
    """Return the node that `node` shows in another shape."""
    while node.op in _VIEWS:
        node = node.args[0]
    return node


def kind_of(node: Node, batch: Dim) -> str:
    """Return the kind of the values of `node`."""
    sizes, wide = node.shape, wide_dims(node.shape)
    if not wide:
        return NUMBER
    if len(sizes) <= 2 and has_dim(node, batch):
        if sizes[0] is batch and sizes[-1] is not batch:
            return MATRIX if len(wide) == 2 else COLUMN
        if len(sizes) == 1:
            return COLUMN
    elif len(sizes) <= 2 and sizes[-1] is wide[-1]:
        return WEIGHTS if len(wide) == 2 else UNITS
    raise ScheduleError(f"{node} has a shape that compiled steps do not have")


def has_dim(node: Node, dim: Dim) -> bool:
    """Return whether `node` has this dimension."""
    return any(d is dim for d in node.shape)


def wide_dims(shape: Shape) -> tuple[Dim, ...]:
    """Return the dimensions of `shape` that are not 1."""
    return tuple(d for d in shape if isinstance(d, Dim))
