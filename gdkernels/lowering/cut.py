"""Cutting a step in three: what is computed of parameters alone, the work on the batch, and the way back to parameters.

A block may compute its weights, as weight normalisation does. They are the same for all records, so they are computed
once before the batch, and the work on the batch takes them like parameters. The gradient of what was computed is summed
over the batch as ever, and is then pulled back to the parameters. Nothing here knows a block: the trace has both ways,
and this room finds out where they meet the records.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gdkernels.errors import ScheduleError
from gdkernels.graph.derivative import topological
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node, is_one
from gdkernels.graph.operations import ELEMENTWISE, SCALAR
from gdkernels.lowering.steps import has_dim, kind_of, value_of, wide_dims
from gdkernels.lowering.upright import upright

__all__ = ["COMPUTED", "Cut", "cut"]

COMPUTED = "="  # begins the names of the inputs that stand for what is computed before the batch; no parameter's does

_VIEWS = frozenset({"squeeze", "expand_dims", "detach", "transpose"})
_UNIT_BY_UNIT = frozenset(ELEMENTWISE) | {"broadcast_to"}


@dataclass(frozen=True)
class Cut:
    """The parts of a step.

    Attributes
    ----------
    outputs, totals
        Those of the step, computed from inputs that stand for what the other parts compute.
    before
        What is computed of parameters before the batch, by the name of the input that stands for it.
    after
        The gradients that are computed of sums over the batch, by the name of the input that stands for each.
    sums
        The sums over the batch that `after` is made of: a pair of the node there and the one that the rest computes.
    """

    outputs: dict[str, Node]
    totals: tuple[Node, ...]
    before: dict[str, Node]
    after: dict[str, Node]
    sums: tuple[tuple[Node, Node], ...]


def cut(
    graph: Graph,
    batch: Dim,
    outputs: Mapping[str, Node],
    totals: Sequence[Node] = (),
    gradients: Mapping[str, Node] | None = None,
) -> Cut:
    """Cut a step, or a prediction.

    Parameters
    ----------
    batch, outputs, totals
        As for `gdkernels.lowering.schedule`.
    gradients
        The gradient of each parameter that is trained, by its name.
    """
    gradients = gradients or {}
    made = upright(graph, batch, [*outputs.values(), *totals, *gradients.values()])
    named = [{name: made[node.id] for name, node in nodes.items()} for nodes in (outputs, gradients)]
    return _Cutter(graph, batch, named[0], [made[node.id] for node in totals], named[1]).cut()


def _unscaled(gradient: Node) -> Node:
    """Return a gradient but for numbers before it: an update may have gathered them with its rate."""
    while gradient.op == "multiply" and gradient.args[0].dtype == SCALAR and gradient.args[1].dtype != SCALAR:
        gradient = gradient.args[1]
    return gradient


class _Cutter:
    def __init__(
        self,
        graph: Graph,
        batch: Dim,
        outputs: Mapping[str, Node],
        totals: Sequence[Node],
        gradients: Mapping[str, Node],
    ) -> None:
        self.graph, self.batch, self.outputs, self.totals = graph, batch, outputs, totals
        self.gradients = gradients
        self.nodes = topological(*outputs.values(), *totals)
        self.of_batch: set[int] = set()
        for node in self.nodes:
            if has_dim(node, batch) or any(a.id in self.of_batch for a in node.args):
                self.of_batch.add(node.id)
        self.plain: dict[int, bool] = {}
        self.stands_for: dict[int, Node] = {}  # the inputs, by the number of what is computed before the batch

    def cut(self) -> Cut:
        before = self._before()
        ways = self._ways_back()
        after = {f"{name}.gradient": _unscaled(self.gradients[name]) for name in ways}
        sums = list({n.id: n for gradient in after.values() for n in self._sums_in(gradient)}.values())
        if not before and not after:
            return Cut(dict(self.outputs), tuple(self.totals), {}, {}, ())
        replaced = {node.id: self.graph.input(name, node.shape) for name, node in after.items()}
        made, own = self._rebuilt(replaced, sums)
        return Cut(
            {name: made[node.id] for name, node in self.outputs.items()},
            tuple(made[node.id] for node in self.totals),
            before,
            after,
            tuple((node, own[node.id]) for node in sums),
        )

    # ---- before the batch

    def _before(self) -> dict[str, Node]:
        """Find what the work on the batch reads and cannot compute for each tile again, and name inputs for it."""
        found: dict[int, Node] = {}
        for node in self.nodes:
            if self._is_on_batch(node):
                for operand in node.args:
                    if operand.id not in self.of_batch:
                        weights = value_of(operand)
                        if node.op == "matmul" and operand.op == "transpose":
                            weights = operand.args[0]
                        if weights.op != "input" if node.op in ("matmul", "take") else not self._is_plain(weights):
                            found[weights.id] = weights
        before = {f"{COMPUTED}{k}": found[number] for k, number in enumerate(sorted(found))}
        self.stands_for = {node.id: self._standing_for(name, node) for name, node in before.items()}
        return before

    def _standing_for(self, name: str, node: Node) -> Node:
        """Return an input in the shape of a value; steps know arrays without axes of size 1."""
        shown = self.graph.input(name, wide_dims(node.shape))
        for axis, size in enumerate(node.shape):
            if is_one(size):
                shown = self.graph.expand_dims(shown, axis=axis)
        return shown

    def _is_on_batch(self, node: Node) -> bool:
        return has_dim(node, self.batch) or any(has_dim(a, self.batch) for a in node.args)

    def _is_plain(self, node: Node) -> bool:
        """Return whether loops over a tile compute a value that has no records: unit by unit, from parameters."""
        known = self.plain.get(node.id)
        if known is None:
            if node.dtype == SCALAR or node.op in ("constant", "dim"):
                known = True
            elif node.op == "input" or node.op in _UNIT_BY_UNIT or (node.op in _VIEWS and node.op != "transpose"):
                known = len(wide_dims(node.shape)) <= 1 and all(map(self._is_plain, node.args))
            else:
                known = False
            self.plain[node.id] = known
        return known

    # ---- after the batch

    def _is_sum(self, node: Node) -> bool:
        """Return whether a node sums over the batch."""
        return not has_dim(node, self.batch) and any(has_dim(a, self.batch) for a in node.args)

    def _ways_back(self) -> list[str]:
        """Return the parameters whose gradient is no elementwise function of themselves and of sums of their own."""
        direct: dict[str, set[int]] = {}
        apart: list[str] = []
        for name, gradient in self.gradients.items():
            sums = self._direct_sums(name, gradient)
            if sums is None:
                apart.append(name)
            else:
                direct[name] = sums
        read = Counter(number for sums in direct.values() for number in sums)
        arrays = {node.id for node in self.nodes if wide_dims(node.shape)}  # totals are there for all updates
        needed = {number for number, readers in read.items() if readers > 1 and number in arrays}
        while True:  # a sum has one place: where it is needed before the update, no update computes it
            needed |= {n.id for name in apart for n in self._sums_in(self.gradients[name])}
            more = [name for name, sums in direct.items() if sums & needed]
            if not more:
                return apart
            apart += more
            for name in more:
                del direct[name]

    def _direct_sums(self, name: str, gradient: Node) -> set[int] | None:
        """Return the sums that the update of a parameter makes its gradient of; None if it cannot."""
        sums: set[int] = set()
        seen: set[int] = set()
        own, pending = wide_dims(gradient.shape), [value_of(gradient)]
        while pending:
            node = pending.pop()
            if node.id in seen or node.dtype == SCALAR:
                continue
            seen.add(node.id)
            wide = wide_dims(node.shape)
            if self._is_sum(node):
                sums.add(node.id)
            elif node.op == "input":
                if node.attribute != name and node.attribute in self.outputs:
                    return None  # another update may have changed it by then
            elif node.op not in _UNIT_BY_UNIT:
                return None
            if wide and not (len(wide) == len(own) and all(a is b for a, b in zip(wide, own, strict=True))):
                return None
            if not self._is_sum(node):
                if wide and not self._has_kind(node):
                    return None
                pending.extend(map(value_of, node.args))
        return sums

    def _has_kind(self, node: Node) -> bool:
        try:
            kind_of(node, self.batch)
        except ScheduleError:
            return False
        return True

    def _sums_in(self, gradient: Node) -> list[Node]:
        """Return the sums over the batch that a gradient is made of."""
        sums: list[Node] = []
        seen: set[int] = set()
        pending = [gradient]
        while pending:
            node = pending.pop()
            if node.id in seen or node.id not in self.of_batch:
                continue
            seen.add(node.id)
            if self._is_sum(node):
                sums.append(node)
            else:
                pending.extend(node.args)
        return sorted(sums, key=lambda n: n.id)

    # ---- the rest

    def _rebuilt(self, replaced: Mapping[int, Node], sums: Iterable[Node]) -> tuple[dict[int, Node], dict[int, Node]]:
        """Return by the number of each node what stands for it, and what computes it, without the other parts."""
        made: dict[int, Node] = {}
        own: dict[int, Node] = {}
        for node in topological(*self.outputs.values(), *self.totals, *sums):
            on_batch = self._is_on_batch(node)
            args = tuple(self._given(a) if on_batch and a.id not in self.of_batch else made[a.id] for a in node.args)
            own[node.id] = self._with_args(node, args)
            made[node.id] = replaced.get(node.id, own[node.id])
        return made, own

    def _given(self, node: Node) -> Node:
        """Return a value that the work on the batch reads, as it is given."""
        if node.id in self.stands_for:
            return self.stands_for[node.id]
        return self._with_args(node, (self._given(node.args[0]),)) if node.op in _VIEWS else node

    def _with_args(self, node: Node, args: tuple[Node, ...]) -> Node:
        if all(a is b for a, b in zip(args, node.args, strict=True)):
            return node
        # Two nodes that compute the same are kept apart where they were: each may have a place of its own.
        key = ("cut", node.id, *(a.id for a in args))
        return self.graph.node(node.op, args, node.attribute, node.shape, node.dtype, key=key)
