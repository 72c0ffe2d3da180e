"""The writer of a context's instruction streams, and how each kind of step on a tile is written."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import COLUMN, Loop, Product
from gdkernels_numba.bytecode.arena import Matrix
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.packed import PackedForms
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.ir.format import LINE
from gdkernels_numba.vm.block_instructions import Barrier, LoadParameter, StoreParameter
from gdkernels_numba.vm.fields import StridedAddress
from gdkernels_numba.vm.instructions import (
    INSTRUCTIONS,
    LOAD_PARAMETER,
    STORE_PARAMETER,
)
from gdkernels_numba.vm.tile_instructions import (
    DotRows,
    LoopOverColumn,
    LoopOverTile,
    MultiplyTile,
    PackTile,
)

__all__ = ["Factors", "InstructionWriter", "Patch"]


class Factors(NamedTuple):
    """The form in which the kernel of a gradient reads the two factors that it multiplies over the batch.

    Attributes
    ----------
    first
        Where the factor that is transposed begins, and the bytes from row to row of the batch.
    unit, block
        In it, the bytes to the next unit, and to the next panel of units.
    pitch, panel, term
        In it, what the kernel takes for ``a_row`` and ``a_panel``, and the bytes from one term of the sum to the next.
    second
        Where the other factor begins, and the bytes from row to row and from panel to panel.
    second_pitch
        In it, the bytes from one term of the sum to the next.
    """

    kernel: int
    first: StridedAddress
    unit: int
    block: int
    pitch: int
    panel: int
    term: int
    second: StridedAddress
    second_pitch: int


class Patch(NamedTuple):
    """A word of a stream that takes, for every run, the address of an array of the caller's, `offset` bytes further."""

    stream: InstructionStream
    word: int
    name: str
    offset: int


