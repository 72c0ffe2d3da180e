"""What a tile puts into a matrix: columns from elsewhere, rows of a parameter by their numbers, products of rows."""

from collections.abc import Iterable, Sequence

from gdkernels.errors import ScheduleError
from gdkernels.graph.moves import units
from gdkernels.graph.nodes import Dim, Node
from gdkernels.lowering.steps import MATRIX, Copy, LookUp, Outer, Part, RowProduct, has_dim, kind_of, value_of

__all__ = ["folded", "moves_of"]

# What may be taken where it comes from, or put where it goes to, by the operation that reads it, and as which operand.
_FOLDABLE: dict[str | tuple[str, int], frozenset[str]] = {
    "concat": frozenset({"column", "columns", "row_outer", "take"}),
    ("take", 1): frozenset({"to_int", "column"}),
    ("add_rows", 0): frozenset({"to_int", "column"}),
    ("add_rows", 1): frozenset({"columns"}),
    ("to_int", 0): frozenset({"column"}),
}
_NEVER_ALONE = frozenset({"column", "columns", "row_outer", "take", "to_int"})


def folded(nodes: Sequence[Node], outputs: Iterable[Node]) -> set[int]:
    """Return the columns and rows that are only parts of others, or only codes: they have no place of their own.

    Parameters
    ----------
    nodes
        All there are, operands first.
    """
    found: set[int] = set()
    read = {value_of(n).id for n in outputs}
    for node in reversed(nodes):
        alone = node.op in _NEVER_ALONE and node.id not in read
        if alone:
            found.add(node.id)
        for k, operand in enumerate(map(value_of, node.args)):
            foldable = _FOLDABLE.get(node.op) or _FOLDABLE.get((node.op, k)) or frozenset()
            # What converts numbers for others than lookups is computed like any number.
            if operand.op not in foldable or (node.op == "to_int" and not alone):
                read.add(operand.id)
    return found


def moves_of(node: Node, batch: Dim, folded: set[int]) -> list[Copy | LookUp | Outer | RowProduct]:
    """Return the steps that compute a node which only moves numbers.

    Raises
    ------
    ScheduleError
        If it moves something else than columns of the tile and rows of parameters.
    """
    if node.op == "take":
        return [_look_up(node, node, 0, batch, folded)]
    if node.op == "row_outer":
        return [_outer(node, node, 0, batch)]
    if node.op == "row_product":
        return [RowProduct(node, *_factors(node, batch))]
    moves: list[Copy | LookUp | Outer | RowProduct] = []
    parts: list[Part] = []
    at = 0
    for value in map(value_of, node.args) if node.op == "concat" else (node,):
        part = _part(value, at)
        if value.id in folded and value.op == "take":
            moves.append(_look_up(value, node, at, batch, folded))
        elif value.id in folded and value.op == "row_outer":
            moves.append(_outer(value, node, at, batch))
        else:
            parts.append(part)
        at += part.count
    copy = Copy(node, tuple(parts))
    for source in copy.sources:
        if kind_of(source, batch) != MATRIX and source.op not in ("input", "column", "sum", "max", "min"):
            raise ScheduleError(f"{source} is put beside others without being stored")
    return [*moves, copy]


def _outer(node: Node, into: Node, to: int, batch: Dim) -> Outer:
    return Outer(into, *_factors(node, batch), to)


def _factors(node: Node, batch: Dim) -> tuple[Node, Node]:
    left, right = map(value_of, node.args)
    if any(kind_of(a, batch) != MATRIX for a in (left, right)):
        raise ScheduleError(f"{node} multiplies something that is no matrix")
    return left, right


def _look_up(node: Node, into: Node, to: int, batch: Dim, folded: set[int]) -> LookUp:
    table, codes = node.args
    column = value_of(codes.args[0]) if codes.op == "to_int" else codes
    if table.op != "input" or has_dim(table, batch):
        raise ScheduleError(f"{node} looks up rows of something that is no parameter")
    if codes.id not in folded or column.op != "column":
        raise ScheduleError(f"{node} looks up rows by something that is no column")
    source = value_of(column.args[0])
    if kind_of(source, batch) != MATRIX:
        raise ScheduleError(f"{node} looks up rows by a column of something that is no matrix")
    return LookUp(into, table, codes, source, column.attribute, to)


def _part(node: Node, to: int) -> Part:
    """Return where the numbers of a node are: in another one of which it takes columns, or in itself."""
    if node.op == "columns":
        return Part(value_of(node.args[0]), node.attribute[0], units(node), to)
    if node.op == "column":
        return Part(value_of(node.args[0]), node.attribute, 1, to)
    count = units(node) if node.ndim == 2 else 1
    zero = node.op == "broadcast_to" and node.args[0].op == "constant" and node.args[0].attribute == 0
    return Part(None if zero else node, 0, count, to)
