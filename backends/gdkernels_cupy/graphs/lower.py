"""From a schedule and sizes to the list of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import (
    MATRIX,
    NUMBER,
    Accumulation,
    Copy,
    EntryProduct,
    LookUp,
    Loop,
    Outer,
    Product,
    RowProduct,
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
from gdkernels_cupy.graphs.loop_passes import LoopPasses, sums_of_columns
from gdkernels_cupy.graphs.operations import DeviceBuffer, OperationList
from gdkernels_cupy.graphs.shard_sums import DealtShards, ShardSums
from gdkernels_cupy.graphs.step_numbers import StepNumbers
from gdkernels_cupy.graphs.tile_storage import TileStorage
from gdkernels_cupy.graphs.value_operations import ValueOperations
from gdkernels_cupy.graphs.value_store import MicroBatch, ValueStore, auxiliary

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
        self.numbers = StepNumbers.of(task, self.fused)
        self.storage = TileStorage.of(task, self.fused, sizes, has_operands=self.operand_storage is not None)
        multiplied, in_full, bordered = self.storage.multiplied, self.storage.in_full, self.fused.bordered
        self.values = ValueStore(sizes, task.batch, self.real, self.operand_storage, multiplied, in_full, bordered)
        self.passes = LoopPasses(task, self.numbers, self.storage, self.values, self.real)
        self.operations: list[ops.Operation] = []
        self.parameters = {
            name: self.values.parameter(name, node) for name, node in task.parameters.items() if node.shape
        }
        # Sums of products are added to what is there as they are made: such an update is the product alone.
        self.added = {
            n.id: name
            for name in task.schedule.symmetric
            for n in task.schedule.updates[-1][name].reads
            if n.op != "input"
        }
        self.copies: dict[str, DeviceBuffer] = {}
        self.borders: dict[str, ops.BiasRows] = {}
        self.of_parameters = ValueOperations(
            task.values, self.numbers, self.values, self.parameters, self.copies, self.real
        )

    # ---- the whole

    def op_list(self) -> OperationList:
        steps = self.schedule.tile
        if self.operand_storage:
            weights = [s.weights.attribute for s in steps if isinstance(s, Product)]
            self.copies |= {n: self.values.operand_copy(self.parameters[n]) for n in weights}
            self._add_borders()
        self.operations += [ops.BeginStep(), *self.of_parameters.before()]
        self.operations += [replace(border, bias=self.parameters[border.bias.name]) for border in self.borders.values()]
        sums = None if self.dealt is None else self._shards(self.dealt)
        first = 0
        for piece, rows in enumerate(self.pieces if sums is None else ()):
            at = MicroBatch(rows, first, piece, adds=piece > 0)
            self._tile(at)
            first += rows
        if self.task.output is None:
            self.operations += self.of_parameters.after()
            self._update()
            record = [self.numbers.places[n.id] for n in (self.task.error, self.task.norm) if n is not None]
            self.operations.append(ops.RecordNumbers(tuple(record)))
        output = None if self.task.output is None else at.full[self.task.output.id]
        parameters, copies = map(self._of_the_caller, (self.parameters, self.copies))
        whole = [self.borders[n].weights if n in self.borders else copy for n, copy in copies.items()]
        lasting = [*parameters.values(), *whole, *([] if output is None else [output])]
        lasting += [] if sums is None else sums.buffers
        return OperationList(
            tuple(self.operations),
            tuple(lasting),
            parameters,
            copies,
            self.numbers.scalars,
            self.numbers.count,
            output,
        )

    def _of_the_caller(self, buffers: Mapping[str, DeviceBuffer]) -> dict[str, DeviceBuffer]:
        """Return those buffers that do not stand for what a step computes of the others."""
        return {name: buffer for name, buffer in buffers.items() if name not in self.task.computed}

    def _shards(self, dealt: DealtShards) -> ShardSums:
        """Sum over the shards of this rank, and over those of all ranks."""
        nodes = {
            n.id: n for n in (*(a.node for a in self.schedule.accumulations), *(s.node for s in self.schedule.row_sums))
        }
        found = [r for loop in self.storage.loops for r in loop.reductions if kind_of(r, self.batch) == NUMBER]
        totals = [self.numbers.places[r.id] for r in found]
        sums = ShardSums(dealt, self.values, list(nodes.values()), totals, self.operations)
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
            elif isinstance(step, Outer):
                self._outer(step, at)
            elif isinstance(step, (EntryProduct, RowProduct)):
                raise AssertionError("this engine is given whole rows, and no products of records")
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

    def _outer(self, step: Outer, at: MicroBatch) -> None:
        left, right = at.full[step.left.id], at.full[step.right.id]
        for target in self.values.store(step.node, at):
            self.operations.append(ops.RowOuter(left, right, target, step.to))

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
            self.numbers.places[n.id]
            if n.id in self.numbers.places
            else self.parameters[n.attribute]
            if n.op == "input" and n.attribute in self.parameters
            else at.full.get(n.id) or at.operand[n.id]
            for n in step.reads
        )

    def _loop(self, step: Loop, reads: tuple[DeviceBuffer | int, ...], at: MicroBatch) -> None:
        shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
        rows, columns = (at.rows, self.values.size(shape.shape[1])) if step.kind == MATRIX else (1, at.rows)
        writes = tuple(self.values.store(n, at) for n in step.outputs)
        self.operations += self.passes.of(step, rows, columns, reads, writes, at)

    # ---- sums over the batch

    def _accumulate(self, step: Accumulation, at: MicroBatch) -> None:
        name = self.added.get(step.node.id)
        target = self.values.gradient(step.node) if name is None else self.parameters[name]
        if step.left is None:
            self._sum_columns(step, target, at)
            return
        self.operations.append(
            ops.MatrixProduct(
                self.values.operand(step.left, at),
                self.values.operand(step.right, at),
                target,
                transpose_left=True,
                beta=1.0 if at.adds or name is not None else 0.0,
                epilogue=self._sums(step),
            )
        )

    def _sum_columns(self, step: Accumulation, target: DeviceBuffer, at: MicroBatch) -> None:
        """Add up the columns of what the blocks of a loop left of them, or of the values themselves."""
        values = at.column_parts.get(step.right.id) or at.full[step.right.id]
        name = f"parts of {target.name} of {at.piece}"
        self.operations += sums_of_columns(values, target, name, accumulate=at.adds)

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
        of_gradient, of_weights = (self.numbers.places[n.id] for n in update.factors)
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
        nowhere, places = MicroBatch(0, 0, 0), self.numbers.places
        for numbers, loops in zip(self.schedule.numbers, self.schedule.updates, strict=True):
            if numbers is not None:
                read, written = (tuple(places[n.id] for n in nodes) for nodes in (numbers.reads, numbers.outputs))
                self.operations += self.passes.of(numbers, 1, 1, read, written, nowhere)
            for name, loop in loops.items():
                if id(loop) not in self.fused.skipped and name not in self.schedule.symmetric:
                    self._update_loop(name, loop, nowhere)

    def _update_loop(self, name: str, loop: Loop, at: MicroBatch) -> None:
        reads = tuple(self._update_read(n) for n in loop.reads)
        replaced = self.schedule.written[name] if loop.outputs else ()
        copy = self.copies.get(name)
        writes = tuple((self.parameters[m], *([copy] if copy is not None and m == name else [])) for m in replaced)
        parameter = self.parameters[name]
        self.operations += self.passes.of(loop, parameter.rows, parameter.columns, reads, writes, at)

    def _update_read(self, node: Node) -> DeviceBuffer | int:
        if node.id in self.numbers.places:
            return self.numbers.places[node.id]
        return self.parameters[node.attribute] if node.op == "input" else self.values.gradient(node)
