"""Memory for the matrices of a tile: as little as their lifetimes allow."""

from collections.abc import Mapping, Set

from gdkernels.graph.nodes import Dim, Node
from gdkernels.lowering.steps import (
    MATRIX,
    Accumulation,
    Buffer,
    Copy,
    EntryProduct,
    Gather,
    LookUp,
    Loop,
    Outer,
    Product,
    RowProduct,
    Step,
    StepSchedule,
    wide_dims,
)

__all__ = ["assign_buffers"]


def assign_buffers(result: StepSchedule, stored: Mapping[int, Node], kept: Set[int], whole: Set[int]) -> None:
    """Give every stored matrix of the tile a buffer.

    Parameters
    ----------
    stored
        The matrices, by the number of the node.
    kept
        Which of them are read again after the batch.
    whole
        Which of these are read as they are.
    """
    last_read = {n.id: at for at, step in enumerate(result.tile) for n in _read(step)}
    heirs = _heirs(result.tile, stored, kept, last_read)

    def heir_of(k: int) -> int:
        while k in heirs:
            k = heirs[k]
        return k

    free: dict[str, list[int]] = {}
    place: dict[int, int] = {}  # by the last of those that share
    for at, step in enumerate(result.tile):
        for node in _written(step):
            heir = heir_of(node.id)
            if heir not in place:
                place[heir] = _take(result, node, free, kept=heir in kept, whole=heir in whole)
            result.buffer_of[node.id] = place[heir]
        for node in {n.id: n for n in _read(step)}.values():
            if last_read[node.id] == at and node.id not in heirs and not result.buffers[place[node.id]].kept:
                free.setdefault(_width(node).name, []).append(place[node.id])


def _take(result: StepSchedule, node: Node, free: dict[str, list[int]], *, kept: bool, whole: bool) -> int:
    width = _width(node)
    if free.get(width.name) and not kept:
        return free[width.name].pop()
    result.buffers.append(Buffer(width, kept, whole))
    return len(result.buffers) - 1


def _heirs(
    steps: list[Step], stored: Mapping[int, Node], kept: Set[int], last_read: Mapping[int, int]
) -> dict[int, int]:
    """Return, for outputs of a loop, the operand that is read there for the last time and whose memory they take.

    A loop after a product may run on each of its panels in turn: what the product multiplies is then read to the end.
    """
    heirs: dict[int, int] = {}
    for at, step in enumerate(steps):
        if isinstance(step, Loop) and step.kind == MATRIX:
            before = steps[at - 1] if at else None
            multiplied = before.left.id if isinstance(before, Product) else None
            for output in step.outputs:
                for node in step.reads:
                    dying = node.id in stored and node.id not in kept and last_read[node.id] == at
                    dying = dying and node.id != multiplied
                    if dying and node.id not in heirs and _width(node) is _width(output):
                        heirs[node.id] = output.id
                        break
    return heirs


def _width(node: Node) -> Dim:
    width = node.shape[1]
    assert isinstance(width, Dim)
    return width


def _read(step: Step) -> list[Node]:
    if isinstance(step, Product):
        return [step.left]
    if isinstance(step, Accumulation):
        return [n for n in (step.left, step.right) if n is not None]
    if isinstance(step, (Copy, LookUp, Outer, RowProduct)):
        return [source for source in step.sources if len(wide_dims(source.shape)) == 2]
    return [n for n in step.reads if len(wide_dims(n.shape)) == 2] if isinstance(step, Loop) else []


def _written(step: Step) -> list[Node]:
    if isinstance(step, (Copy, EntryProduct, Gather, LookUp, Outer, Product, RowProduct)):
        return [step.node] if len(wide_dims(step.node.shape)) == 2 else []
    return list(step.outputs) if isinstance(step, Loop) and step.kind == MATRIX else []
