"""From a schedule and sizes to the list of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.elementwise import Recipe
from gdkernels.lowering.steps import (
    COLUMN,
    MATRIX,
    NUMBER,
    Accumulation,
    Copy,
    EntryProduct,
    LookUp,
    Loop,
    Outer,
    Product,
    RowSums,
    kind_of,
    value_of,
)
from gdkernels.lowering.steps import Gather as GatherStep
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.epilogue_fusion import (
    FUSED_ACTIVATIONS,
    OVERWRITING,
    FusedEpilogues,
    FusedProduct,
    fuse_epilogues,
)
from gdkernels_cupy.graphs.launch_shapes import ROW_COLUMNS, chunks_of, launch_shape_of
from gdkernels_cupy.graphs.operations import DeviceBuffer, LoopKernel, OperationList, matrix, vector
from gdkernels_cupy.graphs.shard_sums import DealtShards, ShardSums
from gdkernels_cupy.graphs.value_store import MicroBatch, ValueStore, auxiliary, size_of

__all__ = ["lower"]


def lower(
    task: ScheduledTask,
    sizes: Mapping[str, int],
    precision: str,
    pieces: Sequence[int],
    epilogues: Iterable[str],
    dealt: DealtShards | None = None,
) -> OperationList:
    """Return the list for these sizes.

    Parameters
    ----------
    sizes
        The value of each dimension by its name; "B" is that of the whole batch.
    pieces
        The rows of each micro-batch: together the batch. What is summed over the batch is summed over them all before
        the update, so that the result is that of the whole batch.
    epilogues
        What may be done inside products: of `gdkernels_cupy.graphs.epilogue_fusion.EPILOGUES`.
    dealt
        The rank for which the list is, where the pieces are the shards of all ranks: it has those of this rank, and
        sums of one fixed tree.
    """
    return _Lowering(task, sizes, precision, pieces, frozenset(epilogues), dealt).op_list()


# Numbers of a batch's records that one block sums in the time of a launch, beside the updates.
_SUMMED_AT_ONCE = 1 << 12


class _Lowering:
    def __init__(
        self,
        task: ScheduledTask,
        sizes: Mapping[str, int],
        precision: str,
        pieces: Sequence[int],
        epilogues: frozenset[str],
        dealt: DealtShards | None,
    ) -> None:
        self.task, self.sizes, self.pieces, self.dealt = task, sizes, pieces, dealt
        self.schedule, self.batch = task.schedule, task.batch
        self.real = "float64" if precision == "float64" else "float32"
        self.operand_storage = "bfloat16" if precision == "bfloat16" else None
        if len(pieces) > 1:  # weights must not move between micro-batches
            epilogues -= OVERWRITING
        self.fused: FusedEpilogues = fuse_epilogues(task, epilogues, rounds=self.operand_storage is not None)
        accumulations = task.schedule.accumulations
        summed = {a.right.id for a in accumulations if a.left is None and a.node.id not in self.fused.summed}
        self.summed_in_loops = {
            n.id for loop in self.loops for n in loop.outputs if self._sums_columns(loop, n)
        } & summed
        self.summed_later = summed - self.summed_in_loops
        self.operations: list[ops.Operation] = []
        self.numbers: dict[int, int] = {}
        multiplied = self._multiplied()
        in_full = self._in_full(multiplied)
        bordered = self.fused.bordered
        self.values = ValueStore(sizes, task.batch, self.real, self.operand_storage, multiplied, in_full, bordered)
        self.parameters = {name: self.values.parameter(name, node) for name, node in task.parameters.items()}
        self.copies: dict[str, DeviceBuffer] = {}
        self.borders: dict[str, ops.BiasRows] = {}

    # ---- the whole

    def op_list(self) -> OperationList:
        self._number_scalars()
        steps = self.schedule.tile
        if self.operand_storage:
            weights = [s.weights.attribute for s in steps if isinstance(s, Product)]
            self.copies = {n: self.values.operand_copy(self.parameters[n]) for n in dict.fromkeys(weights)}
            self._add_borders()
        self.operations += [ops.BeginStep(), *self.borders.values()]
        sums = None if self.dealt is None else self._shards(self.dealt)
        first = 0
        for piece, rows in enumerate(self.pieces if sums is None else ()):
            at = MicroBatch(rows, first, piece, adds=piece > 0)
            self._tile(at)
            first += rows
        if self.task.output is None:
            self._update()
            record = [self.numbers[n.id] for n in (self.task.error, self.task.norm) if n is not None]
            self.operations.append(ops.RecordNumbers(tuple(record)))
        output = None if self.task.output is None else at.full[self.task.output.id]
        copies = [self.borders[n].weights if n in self.borders else copy for n, copy in self.copies.items()]
        lasting = [*self.parameters.values(), *copies, *([] if output is None else [output])]
        lasting += [] if sums is None else sums.buffers
        return OperationList(
            tuple(self.operations), tuple(lasting), self.parameters, self.copies, self.scalars, self._count, output
        )

    def _shards(self, dealt: DealtShards) -> ShardSums:
        """Sum over the shards of this rank, and over those of all ranks."""
        nodes = {
            n.id: n for n in (*(a.node for a in self.schedule.accumulations), *(s.node for s in self.schedule.row_sums))
        }
        found = [r for loop in self.loops for r in loop.reductions if kind_of(r, self.batch) == NUMBER]
        sums = ShardSums(dealt, self.values, list(nodes.values()), [self.numbers[r.id] for r in found], self.operations)
        for shard in dealt.mine:
            rows = self.pieces[shard]
            with sums.shard(shard, empty=not rows):
                if rows:
                    self._tile(MicroBatch(rows, sum(self.pieces[:shard]), shard))
        sums.exchange()
        return sums

    def _add_borders(self) -> None:
        """Give the copies of weights room for the bias below them, and for what makes ones."""
        for step in self.schedule.tile:
            fused = self.fused.products.get(step.node.id) if isinstance(step, Product) else None
            if fused is None or not fused.bias_rows:
                continue
            assert isinstance(step, Product)
            name, ones = step.weights.attribute, fused.result.id in self.fused.bordered
            copy, bias = self.copies[name], self.parameters[str(fused.bias)]
            pitch = ops.padded(copy.columns) if ones else copy.pitch
            self.copies[name] = replace(copy, pitch=pitch)
            columns = pitch if ones else copy.columns
            whole = replace(copy, rows=ops.padded(copy.rows), columns=columns, pitch=pitch)
            self.borders[name] = ops.BiasRows(bias, whole, copy.rows, copy.columns, ones)

    def _number_scalars(self) -> None:
        """Give every number its place: zero, one, what the host knows, what the device finds out."""
        host = [n for loop in self.task.schedule.loops for n in loop.reads if n.dtype == SCALAR]
        host += [n for update in self.fused.updates.values() for n in update.factors]
        for node in host:
            self.numbers.setdefault(node.id, OperationList.FIRST + len(self.numbers))
        self.scalars = tuple({n.id: n for n in host}.values())
        found = [r for loop in self.task.schedule.loops for r in loop.reductions if kind_of(r, self.batch) == NUMBER]
        found += [n for loop in self.schedule.numbers if loop is not None for n in loop.outputs]
        for node in found:
            self.numbers.setdefault(node.id, OperationList.FIRST + len(self.numbers))
        self._count = OperationList.FIRST + len(self.numbers)

    def _multiplied(self) -> set[int]:
        """Return what products read of the tile, by the number of the node."""
        found: set[int] = set()
        for step in self.schedule.tile:
            if isinstance(step, Product):
                found.add(step.left.id)
            elif isinstance(step, Accumulation) and step.left is not None:
                found |= {step.left.id, step.right.id}
        return found

    def _in_full(self, multiplied: set[int]) -> set[int]:
        """Return what is kept in the precision of loops; the rest is there only as the operand of products.

        Whether a value is positive shows in bfloat16 as well: so relu's slope needs no more.
        """
        stored = {n.id for n in self.schedule.stored.values()}
        moved = {n.id for step in self.schedule.moves for n in step.sources}
        moved |= {s.right.id for s in self.schedule.row_sums}
        if not self.operand_storage:
            return stored
        found = (stored - multiplied) | self.summed_later | moved
        for loop in self.loops:
            recipe = self.task.recipes[id(loop)]
            found |= {n.id for k, n in enumerate(loop.reads) if n.id in stored and not recipe.only_sign(k)}
        return found

    @property
    def loops(self) -> list[Loop]:
        return [s for s in self.schedule.tile if isinstance(s, Loop) and id(s) not in self.fused.skipped]

    def _sums_columns(self, loop: Loop, output: Node) -> bool:
        """Return whether the loop can sum the columns of an output on the way: if its threads keep to their columns."""
        if loop.kind != MATRIX:
            return False
        row_wise = self.task.recipes[id(loop)].row_wise
        return not row_wise or size_of(output.shape[1], self.sizes) <= ROW_COLUMNS

    # ---- the tile

    def _tile(self, at: MicroBatch) -> None:
        steps = self.schedule.tile
        readers = {s.weights.attribute: k for k, s in enumerate(steps) if isinstance(s, Product)}
        late: dict[int, list[ops.Operation]] = {}
        for k, step in enumerate(steps):
            if isinstance(step, GatherStep):
                self._gather(step.node, at)
            elif isinstance(step, Product):
                self._product(step, at)
            elif isinstance(step, Loop):
                if id(step) not in self.fused.skipped:
                    self._loop(step, self._tile_reads(step, at), at)
            elif isinstance(step, Copy):
                self._copy(step, at)
            elif isinstance(step, LookUp):
                self._look_up(step, at)
            elif isinstance(step, (EntryProduct, Outer)):
                raise AssertionError("this engine is given whole rows, and no products of them")
            elif step.node.id in self.fused.updates:
                # Weights may move only after the last product that needs them as they were.
                name = self.fused.updates[step.node.id].name
                late.setdefault(max(k, readers.get(name, k)), []).extend(self._updating_product(step, at))
            elif step.node.id not in self.fused.summed:
                self._accumulate(step, at)
            self.operations += late.pop(k, [])
        for sums in self.schedule.row_sums:
            if isinstance(sums, RowSums):
                self._sum_rows(sums, at)

    def _gather(self, node: Node, at: MicroBatch) -> None:
        columns = self.values.size(node.shape[1]) if kind_of(node, self.batch) == MATRIX else 1
        for target in self.values.store(node, at):
            border = node.id in self.fused.bordered and target is at.operand.get(node.id)
            self.operations.append(ops.GatherRows(str(node.attribute), at.first, at.rows, columns, target, border))

    def _copy(self, step: Copy, at: MicroBatch) -> None:
        for target in self.values.store(step.node, at):
            for part in step.parts:
                source = None if part.source is None else at.full[part.source.id]
                self.operations.append(ops.ColumnCopy(source, part.first, target, part.to, at.rows, part.count))

    def _look_up(self, step: LookUp, at: MicroBatch) -> None:
        codes, table = at.full[step.source.id], self.parameters[step.table.attribute]
        for target in self.values.store(step.node, at):
            self.operations.append(ops.TableLookUp(codes, step.column, table, target, step.to))

    def _sum_rows(self, sums: RowSums, at: MicroBatch) -> None:
        step = next(s for s in self.schedule.tile if isinstance(s, LookUp) and s.codes is sums.codes)
        target = self.values.gradient(sums.node)
        if not at.adds:
            self.operations.append(ops.ColumnCopy(None, 0, target, 0, target.rows, target.columns))
        codes, values = at.full[step.source.id], at.full[sums.right.id]
        self.operations.append(ops.SumByCode(codes, step.column, values, target, sums.first))

    def _product(self, step: Product, at: MicroBatch) -> None:
        name = step.weights.attribute
        weights = self.copies.get(name, self.parameters[name])
        fused = self.fused.products.get(step.node.id)
        result = step.node if fused is None else fused.result
        targets = self.values.store(result, at)
        left, out = self.values.operand(step.left, at), targets[0]
        if fused is not None and fused.bias_rows:
            weights = self.borders[name].weights
            left, out = ops.with_border(left), replace(out, columns=weights.columns)
        epilogue = ops.ProductEpilogue() if fused is None else self._epilogue(fused, out, at)
        self.operations.append(ops.MatrixProduct(left, weights, out, False, step.transposed, epilogue=epilogue))
        self.operations += [ops.Cast(targets[0], other) for other in targets[1:]]

    def _epilogue(self, fused: FusedProduct, target: DeviceBuffer, at: MicroBatch) -> ops.ProductEpilogue:
        bias = None if fused.bias is None or fused.bias_rows else self.parameters[fused.bias]
        if fused.sums is not None:
            bias = self.values.gradient(fused.sums)
        if fused.auxiliary is None:
            return ops.ProductEpilogue(fused.kind, bias)
        if fused.kind in FUSED_ACTIVATIONS:
            name = f"auxiliary {fused.auxiliary} of {at.piece}"
            at.auxiliaries[fused.auxiliary] = auxiliary(fused.kind, name, target)
        return ops.ProductEpilogue(fused.kind, bias, at.auxiliaries[fused.auxiliary])

    def _tile_reads(self, step: Loop, at: MicroBatch) -> tuple[DeviceBuffer | int, ...]:
        return tuple(
            self.numbers[n.id]
            if n.id in self.numbers
            else self.parameters[n.attribute]
            if n.op == "input" and n.attribute in self.parameters
            else at.full.get(n.id) or at.operand[n.id]
            for n in step.reads
        )

    def _loop(self, step: Loop, reads: tuple[DeviceBuffer | int, ...], at: MicroBatch) -> None:
        shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
        rows, columns = (at.rows, self.values.size(shape.shape[1])) if step.kind == MATRIX else (1, at.rows)
        writes = tuple(self.values.store(n, at) for n in step.outputs)
        self._add_loop(step, rows, columns, reads, writes, at)

    def _add_loop(
        self,
        step: Loop,
        rows: int,
        columns: int,
        reads: tuple[DeviceBuffer | int, ...],
        writes: tuple[tuple[DeviceBuffer, ...] | int, ...],
        at: MicroBatch,
    ) -> None:
        recipe = self.task.recipes[id(step)]
        factor = _factor_of_sum(recipe) if step.kind == COLUMN and columns <= _SUMMED_AT_ONCE else None
        if factor is not None and isinstance(column := reads[0], DeviceBuffer):
            number = self.numbers[step.reductions[0].id]
            self.operations.append(ops.Total(column, number, at.adds, factor))
            return
        real = "float64" if step.kind == NUMBER else self.real
        shape = launch_shape_of(rows, columns, row_wise=recipe.row_wise)
        summed = [k for k, n in enumerate(step.outputs) if n.id in self.summed_in_loops]
        for k in summed:
            node = step.outputs[k]
            name = f"parts of {node.op} {node.id} of {at.piece}"
            at.column_parts[node.id] = matrix(name, shape.grid[0], columns, real)
        kernel = LoopKernel(
            recipe,
            real,
            tuple(r.storage if isinstance(r, DeviceBuffer) else "number" for r in reads),
            tuple(tuple(b.storage for b in w) if isinstance(w, tuple) else ("number",) for w in writes),
            tuple(summed),
        )
        parts, totals = [], []
        for node in step.reductions:
            if kind_of(node, self.batch) == COLUMN:
                at.full[node.id] = self.values.new(node, at, self.real)
                parts.append(at.full[node.id])
            else:
                parts.append(vector(f"parts of {node.op} {node.id} of {at.piece}", shape.blocks, "float64"))
                totals.append(ops.Total(parts[-1], self.numbers[node.id], accumulate=at.adds))
        column_parts = tuple(at.column_parts[step.outputs[k].id] for k in summed)
        self.operations.append(ops.LoopPass(kernel, rows, columns, reads, writes, tuple(parts), column_parts))
        self.operations += totals

    # ---- sums over the batch

    def _accumulate(self, step: Accumulation, at: MicroBatch) -> None:
        target = self.values.gradient(step.node)
        if step.left is None:
            self._sum_columns(step, target, at)
            return
        self.operations.append(
            ops.MatrixProduct(
                self.values.operand(step.left, at),
                self.values.operand(step.right, at),
                target,
                transpose_left=True,
                beta=1.0 if at.adds else 0.0,
                epilogue=self._sums(step),
            )
        )

    def _sum_columns(self, step: Accumulation, target: DeviceBuffer, at: MicroBatch) -> None:
        """Add up the columns of what the blocks of a loop left of them, or of the values themselves."""
        values = at.column_parts.get(step.right.id) or at.full[step.right.id]
        chunk, chunks = chunks_of(values.rows)
        if chunks > 1:
            parts = matrix(f"parts of {target.name} of {at.piece}", chunks, target.columns, self.real)
            self.operations.append(ops.ColumnSums(values, chunk, parts))
            values, chunk = parts, chunks
        self.operations.append(ops.ColumnSums(values, chunk, target, accumulate=at.adds))

    def _sums(self, step: Accumulation) -> ops.ProductEpilogue:
        """Return the epilogue that sums the columns of the right operand on the way, if they are wanted."""
        wanted = self.fused.sums_with.get(step.node.id)
        return (
            ops.ProductEpilogue() if wanted is None else ops.ProductEpilogue("sums", bias=self.values.gradient(wanted))
        )

    def _updating_product(self, step: Accumulation, at: MicroBatch) -> list[ops.Operation]:
        """Return the product that is the update: weights = α · leftᵀ · right + β · weights."""
        assert step.left is not None
        update = self.fused.updates[step.node.id]
        of_gradient, of_weights = (self.numbers[n.id] for n in update.factors)
        weights = self.parameters[update.name]
        product = ops.MatrixProduct(
            self.values.operand(step.left, at),
            self.values.operand(step.right, at),
            weights,
            transpose_left=True,
            alpha=of_gradient,
            beta=of_weights,
            epilogue=self._sums(step),
        )
        copy = self.copies.get(update.name)
        return [product, *([] if copy is None else [ops.Cast(weights, copy)])]

    # ---- the update

    def _update(self) -> None:
        nowhere = MicroBatch(0, 0, 0)
        for numbers, loops in zip(self.schedule.numbers, self.schedule.updates, strict=True):
            if numbers is not None:
                places = tuple(self.numbers[n.id] for n in numbers.reads)
                self._add_loop(numbers, 1, 1, places, tuple(self.numbers[n.id] for n in numbers.outputs), nowhere)
            for name, loop in loops.items():
                if id(loop) not in self.fused.skipped:
                    self._update_loop(name, loop, nowhere)

    def _update_loop(self, name: str, loop: Loop, at: MicroBatch) -> None:
        reads = tuple(self._update_read(n) for n in loop.reads)
        replaced = self.schedule.written[name] if loop.outputs else ()
        copy = self.copies.get(name)
        writes = tuple((self.parameters[m], *([copy] if copy is not None and m == name else [])) for m in replaced)
        parameter = self.parameters[name]
        self._add_loop(loop, parameter.rows, parameter.columns, reads, writes, at)

    def _update_read(self, node: Node) -> DeviceBuffer | int:
        if node.id in self.numbers:
            return self.numbers[node.id]
        return self.parameters[node.attribute] if node.op == "input" else self.values.gradient(node)


def _factor_of_sum(recipe: Recipe) -> float | None:
    """Return c where a loop does nothing but sum c · what it reads over the batch; None for any other."""
    if recipe.outputs or len(recipe.reductions) != 1:
        return None
    op, at, to_row = recipe.reductions[0]
    if op != "sum" or to_row or at != len(recipe.code) - 1 or [i.op for i in recipe.code].count("load") != 1:
        return None
    match recipe.code[1:]:
        case ():
            return 1.0
        case (constant, product) if (constant.op, product.op) == ("constant", "multiply"):
            return float(constant.value) if set(product.arguments) == {0, 1} else None
        case _:
            return None
