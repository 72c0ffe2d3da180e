"""What a tile copies and looks up: where columns come from, and by which column rows of a parameter are looked up."""

from collections.abc import Iterable, Sequence

from gdkernels.graph.moves import units
from gdkernels.graph.nodes import Dim, Node
from gdkernels.lowering.steps import MATRIX, Copy, LookUp, Part, ScheduleError, has_dim, kind_of, value_of

__all__ = ["folded", "move_of"]

_FOLDABLE = frozenset({"column", "columns", "to_int"})
_CODES = {"take": 1, "add_rows": 0}  # which operand holds the numbers of rows


def folded(nodes: Sequence[Node], outputs: Iterable[Node]) -> set[int]:
    """Return the columns that are only parts of others, or only codes: they are taken where they come from.

    Parameters
    ----------
    nodes
        All there are, operands first.
    """
    found: set[int] = set()
    read = {value_of(n).id for n in outputs}
    for node in reversed(nodes):
        if node.op in _FOLDABLE and node.id not in read:
            found.add(node.id)
            continue
        for k, operand in enumerate(map(value_of, node.args)):
            if not (operand.op in _FOLDABLE and (node.op == "concat" or k == _CODES.get(node.op))):
                read.add(operand.id)
    return found


def move_of(node: Node, batch: Dim, folded: set[int]) -> Copy | LookUp:
    """Return the step that computes a node which only moves numbers.

    Raises
    ------
    ScheduleError
        If it moves something else than columns of the tile and rows of parameters.
    """
    if node.op == "take":
        return _look_up(node, batch, folded)
    parts = tuple(_part(value_of(a)) for a in node.args) if node.op == "concat" else (_part(node),)
    move = Copy(node, parts)
    for source in move.sources:
        if kind_of(source, batch) != MATRIX and source.op not in ("input", "column", "sum", "max", "min"):
            raise ScheduleError(f"{source} is put beside others without being stored")
    return move


def _look_up(node: Node, batch: Dim, folded: set[int]) -> LookUp:
    table, codes = node.args
    column = value_of(codes.args[0]) if codes.op == "to_int" else codes
    if table.op != "input" or has_dim(table, batch):
        raise ScheduleError(f"{node} looks up rows of something that is no parameter")
    if codes.id not in folded or column.op != "column":
        raise ScheduleError(f"{node} looks up rows by something that is no column")
    source = value_of(column.args[0])
    if kind_of(source, batch) != MATRIX:
        raise ScheduleError(f"{node} looks up rows by a column of something that is no matrix")
    return LookUp(node, table, codes, source, column.attribute)


def _part(node: Node) -> Part:
    """Return where the numbers of a node are: in another one of which it takes columns, or in itself."""
    if node.op == "columns":
        return Part(value_of(node.args[0]), node.attribute[0], units(node))
    if node.op == "column":
        return Part(value_of(node.args[0]), node.attribute, 1)
    count = units(node) if node.ndim == 2 else 1
    zero = node.op == "broadcast_to" and node.args[0].op == "constant" and node.args[0].attribute == 0
    return Part(None if zero else node, 0, count)
