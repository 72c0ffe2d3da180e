"""The layout of a tile of rows: operands for other warps, values for the way back, and which steps wait for which."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import MATRIX, Accumulation, Gather, Loop, Product, Step, kind_of
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.persistent.shape import padded

__all__ = ["OperandTile", "TileLayout"]

_GATHERED = ("x", "y", "sample_weight")  # what the kernel takes of each record


@dataclass
class OperandTile:
    """Memory on the chip for rounded rows; values follow one another in it."""

    columns: int


@dataclass
class TileLayout:
    """The places of a tile's values, and which steps wait for which.

    Attributes
    ----------
    section
        The number of products before each value: registers do not keep a value from one to the next.
    tiles, tile_of
        Memory for operands, and which of it a value has; the input's own is not among them.
    kept
        What a later section needs in full precision.
    again
        Products of the way forward that are done again before a step, by its number and that of their result, each with
        the loops over it, in place of keeping what they made.
    signs
        Reads, as the number of the step and of the value, that only ask whether the value is above or below 0.
    reloaded
        Products whose left operand comes from its tile, as where registers are needed for a gradient in between.
    barrier_before
        Steps that read what other warps wrote in this tile, or values whose memory other warps may be reading.
    """

    task: ScheduledTask
    sizes: Mapping[str, int]
    section: dict[int, int] = field(default_factory=dict)
    tiles: list[OperandTile] = field(default_factory=list)
    tile_of: dict[int, int] = field(default_factory=dict)
    kept: dict[int, Node] = field(default_factory=dict)
    again: dict[int, dict[int, list[Loop]]] = field(default_factory=dict)
    signs: set[tuple[int, int]] = field(default_factory=set)
    reloaded: set[int] = field(default_factory=set)
    barrier_before: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        task: ScheduledTask,
        sizes: Mapping[str, int],
        *,
        tight: bool,
        recomputes: bool = False,
        reloads: bool = False,
    ) -> "TileLayout":
        """Lay out the tile of a task.

        Parameters
        ----------
        sizes
            The value of each dimension, by its name.
        tight
            Whether memory that was just read is written again, at the price of one more barrier each time.
        recomputes
            Whether what follows from a product alone is computed again on the way back, in place of being kept.
        reloads
            Whether the left operand of every product comes from its tile.

        Raises
        ------
        ScheduleError
            For what this kernel does not do.
        """
        layout = cls(task, sizes)
        layout._find_sections()
        layout._find_reads(recomputes)
        if reloads:
            products = enumerate(task.schedule.tile)
            layout.reloaded = {at for at, s in products if isinstance(s, Product) and s.left.op != "input"}
        layout._share_memory(tight)
        return layout

    def width(self, node: Node) -> int:
        """Return the true number of columns."""
        return self.sizes[str(node.shape[1])]

    def columns(self, node: Node) -> int:
        return padded(self.width(node))

    def is_matrix(self, node: Node) -> bool:
        return kind_of(node, self.task.batch) == MATRIX

    # ---- what is where

    def _find_sections(self) -> None:
        now = 0
        for step in self.task.schedule.tile:
            if isinstance(step, Gather):
                if step.node.attribute not in _GATHERED:
                    raise ScheduleError(f"the input {step.node.attribute!r} is none of {', '.join(_GATHERED)}")
            elif isinstance(step, Product):
                now += 1
                self.section[step.node.id] = now
            elif isinstance(step, Loop):
                self.section |= {n.id: now for n in step.outputs}

    def _find_reads(self, recomputes: bool) -> None:
        made_by = self._repeatable() if recomputes else {}
        now, accumulated = 0, set[int]()  # since the last product
        for at, step in enumerate(self.task.schedule.tile):
            now += isinstance(step, Product)
            if isinstance(step, Accumulation):
                accumulated |= {n.id for n in self._multiplied(step)}
            elif isinstance(step, Product):
                if step.left.id in accumulated:
                    self.reloaded.add(at)
                accumulated.clear()
            if not isinstance(step, Loop) or step.kind != MATRIX:
                continue
            for load, node in enumerate(step.reads):
                if node.op == "input" or not self.is_matrix(node) or self.section[node.id] == now:
                    continue
                if self.task.recipes[id(step)].only_sign(load):
                    self.signs.add((at, node.id))
                elif recomputes and node.id in self.product_of:
                    self.again.setdefault(at, {}).setdefault(node.id, [])
                elif node.id in made_by:
                    loop = made_by[node.id]
                    loops = self.again.setdefault(at, {}).setdefault(self._product_in(loop), [])
                    if loop not in loops:
                        loops.append(loop)
                else:
                    self.kept[node.id] = node

    def _repeatable(self) -> dict[int, Loop]:
        """Return the loops that read no matrix but one product, by what they make: it can be multiplied again."""
        found: dict[int, Loop] = {}
        for step in self.task.schedule.tile:
            if isinstance(step, Loop) and step.kind == MATRIX and not step.reductions:
                matrices = [n for n in step.reads if n.dtype != SCALAR and self.is_matrix(n)]
                if len(matrices) == 1 and matrices[0].id in self.product_of:
                    found |= {n.id: step for n in step.outputs}
        return found

    @cached_property
    def product_of(self) -> dict[int, Product]:
        """The products by the number of their result."""
        return {s.node.id: s for s in self.task.schedule.tile if isinstance(s, Product)}

    def _product_in(self, loop: Loop) -> int:
        return next(n.id for n in loop.reads if n.id in self.product_of)

    # ---- memory for operands

    def _share_memory(self, tight: bool) -> None:
        steps = self.task.schedule.tile
        last: dict[int, int] = {}
        for at, step in enumerate(steps):
            for node in self._read_from_tiles(at, step):
                last[node.id] = at
        held: dict[int, int] = {}  # by tile, the value in it
        written: set[int] = set()  # tiles since the last barrier
        read: set[int] = set()
        for at, step in enumerate(steps):
            if isinstance(step, Accumulation):
                mine = {self.tile_of[n.id] for n in self._multiplied(step)}
                if mine & written:
                    self.barrier_before.add(("step", at))
                    written, read = set(), set()
                read |= mine
            for node in self._written(step):
                if node.id not in last:
                    continue
                free = [k for k in range(len(self.tiles)) if k not in held or last[held[k]] <= at]
                ready = [k for k in free if k not in read]
                if not ready and free and tight:
                    self.barrier_before.add(("value", node.id))
                    written, read, ready = set(), set(), free
                if not ready:
                    self.tiles.append(OperandTile(0))
                    ready = [len(self.tiles) - 1]
                place = min(ready, key=lambda k: abs(self.tiles[k].columns - self.columns(node)))
                self.tiles[place].columns = max(self.tiles[place].columns, self.columns(node))
                self.tile_of[node.id] = place
                held[place] = node.id
                written.add(place)

    def _read_from_tiles(self, at: int, step: Step) -> list[Node]:
        if isinstance(step, Accumulation):
            return self._multiplied(step)
        if isinstance(step, Loop):
            again = [self.product_of[k].left for k in self.again.get(at, ())]
            return [n for n in step.reads if (at, n.id) in self.signs] + [n for n in again if n.op != "input"]
        return [step.left] if isinstance(step, Product) and at in self.reloaded else []

    @staticmethod
    def _multiplied(step: Accumulation) -> list[Node]:
        """Return what a gradient reads from tiles; what columns are summed of is in registers then."""
        return [] if step.left is None else [n for n in step.operands if n.op != "input"]

    @staticmethod
    def _written(step: Step) -> list[Node]:
        if isinstance(step, Product):
            return [step.node]
        return list(step.outputs) if isinstance(step, Loop) and step.kind == MATRIX else []
