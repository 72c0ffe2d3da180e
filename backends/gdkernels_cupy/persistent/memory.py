"""The memory of a persistent kernel: on the chip, between its CTAs, and for numbers that the host computes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import UNITS, Accumulation, Loop, Product, kind_of
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.persistent.layout import TileLayout
from gdkernels_cupy.persistent.shape import FEW_STEPS, GradientSplit, OperandFormat, most_sums, padded, split_gradient

__all__ = ["KernelMemory", "Offsets", "SummedOverBatch", "WeightGradient", "bias_word", "weights_word"]


# Of the 255 of a thread, for what a tile keeps from product to product and within one: addresses and what loops compute
# need the others. Found by compiling: of networks that need more, NVRTC 12.9 spills 350 to 600 bytes.
_MOST_REGISTERS = 144


def weights_word(name: str) -> str:
    """Return what the text of a kernel calls the weights of that name."""
    return f"weights_{_word(name)}"


def bias_word(name: str) -> str:
    """Return what the text of a kernel calls the bias of that name."""
    return f"bias_{_word(name)}"


def _word(name: str) -> str:
    """Return a name of a parameter, as W1/0 of the blocks in a residual, as part of a word of C++."""
    return re.sub(r"\W|_", lambda found: f"_{ord(found[0]):x}_", name)


class Offsets:
    """Consecutive memory: names and offsets."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.size = 0

    def take(self, name: str, size: int) -> None:
        self.offsets[name] = self.size
        self.size += size


@dataclass(frozen=True)
class WeightGradient:
    """An accumulated product."""

    product: Accumulation
    split: GradientSplit


@dataclass(frozen=True)
class SummedOverBatch:
    """Sums of columns over the batch, padded as the values are: each warp has those of its rows."""

    values: Accumulation
    columns: int

    @property
    def name(self) -> str:
        """What the text of a kernel calls them."""
        return f"sums{self.values.node.id}"


