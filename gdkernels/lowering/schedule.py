"""The order in which a compiled step computes its graph: work in a tile of rows, accumulation, and the update.

Everything follows from how a node uses the batch dimension. A node that has it runs inside a tile of rows. A node that
reduces over it accumulates. A node that does neither belongs to the update. A reduction over the parameters, as in
clipping by norm, adds a second phase to the update.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gdkernels.errors import ScheduleError
from gdkernels.graph.derivative import topological
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import ELEMENTWISE, MOVES, REAL
from gdkernels.lowering.buffers import assign_buffers
from gdkernels.lowering.cut import COMPUTED
from gdkernels.lowering.loops import is_loaded, make_loop, operands
from gdkernels.lowering.moves import folded, moves_of
from gdkernels.lowering.steps import (
    COLUMN,
    MATRIX,
    NUMBER,
    UNITS,
    WEIGHTS,
    Accumulation,
    Copy,
    EntryProduct,
    EntrySums,
    Gather,
    LookUp,
    Loop,
    Outer,
    Product,
    RowProduct,
    RowSums,
    StepSchedule,
    has_dim,
    kind_of,
    value_of,
)
from gdkernels.lowering.update_order import order_update

__all__ = ["PREDICTION", "schedule"]

PREDICTION = "prediction"

_COMPUTED = frozenset(ELEMENTWISE) | {"broadcast_to"}
_COSTLY = frozenset({"exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "pow"})
_REDUCTIONS = frozenset({"sum", "max", "min"})
_NOT_ORDERED = frozenset({"squeeze", "expand_dims", "detach"})


def schedule(
    graph: Graph,
    batch: Dim,
    outputs: Mapping[str, Node],
    totals: Sequence[Node] = (),
    entries: str | None = None,
    sums: Sequence[Node] = (),
) -> StepSchedule:
    """Put a step, or a prediction, in order.

    Parameters
    ----------
    batch
        The size of the batch.
    outputs
        New values, by the name of the parameter or slot that they replace; or one matrix, called "prediction".
    totals
        Further numbers that the step returns.
    entries
        The input of which a backend is given those entries that are not 0, if there is one.
    sums
        Sums over the batch that are needed before the update, beside those that it reads.

    Raises
    ------
    ScheduleError
        If the graph is not that of a step over independent rows; it names the value that does not fit.
    """
    tile = _Tile(graph, batch, entries)
    nodes = [n for n in topological(*outputs.values(), *totals, *sums) if n.op not in _NOT_ORDERED]
    tile.folded = folded(nodes, outputs.values())
    for node in nodes:
        tile.classify(node)
    if PREDICTION in outputs:
        tile.store(value_of(outputs[PREDICTION]))
    tile.find_aliases()
    tile.store_what_crosses()
    tile.store_what_is_read_often()
    tile.order()
    if any(tile.reads_entries(s) for s in tile.result.tile):
        raise ScheduleError(f"{entries} is needed as a whole, and not only its entries that are not 0")
    assign_buffers(tile.result, tile.result.stored, tile.kept, tile.whole)
    if PREDICTION not in outputs:
        order_update(tile.result, nodes, batch, outputs, totals)
    return tile.result


class _Tile:
    """The part of a schedule that runs inside a tile of rows."""

    def __init__(self, graph: Graph, batch: Dim, entries: str | None) -> None:
        self.graph, self.batch, self.entries = graph, batch, entries
        self.result = StepSchedule()
        self.stages = self.result.stages
        self.kept: set[int] = set()
        self.whole: set[int] = set()
        self.folded: set[int] = set()
        self.moves: list[Copy | LookUp | Outer | RowProduct] = []
        self.products: list[Product | EntryProduct] = []
        self.over_batch: set[int] = set()  # what waits for the whole batch
        self.reductions: list[Node] = []  # along the units, or of everything in the tile

    def store(self, node: Node) -> None:
        if self._is_entries(node):
            raise ScheduleError(f"{node} is needed as a whole, and not only its entries that are not 0")
        self.result.stored.setdefault(node.id, node)

    # ---- what each node is

    def classify(self, node: Node) -> None:
        self.stages[node.id] = max((self.stages[value_of(a).id] for a in node.args), default=0)
        in_tile = has_dim(node, self.batch)
        if any(value_of(a).id in self.over_batch for a in node.args):
            self.over_batch.add(node.id)
            if in_tile:
                raise ScheduleError(f"{node} needs a sum over the batch or over parameters before the batch is done")
        if node.id in self.folded:
            return
        if node.op == "matmul":
            self._classify_product(node, in_tile)
        elif node.op in MOVES or node.op in ("row_outer", "row_product"):
            self._classify_move(node)
        elif node.op == "add_rows":
            self._classify_row_sums(node)
        elif node.op in _REDUCTIONS:
            self._classify_reduction(node)
        elif node.op in _COMPUTED:
            kind_of(node, self.batch)
        elif node.op == "input" and in_tile:
            if self._is_entries(node):
                return
            if kind_of(node, self.batch) == MATRIX:
                self.store(node)
            else:
                self.result.columns.append(node)
        elif node.op not in ("input", "constant", "dim", "transpose"):
            raise ScheduleError(f"{node} is not an operation that compiled steps do")

    def _classify_product(self, node: Node, in_tile: bool) -> None:
        a, b = node.args
        if in_tile:
            weights = b.args[0] if b.op == "transpose" else b
            if a.op == "transpose" or weights.op != "input" or has_dim(b, self.batch):
                raise ScheduleError(f"{node} is not a product of rows with weights")
            self.stages[node.id] += 1
            left = value_of(a)
            if self._is_entries(left) and b.op != "transpose":
                if str(weights.attribute).startswith(COMPUTED):
                    raise ScheduleError(f"{node} multiplies entries by weights that are computed")
                self.products.append(EntryProduct(node, weights))
                self.store(node)
                return
            self._check_matrix(left)
            self.products.append(Product(node, left, weights, b.op == "transpose"))
            self.store(left)
            self.store(node)
        elif a.op == "transpose" and has_dim(a, self.batch) and has_dim(b, self.batch):
            left, right = value_of(a.args[0]), value_of(b)
            if self._is_entries(left):
                self._sum_rows(EntrySums(node, right))
            else:
                self._accumulate(Accumulation(node, left, right))
        else:
            raise ScheduleError(f"{node} is a product that has nothing to do with the batch")

    def _classify_move(self, node: Node) -> None:
        self.stages[node.id] += 1
        for move in moves_of(node, self.batch, self.folded):
            self.moves.append(move)
            for source in move.sources:
                if kind_of(source, self.batch) == MATRIX:
                    self.store(source)
        if kind_of(node, self.batch) == MATRIX:
            self.store(node)
        else:
            self.result.columns.append(node)

    def _classify_row_sums(self, node: Node) -> None:
        codes, right = node.args[0], value_of(node.args[1])
        if not any(isinstance(m, LookUp) and m.codes is codes for m in self.moves):
            raise ScheduleError(f"{node} sums rows by numbers that nothing is looked up by")
        first = right.attribute[0] if right.id in self.folded else 0
        self._sum_rows(RowSums(node, codes, value_of(right.args[0]) if right.id in self.folded else right, first))

    def _sum_rows(self, sums: RowSums | EntrySums) -> None:
        self._check_matrix(sums.right)
        self.store(sums.right)
        self.kept.add(sums.right.id)
        self.whole.add(sums.right.id)
        self.over_batch.add(sums.node.id)
        self.result.row_sums.append(sums)

    def _is_entries(self, node: Node) -> bool:
        return self.entries is not None and node.op == "input" and node.attribute == self.entries

    def _classify_reduction(self, node: Node) -> None:
        argument = value_of(node.args[0])
        kind, result = kind_of(argument, self.batch), kind_of(node, self.batch)
        if kind == MATRIX and result == COLUMN:
            self.stages[node.id] += 1
            self.reductions.append(node)
        elif node.op != "sum":
            raise ScheduleError(f"{node} is an extremum over something else than the units of each row")
        elif kind == MATRIX and result == UNITS:
            self._accumulate(Accumulation(node, None, argument))
        elif kind in (MATRIX, COLUMN):
            self.reductions.append(node)
            self.over_batch.add(node.id)
        elif kind not in (WEIGHTS, UNITS) or result != NUMBER:
            raise ScheduleError(f"{node} reduces over something that compiled steps keep apart")
        else:
            self.over_batch.add(node.id)  # of parameters: it is computed with the update, as their norm is

    def _accumulate(self, accumulation: Accumulation) -> None:
        self.result.accumulations.append(accumulation)
        self.over_batch.add(accumulation.node.id)
        for operand in accumulation.operands:
            self._check_matrix(operand)
            self.store(operand)
            self.kept.add(operand.id)

    def _check_matrix(self, node: Node) -> None:
        if kind_of(node, self.batch) != MATRIX:
            raise ScheduleError(f"{node} enters a product without being rows of units")

    # ---- what is stored and what is computed again

    def find_aliases(self) -> None:
        """Find conditions that follow from a stored value, so that their own operands need not be kept.

        After a = where(z ≤ k, k, z) the condition is a ≤ k; after where(z > k, z, k), and after where(z > 0, z, c·z)
        with c ≥ 0, it is a > k: the same in each case, for NaN too.
        """
        for a in self.result.stored.values():
            if a.op != "where" or a.args[0].op not in ("less_equal", "greater_equal", "less", "greater"):
                continue
            condition, chosen, other = a.args
            z, k = condition.args
            if condition.op in ("less", "greater"):
                holds = chosen is z and (other is k or _stays_below(other, z, k))
            else:
                holds = chosen is k and other is z
            if holds and k.op == "constant":
                self.result.aliases[condition.id] = self.graph.apply(condition.op, a, k)

    def store_what_crosses(self) -> None:
        """Decide for each value that a later stage needs: store it if it is costly, or else compute it again."""
        pending = [*self.result.stored.values(), *(value_of(r.args[0]) for r in self.reductions)]
        while pending:
            root = pending.pop()
            stage = self.stages[root.id]
            for node in self._computed_for(root, stage):
                crosses = self.stages[node.id] < stage
                if crosses and node.op in _COSTLY and kind_of(node, self.batch) == MATRIX:
                    self.store(node)
                    pending.append(node)

    def store_what_is_read_often(self) -> None:
        """Store what later stages would compute again from several matrices, where storing it takes fewer loads.

        So each block of a residual network adds to the sum that is stored, and not to the outputs of all blocks before.
        """
        while True:
            again: dict[int, tuple[Node, set[int]]] = {}
            for root in (*self.result.stored.values(), *(value_of(r.args[0]) for r in self.reductions)):
                stage = self.stages[root.id]
                for node in self._computed_for(root, stage):
                    if self.stages[node.id] < stage and node.dtype == REAL and kind_of(node, self.batch) == MATRIX:
                        again.setdefault(node.id, (node, set()))[1].add(stage)
            # A load for each matrix in each of these stages, instead of one store, and one load in each.
            dear = [k for k, (node, stages) in again.items() if len(stages) * (self._loads(node, stages) - 1) > 1]
            if not dear:
                return
            self.store(again[max(dear)][0])  # what is inside it may then be computed only once

    def _loads(self, node: Node, stages: Iterable[int]) -> int:
        """Return how many matrices a later stage loads to compute `node` again."""
        found: set[int] = set()
        pending, stage = [node], max(stages)
        while pending:
            for operand in operands(self.result, pending.pop(), stage):
                if not is_loaded(self.result, operand):
                    pending.append(operand)
                elif operand.id in self.result.stored:
                    found.add(operand.id)
        return len(found)

    def _computed_for(self, root: Node, stage: int) -> Iterator[Node]:
        """Yield what a loop of this stage computes on the way to `root`, which comes last of all."""
        seen: set[int] = set()
        pending = [root] if root.op in _COMPUTED else []
        while pending:
            for operand in operands(self.result, pending.pop(), stage):
                if operand.id not in seen:
                    seen.add(operand.id)
                    if not is_loaded(self.result, operand):
                        yield operand
                        pending.append(operand)

    # ---- the order

    def order(self) -> None:
        """Put the tile's steps in order, stage by stage: products, loops, accumulations."""
        result, steps = self.result, self.result.tile
        steps += [Gather(n) for n in (*result.stored.values(), *result.columns) if n.op == "input"]
        result.columns += [r for r in self.reductions if r.id not in self.over_batch]
        for stage in range(max(self.stages.values(), default=0) + 1):
            steps += [m for m in self.moves if self.stages[m.node.id] == stage]
            steps += [p for p in self.products if self.stages[p.node.id] == stage]
            groups: dict[str, tuple[list[Node], list[Node]]] = {}
            for node in sorted(result.stored.values(), key=lambda n: n.id):
                if node.op in _COMPUTED and self.stages[node.id] == stage:
                    groups.setdefault(self._extent(node), ([], []))[0].append(node)
            for node in self.reductions:
                argument = value_of(node.args[0])
                if self.stages[argument.id] == stage:
                    groups.setdefault(self._extent(argument), ([], []))[1].append(node)
            for extent, (outputs, reduced) in groups.items():
                steps.append(make_loop(result, MATRIX if extent else COLUMN, stage, outputs, reduced))
            for a in result.accumulations:
                if max(self.stages[o.id] for o in a.operands) == stage:
                    steps.append(a)

    def reads_entries(self, step: object) -> bool:
        """Return whether a loop needs all numbers of what only has entries."""
        return isinstance(step, Loop) and any(map(self._is_entries, step.reads))

    def _extent(self, node: Node) -> str:
        """Return the name of the size of a matrix' rows, or an empty string for a column."""
        return str(node.shape[1]) if kind_of(node, self.batch) == MATRIX else ""


def _stays_below(other: Node, z: Node, k: Node) -> bool:
    """Return whether `other` is c·z with c ≥ 0 and `k` is 0: then it is on the same side of `k` as z."""
    scaled = other.op == "multiply" and other.args[0].op == "constant" and other.args[1] is z
    return scaled and k.attribute == 0 and other.args[0].attribute >= 0
