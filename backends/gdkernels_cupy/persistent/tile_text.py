"""The text for a tile of rows: the steps of the schedule, in their order."""

from collections.abc import Sequence

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import COLUMN, MATRIX, UNITS, Accumulation, Gather, Loop, Product, Step, value_of
from gdkernels_cupy.persistent.grid import SHARED_MODEL, CtaSharing
from gdkernels_cupy.persistent.memory import KernelMemory, SummedOverBatch, bias_word, weights_word
from gdkernels_cupy.persistent.shape import FEW_STEPS, padded
from gdkernels_cupy.persistent.text import body_of

__all__ = ["TileText"]

_REDUCE = {"sum": ("added", "0.f"), "max": ("larger", "-INFINITY"), "min": ("smaller", "INFINITY")}


class TileText:
    """Writes a tile; `record` and `x_tile` are there already."""

    def __init__(self, memory: KernelMemory, sharing: CtaSharing = SHARED_MODEL) -> None:
        self.memory, self.sharing = memory, sharing

    def lines(self) -> list[str]:
        """Return what is done with a tile."""
        lines: list[str] = []
        steps = self.memory.schedule.tile
        lefts = {s.left.id for s in steps if isinstance(s, Product)}
        loaded: set[int] = set()
        for step in steps:
            if isinstance(step, Gather) and self.memory.kind(step.node) == COLUMN:
                weight = f"record[{{h}}] >= 0 ? {step.node.attribute}[record[{{h}}]] : 0.f"
                lines.append(f"const float v{step.node.id}[2] = {{{weight.format(h=0)}, {weight.format(h=1)}}};")
        lines += self._load_inputs(steps, 0, loaded)
        for at, step in enumerate(steps):
            if ("step", at) in self.memory.layout.barrier_before:
                lines.append("cta_sync();")
            if isinstance(step, Product):
                loaded.clear()
                lines += self._load_inputs(steps, at + 1, loaded)
                lines += self._product(at, step)
                lines += self._operand(step.node, lefts)
            elif isinstance(step, Loop):
                lines += self._loop(at, step)
                if step.kind == MATRIX:
                    for node in step.outputs:
                        lines += self._operand(node, lefts)
            elif isinstance(step, Accumulation) and step.left is not None:
                lines += self._accumulate(step)
        return lines

    def _load_inputs(self, steps: Sequence[Step], start: int, loaded: set[int]) -> list[str]:
        """Load what loops read of the inputs up to the next product; before it is needed, so that none waits."""
        lines = []
        for step in steps[start:]:
            if isinstance(step, Product):
                break
            reads = step.reads if isinstance(step, Loop) else ()
            for node in reads:
                gathered = node.op == "input" and node.dtype != SCALAR and self.memory.kind(node) == MATRIX
                if gathered and node.id not in loaded:
                    loaded.add(node.id)
                    columns, width = self.memory.layout.columns(node), self.memory.layout.width(node)
                    name = f"v{node.id}_{start}"
                    lines.append(f"float {name}[{columns // 8}][4];")
                    lines.append(f"load_records<{columns}, {width}>({name}, {node.attribute}, record);")
        self._section_start = start
        return lines

    def _product(self, at: int, step: Product) -> list[str]:
        k, n = self.memory.layout.columns(step.left), self.memory.layout.columns(step.node)
        left, lines = f"left{step.left.id}", []
        transposed = "true" if step.transposed else "false"
        if self.memory.reloads:
            return [f"float v{step.node.id}[{n // 8}][4];", self._product_of_rows(f"v{step.node.id}", step)]
        if step.left.op == "input" or at in self.memory.layout.reloaded:
            left = f"left{step.left.id}_{at}"
            lines += [
                f"uint32_t {left}[{k} / DEPTH][4];",
                f"load_left<{k}>({left}, {self._tile_name(step.left)});",
            ]
        return [
            *lines,
            f"float v{step.node.id}[{n // 8}][4];",
            f"product<{k}, {n}, {transposed}>(v{step.node.id}, {left}, {weights_word(step.weights.attribute)});",
        ]

    def _product_of_rows(self, name: str, step: Product) -> str:
        k, n = self.memory.layout.columns(step.left), self.memory.layout.columns(step.node)
        shape = f"{k}, {n}, {'true' if step.transposed else 'false'}"
        what = f"product_of_parts<{shape}>"
        if not self.memory.form.in_parts:
            what = f"product_of_rows<{shape}, {FEW_STEPS}>"
        return f"{what}({name}, {self._tile_name(step.left)}, {weights_word(step.weights.attribute)});"

    def _operand(self, node: Node, lefts: set[int]) -> list[str]:
        """Return what makes a value an operand, and what keeps it for the way back."""
        lines = []
        columns = self.memory.layout.columns(node)
        if node.id in self.memory.layout.kept:
            lines.append(f"keep<{columns}>(kept{node.id}, v{node.id});")
        stored, summed = node.id in self.memory.layout.tile_of, self._summed(node)
        if stored or summed or node.id in lefts:
            lines.append(f"clear_outside<{columns}, {self.memory.layout.width(node)}>(v{node.id}, record);")
            lines += [f"add_columns<{columns}>({one.name}, v{node.id});" for one in summed]
        if stored or node.id in lefts:
            lines += [
                f"uint32_t left{node.id}[{columns} / DEPTH][4];",
                f"round_left<{columns}>(left{node.id}, v{node.id});",
            ]
        if stored:
            if ("value", node.id) in self.memory.layout.barrier_before:
                lines.append("cta_sync();")
            lines.append(f"store_rows<{columns}>(tile{self.memory.layout.tile_of[node.id]}, left{node.id});")
        return lines

    def _summed(self, node: Node) -> list[SummedOverBatch]:
        return [one for one in self.memory.sums.values() if one.values.right is node]

    def _tile_name(self, node: Node) -> str:
        return "x_tile" if node.op == "input" else f"tile{self.memory.layout.tile_of[node.id]}"

    def _accumulate(self, step: Accumulation) -> list[str]:
        assert step.left is not None
        k = step.node.id
        tiles = f"{self._tile_name(step.left)}, {self._tile_name(step.right)}"
        add = f"add_parts(d{k}, {tiles});" if self.memory.form.in_parts else f"d{k}.add({tiles});"
        if k not in self.memory.spilled_gradients:
            return [add]
        place = self.memory.place_of(k)
        return [
            "{",
            f"    {self.memory.gradient_of[k].split.text} d{k};",
            f"    if (tile == {self.sharing.cta}) d{k}.clear(); else d{k}.read({place});",
            f"    {add}",
            f"    d{k}.write({place});",
            "}",
        ]

    def _again(
        self, at: int, product: Product, loops: Sequence[Loop], given: dict[int, str]
    ) -> tuple[list[str], list[str]]:
        """Return what does a product of the way forward again, and the loops over it, element by element.

        Nothing is stored: `given` is told the names.
        """
        k, n = self.memory.layout.columns(product.left), self.memory.layout.columns(product.node)
        name, transposed = f"v{product.node.id}_{at}", "true" if product.transposed else "false"
        given[product.node.id] = f"{name}[n][e]"
        multiplied = [
            "{",
            f"    uint32_t left[{k} / DEPTH][4];",
            f"    load_left<{k}>(left, {self._tile_name(product.left)});",
            f"    product<{k}, {n}, {transposed}>({name}, left, {weights_word(product.weights.attribute)});",
            "}",
        ]
        if self.memory.reloads:
            multiplied = [self._product_of_rows(name, product)]
        lines = [f"float {name}[{n // 8}][4];", *multiplied]
        elements: list[str] = []
        for loop in loops:
            for node in loop.reads:
                if node.id not in given:
                    assert not self._read(at, loop, node, given), "all else that it reads is there"
            recipe = self.memory.task.recipes[id(loop)]
            body, names = body_of(recipe, [given[node.id] for node in loop.reads], f"again{loop.outputs[0].id}_")
            elements += body
            given |= {node.id: names[result] for node, result in zip(loop.outputs, recipe.outputs, strict=True)}
        return lines, elements

    def _loop(self, at: int, loop: Loop) -> list[str]:
        lines: list[str] = []
        elements: list[str] = []
        given: dict[int, str] = {}
        for product, loops in self.memory.layout.again.get(at, {}).items():
            before, each = self._again(at, self.memory.layout.product_of[product], loops, given)
            lines, elements = lines + before, elements + each
        for node in loop.reads:
            if node.id not in given:
                lines += self._read(at, loop, node, given)
        recipe = self.memory.task.recipes[id(loop)]
        body, names = body_of(recipe, [given[n.id] for n in loop.reads])
        body = elements + body
        matrix = loop.kind == MATRIX
        results = (*loop.outputs, *(value_of(r.args[0]) for r in loop.reductions))
        dimension = results[0].shape[1] if matrix else None
        for node, at_result in zip(loop.outputs, recipe.outputs, strict=True):
            name = names[at_result]
            extent = f"[{self.memory.layout.columns(node) // 8}][4]" if matrix else "[2]"
            lines.append(f"float v{node.id}{extent};")
            body.append(f"v{node.id}{'[n][e]' if matrix else '[h]'} = {name};")
        after: list[str] = []
        for r, (op, at_result, to_row) in zip(loop.reductions, recipe.reductions, strict=True):
            inside, name = self._inside(dimension), names[at_result]
            if to_row:
                of, start = _REDUCE[op]
                lines.append(f"float v{r.id}[2] = {{{start}, {start}}};")
                value = f"v{r.id}[e >> 1] = {of}(v{r.id}[e >> 1], {name});"
                body.append(f"if ({inside}) {value}" if inside else value)
                after.append(f"over_units<{of}>(v{r.id});")
            else:
                row, first = ("e >> 1", inside) if matrix else ("h", "t == 0")
                mine = " && ".join([f"record[{row}] >= 0", *([first] if first else [])])
                body.append(f"if ({mine}) n{r.id} += {name};")
        if matrix:
            assert isinstance(dimension, Dim)
            blocks = padded(self.memory.sizes[dimension.name]) // 8
            lines += _each_element(blocks, body)
        else:
            lines += ["#pragma unroll", "for (int h = 0; h < 2; h++) {", *(f"    {line}" for line in body), "}"]
        return lines + after

    def _inside(self, dimension: Dim | int | None) -> str:
        if not isinstance(dimension, Dim):
            return ""
        width = self.memory.sizes[dimension.name]
        return "" if width % 16 == 0 else f"column < {width}"

    def _read(self, at: int, loop: Loop, node: Node, given: dict[int, str]) -> list[str]:
        """Note how the loop reads a value; return what fetches it before."""
        if node.dtype == SCALAR:
            given[node.id] = f"s{node.id}"
            return []
        kind = self.memory.kind(node)
        if kind == UNITS:
            given[node.id] = f"{bias_word(node.attribute)}[column]"
        elif kind == COLUMN:
            given[node.id] = f"v{node.id}[{'e >> 1' if loop.kind == MATRIX else 'h'}]"
        elif kind != MATRIX:
            raise ScheduleError(f"{node} is read by a tile")
        elif node.op == "input":
            given[node.id] = f"v{node.id}_{self._section_start}[n][e]"
        elif (at, node.id) in self.memory.layout.signs or self._crosses(at, node):
            name, columns = f"v{node.id}_{at}", self.memory.layout.columns(node)
            given[node.id] = f"{name}[n][e]"
            if (at, node.id) in self.memory.layout.signs:
                source = f"load_rows<{columns}>({name}, {self._tile_name(node)});"
            else:
                source = f"recall<{columns}>({name}, kept{node.id});"
            return [f"float {name}[{columns // 8}][4];", source]
        else:
            given[node.id] = f"v{node.id}[n][e]"
        return []

    def _crosses(self, at: int, node: Node) -> bool:
        now = sum(isinstance(s, Product) for s in self.memory.schedule.tile[:at])
        return self.memory.layout.section[node.id] != now


def _each_element(blocks: int, body: Sequence[str]) -> list[str]:
    """Return a loop over what a thread has of a matrix of so many blocks of 8 columns."""
    return [
        "#pragma unroll",
        f"for (int n = 0; n < {blocks}; n++)",
        "#pragma unroll",
        "    for (int e = 0; e < 4; e++) {",
        *(["        const int column = 8 * n + 2 * t + (e & 1);"] if "column" in "".join(body) else []),
        *(f"        {line}" for line in body),
        "    }",
    ]