class KernelMemory:
    """The memory that a kernel for one task at given sizes needs, on the chip and off it.

    Parameters
    ----------
    order
        The names of the parameters and slots, as their addresses follow one another.
    tight, recomputes, reloads
        As `TileLayout.of` has them.
    spilled_gradients
        How many gradients, the largest, leave the registers between tiles: they wait where a CTA leaves its gradients.

    Attributes
    ----------
    spilled_gradients
        Which gradients those are, by the number of their node.
    shared, weights, partial
        Offsets: of what is on the chip, in bytes; of the rounded weights, in elements; of what a CTA leaves of its
        gradients, in floats.
    scalars
        Numbers that the host computes for every step.
    totals
        For the sums over the batch and for those over the parameters, the nodes.
    gradient_of, sums
        Accumulated products and sums of columns, by the number of their node.
    gradients
        Floats that a second phase of the update needs.
    results
        E and, where it is asked for, the norm of the gradient.
    """

    def __init__(
        self,
        task: ScheduledTask,
        sizes: Mapping[str, int],
        form: OperandFormat,
        warps: int,
        order: Sequence[str],
        *,
        tight: bool,
        recomputes: bool = False,
        reloads: bool = False,
        spilled_gradients: int = 0,
    ) -> None:
        self.task, self.sizes, self.form, self.warps = task, sizes, form, warps
        self.schedule = task.schedule
        self.reloads = reloads or form.in_parts
        self.layout = TileLayout.of(task, sizes, tight=tight, recomputes=recomputes, reloads=self.reloads)
        self.order = tuple(order)
        self.results = [n for n in (task.error, task.norm) if n is not None]
        self.biases = self._biases()
        self.gradient_of = self._gradients()
        sums = (a for a in self.schedule.accumulations if a.left is None)
        self.sums = {a.node.id: SummedOverBatch(a, self.layout.columns(a.right)) for a in sums}
        if any(one.values.right.op == "input" for one in self.sums.values()):
            raise ScheduleError("it sums what a step computes over the batch, and no columns of the data")
        largest = sorted(self.gradient_of, key=lambda k: -self.gradient_of[k].split.slots)
        self.spilled_gradients = frozenset(largest[:spilled_gradients])
        loops = [s for s in self.schedule.tile if isinstance(s, Loop)]
        self.tile_scalars = _scalars(loops)
        numbers = [loop for loop in self.schedule.numbers if loop is not None]
        updates = [loop for phase in self.schedule.updates for loop in phase.values()]
        self.update_scalars = _scalars([*numbers, *updates])
        self.scalars = list({n.id: n for n in [*self.tile_scalars, *self.update_scalars]}.values())
        by_row = {n.id for n in self.schedule.columns}
        self.totals = [[r for loop in loops for r in loop.reductions if r.id not in by_row]]
        for phase in self.schedule.updates[:-1]:
            self.totals.append([r for loop in phase.values() for r in loop.reductions])
        self.weights, self.partial, self.shared = Offsets(), Offsets(), Offsets()
        self._lay_out()
        self.gradients = self.positions() if len(self.schedule.updates) > 1 else 0

    # ---- what there is

    def size(self, node: Node, axis: int) -> int:
        return self.sizes[str(node.shape[axis])]

    def kind(self, node: Node) -> str:
        return kind_of(node, self.task.batch)

    def _biases(self) -> list[Node]:
        reads = [n for s in self.schedule.tile if isinstance(s, Loop) for n in s.reads]
        found = {n.id: n for n in reads if n.dtype != SCALAR and self.kind(n) == UNITS}
        return list(found.values())

    def _gradients(self) -> dict[int, WeightGradient]:
        """Return the accumulated products by the number of their node."""
        products = [a for a in self.schedule.accumulations if a.left is not None]
        most = most_sums(self.form, self.warps) // max(1, len(products))
        found: dict[int, WeightGradient] = {}
        for a in products:
            assert a.left is not None
            split = split_gradient(self.layout.columns(a.left), self.layout.columns(a.right), self.warps, most)
            found[a.node.id] = WeightGradient(a, split)
        return found

    @property
    def sums_per_thread(self) -> int:
        """The largest number of sums of weight gradients that a thread has in registers."""
        kept = sum(g.split.slots for k, g in self.gradient_of.items() if k not in self.spilled_gradients)
        return kept + max((self.gradient_of[k].split.slots for k in self.spilled_gradients), default=0)

    @property
    def is_crowded(self) -> bool:
        """Whether gradients, a product and its left operand, in 4 bytes, are more than compilers keep in registers."""
        products = [s for s in self.schedule.tile if isinstance(s, Product)]
        both = (self.layout.columns(s.left) + self.layout.columns(s.node) for s in products)
        wanted = self.sums_per_thread + max(both, default=0) // 2
        return self.form.size == 4 and wanted > _MOST_REGISTERS

    @property
    def matrix_instructions(self) -> int:
        """The number of matrix instructions of a tile in the code, where loops are partly unrolled."""
        count = 0
        for step in self.schedule.tile:
            if isinstance(step, Product):
                columns = self.layout.columns(step.node)
                steps = self.layout.columns(step.left) // self.form.depth
                if self.reloads:
                    steps = 1 if self.form.in_parts else min(FEW_STEPS, steps)
                count += self.form.instructions * steps * columns // 8
        for g in self.gradient_of.values():
            steps = min(16 * self.warps // self.form.depth // g.split.shares, self.form.at_once[self.warps])
            count += self.form.instructions * steps * 2 * g.split.blocks
        return count

    def _lay_out(self) -> None:
        rows, size = 16 * self.warps, self.form.size
        for name, node in self.multiplied():
            down, across = padded(self.size(node, 0)), padded(self.size(node, 1))
            self.weights.take(name, down * across)
            self.shared.take(f"{weights_word(name)}", down * self.form.pitch(across) * size)
        inputs = padded(self.task.inputs)
        self.shared.take("inputs", 2 * rows * self.form.pitch(inputs) * size)
        for k, tile in enumerate(self.layout.tiles):
            self.shared.take(f"tile{k}", rows * self.form.pitch(tile.columns) * size)
        for k, node in self.layout.kept.items():
            self.shared.take(f"kept{k}", rows * self.layout.columns(node) * 4)
        for node in self.biases:
            self.shared.take(f"{bias_word(node.attribute)}", padded(self.size(node, 0)) * 4)
        for k, g in self.gradient_of.items():
            self.partial.take(f"product{k}", g.split.slots * 32 * self.warps)
        for one in self.sums.values():
            self.shared.take(one.name, self.warps * one.columns * 4)
            self.partial.take(one.name, self.warps * one.columns)
        for k, totals in enumerate(self.totals):
            if totals:
                self.shared.take(f"parts{k}", len(totals) * self.warps * 4)
                self.shared.take(f"totals{k}", len(totals) * 4)

    def place_of(self, gradient: int) -> str:
        """Return where a CTA leaves a gradient, as text."""
        return f"mine_at + {self.partial.offsets[f'product{gradient}']}"

    def multiplied(self) -> Iterator[tuple[str, Node]]:
        products = {s.weights.id: s.weights for s in self.schedule.tile if isinstance(s, Product)}
        for node in sorted(products.values(), key=lambda n: n.id):
            yield node.attribute, node

    def positions(self) -> int:
        return sum(self.positions_of(name) for name in self.updated())

    def updated(self) -> list[str]:
        return list(dict.fromkeys(name for phase in self.schedule.updates for name in phase))

    def positions_of(self, name: str) -> int:
        found = self.gradient_of_parameter(name)
        return found.split.positions if isinstance(found, WeightGradient) else self.size(self.task.parameters[name], 0)

    def gradient_of_parameter(self, name: str) -> WeightGradient | SummedOverBatch:
        """Return the gradient that the update of a parameter reads."""
        reads = {n.id: n for phase in self.schedule.updates if name in phase for n in phase[name].reads}
        found = [made[k] for made in (self.gradient_of, self.sums) for k in made if k in reads]
        if len(found) != 1:
            raise ScheduleError(f"it moves a parameter by one gradient, and the update of {name} reads {len(found)}")
        return found[0]


def _scalars(loops: Iterable[Loop]) -> list[Node]:
    return list({n.id: n for loop in loops for n in loop.reads if n.dtype == SCALAR}.values())
