"""Making loops: whether a loop loads a value, computes it again, or leaves it to others."""

from collections.abc import Iterable

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import MOVES, SCALAR
from gdkernels.lowering.steps import Loop, StepSchedule, value_of

__all__ = ["is_loaded", "make_loop", "operands"]

_RESULTS = MOVES | {
    "add_rows", "constant", "dim", "input", "matmul", "max", "min", "row_outer", "row_product", "sum",
}  # fmt: skip


def operands(result: StepSchedule, node: Node, stage: int) -> tuple[Node, ...]:
    """Return the nodes that a loop of this stage computes `node` from."""
    alias = result.aliases.get(node.id)
    return tuple(map(value_of, alias.args if alias is not None and result.stages[node.id] < stage else node.args))


def is_loaded(result: StepSchedule, node: Node) -> bool:
    """Return whether loops load `node` rather than computing it."""
    return node.id in result.stored or node.op in _RESULTS or node.dtype == SCALAR


def make_loop(
    result: StepSchedule, kind: str, stage: int, outputs: Iterable[Node], reductions: Iterable[Node] = ()
) -> Loop:
    """Return the loop that computes these, with the values that it has to load."""
    outputs, reductions = tuple(outputs), tuple(reductions)
    inside = {n.id for n in outputs}
    reads: dict[int, Node] = {}
    seen: set[int] = set()
    pending = [*outputs, *(value_of(r.args[0]) for r in reductions)]
    while pending:
        node = pending.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        if node.id in inside or not is_loaded(result, node):
            pending.extend(operands(result, node, stage))
        elif node.op != "constant":
            reads[node.id] = node
    return Loop(kind, stage, outputs, reductions, tuple(reads[k] for k in sorted(reads)))