class InstructionWriter:
    """Writes the streams of one context: those of a piece, and of the tiles of any piece that its thread may do.

    Attributes
    ----------
    before, transposes, tile, updates, result, after
        What the interpreter runs: once; once after all have done that; for every tile; for every batch, in one phase
        or, if there is a total over the parameters, in two; after that, if this is the first piece; and at the end.
    sums, way_back, values
        What it runs before the updates, where gradients are computed of sums over the batch: these sums, and then the
        gradients; and what it runs after them, where something is computed of parameters before the next batch.
    patches
        Which words are set for every run.
    barriers
        How often the tile waits for the other pieces.
    """

    def __init__(self, layout: StepLayout, kernels: Kernels, number: int) -> None:
        self.layout, self.kernels, self.number = layout, kernels, number
        self.format = kernels.format
        self.before, self.transposes, self.tile = InstructionStream(), InstructionStream(), InstructionStream()
        self.updates = [InstructionStream() for _ in layout.task.schedule.updates]
        self.result, self.after = InstructionStream(), InstructionStream()
        self.sums, self.way_back, self.values = InstructionStream(), InstructionStream(), InstructionStream()
        self.patches: list[Patch] = []
        self.barriers = 0

    @property
    def streams(self) -> tuple[InstructionStream, ...]:
        return (self.before, self.transposes, self.tile, *self.phases, self.result, self.after)

    @property
    def phases(self) -> list[InstructionStream]:
        """What is run for every batch when its rows are done, one after the other."""
        values = self.layout.values
        if values is None or not self.updates:
            return self.updates
        first = [self.sums, self.way_back] if values.after else []
        return [*first, *self.updates, *([self.values] if values.before else [])]

    def kernel(self, name: str) -> int:
        return self.kernels.address[name]

    def write_barrier(self) -> None:
        """Let the other pieces of a tile come as far as this one."""
        self.tile.add(Barrier())
        self.barriers += 1

    def write_parameter(self, name: str, matrix: Matrix, first: int, stop: int, *, back: bool) -> None:
        """Let this piece bring rows of a parameter or slot in, and out again if it changes."""
        if first == stop:
            return
        self._write_rows(name, matrix, first, stop - first, matrix.columns, back=back)

    def write_rest(self, name: str, matrix: Matrix, columns: int) -> None:
        """Let this piece bring the last, narrower row of a flat parameter or slot in, and out again."""
        if columns:
            self._write_rows(name, matrix, matrix.rows - 1, 1, columns, back=True)

    def _write_rows(self, name: str, matrix: Matrix, first: int, rows: int, columns: int, *, back: bool) -> None:
        row = matrix.columns * self.format.size
        panels = StridedAddress(matrix.block(0, first), matrix.pitch, matrix.panel)
        load = LoadParameter(
            kernel=self.kernel("rows_in"), rows=rows, columns=columns, plain=0, plain_row=row, panels=panels
        )
        self.add_patched(self.before, load, LOAD_PARAMETER.at.plain, name, first * row)
        if back:
            store = StoreParameter(
                kernel=self.kernel("rows_out"), rows=rows, columns=columns, plain=0, plain_row=row, panels=panels
            )
            self.add_patched(self.after, store, STORE_PARAMETER.at.plain, name, first * row)

    def add_patched(
        self, stream: InstructionStream, instruction: tuple[Any, ...], field: int, name: str, offset: int
    ) -> None:
        """Append an instruction whose word at `field` takes the address of the caller's array `name`."""
        self.patches.append(Patch(stream, stream.add(instruction) + field, name, offset))

    def add_with_entries(self, stream: InstructionStream, instruction: tuple[Any, ...]) -> int:
        """Append an instruction that reads the entries of x, which the caller has; returns the word where it begins."""
        fields = INSTRUCTIONS[type(instruction)].at
        begin = stream.add(instruction)
        for field, name in (("starts", "x.starts"), ("numbers", "x.columns"), ("values", "x.values")):
            if hasattr(fields, field):
                self.patches.append(Patch(stream, begin + getattr(fields, field), name, 0))
        return begin

    def forms(self, node: Node) -> PackedForms:
        """Return where a tile's value is in bfloat16."""
        packed = self.layout.packed
        found = packed.of(node, self.number) if packed is not None else None
        return found or PackedForms()

    def factors(self, first: Node, second: Node) -> Factors:
        """Return how a kernel reads the factors of `first`ᵀ `second`."""
        if self.layout.packed is None:
            left, a = self.layout.buffer(first, self.number)
            right, d = self.layout.buffer(second, self.number)
            return Factors(
                kernel=self.kernel("product_transposed"),
                first=a,
                unit=self.format.size,
                block=left.panel,
                pitch=left.pitch,
                panel=0,
                term=left.pitch,
                second=d,
                second_pitch=right.pitch,
            )
        transposed, forms = self.forms(first).transposed, self.forms(second)
        return Factors(
            kernel=self.kernel("product"),
            first=transposed,
            unit=LINE,
            block=self.format.panel * LINE,
            pitch=LINE,
            panel=transposed.across,
            term=transposed.across // self.format.left_panel,
            second=forms.right,
            second_pitch=forms.right_pitch,
        )

    # ---- on a tile

    def write_product(self, step: Product, start: int = 0, stop: int | None = None) -> AbstractContextManager[None]:
        """Write a product's columns from `start` to `stop`; what you add inside runs on each of their panels."""
        layout, name = self.layout, step.weights.attribute
        left, a = layout.buffer(step.left, self.number)
        result, c = layout.buffer(step.node, self.number)
        depth, pitch = left.columns, left.pitch
        weights = layout.parameters[name]
        if layout.packed is not None:
            a, depth, pitch = self.forms(step.left).left, -(-depth // 2), LINE
            weights = (layout.packed.back if step.transposed else layout.packed.right)[name]
        elif step.transposed:
            weights = layout.transposes.get(name, weights)
        elif layout.forms.is_kept_as_row(step.weights):
            return self.tile.with_body(
                DotRows(
                    kernel=self.kernel("dots"),
                    depth=depth,
                    a=a,
                    a_pitch=pitch,
                    w=weights.address,
                    c=c,
                    c_pitch=result.pitch,
                )
            )
        return self.tile.with_body(
            MultiplyTile(
                kernel=self.kernel("product"),
                depth=depth,
                columns=(result.columns if stop is None else stop) - start,
                a=a,
                a_pitch=pitch,
                b=StridedAddress(layout.at_column(weights, start), weights.pitch, weights.panel),
                c=c._replace(base=layout.at_column(result, start)),
                c_pitch=result.pitch,
            )
        )

    def write_packed(self, node: Node, start: int = 0, stop: int | None = None) -> None:
        """Write the forms in bfloat16 of the columns from `start` to `stop` of a value, if a product reads it."""
        layout, forms = self.layout, self.forms(node)
        if layout.packed is None or forms == PackedForms():
            return
        matrix, source = layout.buffer(node, self.number)
        forms = forms.from_column(start, self.format)
        self.tile.add(
            PackTile(
                kernel=self.kernel("pack_bf16_distant_rows" if layout.packed.distant_rows else "pack_bf16_rows"),
                columns=(matrix.columns if stop is None else stop) - start,
                source=source._replace(base=layout.at_column(matrix, start)),
                pitch=matrix.pitch,
                left=forms.left,
                right=forms.right,
                right_pitch=forms.right_pitch,
                transposed=forms.transposed,
            )
        )

    def write_loop(self, step: Loop, start: int = 0, stop: int | None = None) -> None:
        """Write a loop over the columns from `start` to `stop` of what it runs over."""
        layout, kernel = self.layout, self.kernels.loops[id(step)]
        nodes = (*step.reads, *step.outputs, *step.reductions)
        if step.kind == COLUMN:
            self.tile.add(LoopOverColumn(kernel=kernel), operands=[layout.in_tile(n, self.number) for n in nodes])
            return
        columns = layout.columns_of(step)
        loop = LoopOverTile(
            kernel=kernel, columns=(columns if stop is None else stop) - start, pitch=layout.pitch(columns)
        )
        self.tile.add(loop, operands=[layout.in_tile(n, self.number, start) for n in nodes])
