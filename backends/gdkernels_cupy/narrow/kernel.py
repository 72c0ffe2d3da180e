"""The text of a persistent kernel: a tile's steps in the order of the schedule, between what every such kernel does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import SCALAR
from gdkernels.graph.recipe import Recipe
from gdkernels.graph.steps import (
    COLUMN,
    MATRIX,
    UNITS,
    WEIGHTS,
    Accumulation,
    Gather,
    Loop,
    Product,
    ScheduleError,
    Step,
    kind_of,
    value_of,
)
from gdkernels_cupy.narrow.layout import TileLayout
from gdkernels_cupy.narrow.shape import Format, Split, most_sums, padded, split_gradient
from gdkernels_cupy.source import constant_text, operation_text
from gdkernels_cupy.tasks import Task

__all__ = ["SIGNATURES", "Arena", "Kernel"]

SIGNATURES = {
    "train": (
        "float* const* state, Element* weights, const Element* image, const float* x, const float* y, "
        "const float* sample_weight, const int* order, const float* scalars, float* partial, float* gradients, "
        "float* totals, float* results, uint32_t* barrier, int records, int batch, int steps"
    ),
    "predict": (
        "float* const* state, const Element* weights, const Element* image, const float* x, float* output, int records"
    ),
    "round_weights": "float* const* state, Element* weights",
    "round_inputs": "const float* x, Element* image, long long records",
}

_REDUCE = {"sum": ("added", "0.f"), "max": ("larger", "-INFINITY"), "min": ("smaller", "INFINITY")}


class Arena:
    """Consecutive memory: names and offsets."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.size = 0

    def take(self, name: str, size: int) -> None:
        self.offsets[name] = self.size
        self.size += size


@dataclass(frozen=True)
class _Gradient:
    """An accumulated product, with the sums of columns that are accumulated beside it."""

    product: Accumulation
    split: Split
    columns: Accumulation | None


class Kernel:
    """The text of one task at given sizes, and the memory that it needs.

    Parameters
    ----------
    order
        The names of the parameters and slots, as their addresses follow one another.

    Attributes
    ----------
    shared, weights, partial
        Offsets: of what is on the chip, in bytes; of the rounded weights, in elements; of what a CTA leaves of its
        gradients, in floats.
    scalars
        Numbers that the host computes for every step.
    totals
        For the sums over the batch and for those over the parameters, the nodes.
    gradients
        Floats that a second phase of the update needs.
    results
        E and, where it is asked for, the norm of the gradient.
    """

    def __init__(
        self, task: Task, sizes: Mapping[str, int], form: Format, warps: int, order: Sequence[str], *, tight: bool
    ) -> None:
        self.task, self.sizes, self.form, self.warps = task, sizes, form, warps
        self.schedule = task.schedule
        self.layout = TileLayout.of(task, sizes, tight=tight)
        self.order = tuple(order)
        self.results = [n for n in (task.error, task.norm) if n is not None]
        self.biases = self._biases()
        self.gradient_of = self._gradients()
        loops = [s for s in self.schedule.tile if isinstance(s, Loop)]
        self._tile_scalars = _scalars(loops)
        numbers = [loop for loop in self.schedule.numbers if loop is not None]
        updates = [loop for phase in self.schedule.updates for loop in phase.values()]
        self._update_scalars = _scalars([*numbers, *updates])
        self.scalars = list({n.id: n for n in [*self._tile_scalars, *self._update_scalars]}.values())
        by_row = {n.id for n in self.schedule.columns}
        self.totals = [[r for loop in loops for r in loop.reductions if r.id not in by_row]]
        for phase in self.schedule.updates[:-1]:
            self.totals.append([r for loop in phase.values() for r in loop.reductions])
        self.weights, self.partial, self.shared = Arena(), Arena(), Arena()
        self._lay_out()
        self.gradients = self._positions() if len(self.schedule.updates) > 1 else 0

    # ---- what there is

    def _size(self, node: Node, axis: int) -> int:
        return self.sizes[str(node.shape[axis])]

    def _kind(self, node: Node) -> str:
        return kind_of(node, self.task.batch)

    def _biases(self) -> list[Node]:
        reads = [n for s in self.schedule.tile if isinstance(s, Loop) for n in s.reads]
        found = {n.id: n for n in reads if n.dtype != SCALAR and self._kind(n) == UNITS}
        return list(found.values())

    def _gradients(self) -> dict[int, _Gradient]:
        """Return the accumulated products by the number of their node."""
        accumulated = self.schedule.accumulations
        products = [a for a in accumulated if a.left is not None]
        sums = {a.right.id: a for a in accumulated if a.left is None}
        most = most_sums(self.form, self.warps) // max(1, len(products))
        found: dict[int, _Gradient] = {}
        for a in products:
            assert a.left is not None
            split = split_gradient(self.layout.columns(a.left), self.layout.columns(a.right), self.warps, most)
            found[a.node.id] = _Gradient(a, split, sums.pop(a.right.id, None))
        if sums:
            raise ScheduleError("a sum over the batch of something that no gradient of weights is made of")
        return found

    @property
    def sums_per_thread(self) -> int:
        """How many sums of weight gradients a thread keeps in registers."""
        return sum(g.split.slots for g in self.gradient_of.values())

    @property
    def matrix_instructions(self) -> int:
        """How many matrix instructions a tile has in the text, for all warps alike."""
        count = 0
        for step in self.schedule.tile:
            if isinstance(step, Product):
                columns = self.layout.columns(step.node)
                count += self.layout.columns(step.left) // self.form.depth * columns // 8
        for g in self.gradient_of.values():
            across = -(-g.split.columns // 16 // g.split.across)
            steps = 16 * self.warps // self.form.depth // g.split.shares
            count += steps * 2 * (g.split.blocks + (across if g.columns else 0))
        return count

    def _lay_out(self) -> None:
        rows, size = 16 * self.warps, self.form.size
        for name, node in self._weights():
            down, across = padded(self._size(node, 0)), padded(self._size(node, 1))
            self.weights.take(name, down * across)
            self.shared.take(f"weights_{name}", down * self.form.pitch(across) * size)
        inputs = padded(self.sizes[str(self.task.widths[0])])
        self.shared.take("inputs", 2 * rows * self.form.pitch(inputs) * size)
        for k, tile in enumerate(self.layout.tiles):
            self.shared.take(f"tile{k}", rows * self.form.pitch(tile.columns) * size)
        for k, node in self.layout.kept.items():
            self.shared.take(f"kept{k}", rows * self.layout.columns(node) * 4)
        for node in self.biases:
            self.shared.take(f"bias_{node.attribute}", padded(self._size(node, 0)) * 4)
        for k, g in self.gradient_of.items():
            self.partial.take(f"product{k}", g.split.slots * 32 * self.warps)
            if g.columns is not None:
                self.shared.take(f"sums{g.columns.node.id}", g.split.shares * g.split.columns * 4)
                self.partial.take(f"sums{g.columns.node.id}", g.split.shares * g.split.columns)
        for k, totals in enumerate(self.totals):
            if totals:
                self.shared.take(f"parts{k}", len(totals) * self.warps * 4)
                self.shared.take(f"totals{k}", len(totals) * 4)

    def _weights(self) -> Iterator[tuple[str, Node]]:
        products = {s.weights.id: s.weights for s in self.schedule.tile if isinstance(s, Product)}
        for node in sorted(products.values(), key=lambda n: n.id):
            yield node.attribute, node

    def _positions(self) -> int:
        return sum(self._positions_of(name) for name in self._updated())

    def _updated(self) -> list[str]:
        return list(dict.fromkeys(name for phase in self.schedule.updates for name in phase))

    def _positions_of(self, name: str) -> int:
        node = self.task.parameters[name]
        return self._gradient_read(name).split.positions if self._kind(node) == WEIGHTS else self._size(node, 0)

    def _gradient_read(self, name: str) -> _Gradient:
        """Return the gradient that the update of a parameter reads."""
        reads = {n.id for phase in self.schedule.updates if name in phase for n in phase[name].reads}
        found = [
            g
            for k, g in self.gradient_of.items()
            if k in reads or (g.columns is not None and g.columns.node.id in reads)
        ]
        if len(found) != 1:
            raise ScheduleError(f"the update of {name} reads {len(found)} gradients")
        return found[0]

    # ---- text

    def text(self) -> str:
        """Return the kernel."""
        training = self.task.output is None
        name = "train" if training else "predict"
        body = [*self._addresses(), *(self._steps() if training else self._predict())]
        return f"KERNEL {name}({SIGNATURES[name]}) {{\n{_indented(body)}}}\n"

    def rounding_text(self) -> str:
        """Return the kernels that make what products read."""
        inputs = self.sizes[str(self.task.widths[0])]
        lines = [
            f"round_rows<{padded(self._size(node, 1))}>(weights + {self.weights.offsets[name]}, "
            f"state[{self.order.index(name)}], {self._size(node, 0)}, {padded(self._size(node, 0))}, "
            f"{self._size(node, 1)});"
            for name, node in self._weights()
        ]
        return (
            f"KERNEL round_weights({SIGNATURES['round_weights']}) {{\n{_indented(lines)}}}\n"
            f"KERNEL round_inputs({SIGNATURES['round_inputs']}) {{\n"
            f"    round_rows<{padded(inputs)}>(image, x, records, records, {inputs});\n}}\n"
        )

    def _addresses(self) -> list[str]:
        lines = ["const int t = thread() & 3, row = 16 * (thread() >> 5) + ((thread() & 31) >> 2);"]
        for name, offset in self.shared.offsets.items():
            kind = "Element" if name.startswith(("weights", "inputs", "tile")) else "float"
            lines.append(f"{kind}* const {name} = ({kind}*)(shared() + {offset});")
        return lines

    def _begin(self, *, training: bool) -> list[str]:
        """Return what comes before the tiles: weights, biases and the first inputs arrive."""
        lines = []
        for name, node in self._weights():
            down, across = padded(self._size(node, 0)), padded(self._size(node, 1))
            lines.append(
                f"gather<{across}>(weights_{name}, weights + {self.weights.offsets[name]}, {down}, "
                "[](int r) { return (long long)r; });"
            )
        for node in self.biases:
            width = self._size(node, 0)
            lines.append(
                f"for (int c = thread(); c < {padded(width)}; c += THREADS) bias_{node.attribute}[c] = "
                f"c < {width} ? load_global(state[{self.order.index(node.attribute)}] + c) : 0.f;"
            )
        if training:
            for g in self.gradient_of.values():
                if g.columns is not None:
                    name, count = f"sums{g.columns.node.id}", g.split.shares * g.split.columns
                    lines.append(f"for (int c = thread(); c < {count}; c += THREADS) {name}[c] = 0.f;")
        lines.append(f"{self._gather('cta()', 'inputs')}")
        return lines

    def _gather(self, tile: str, to: str) -> str:
        return f"gather<{self._input_columns}>({to}, image, ROWS, [&](int r) {{ return record_of({tile}, r); }});"

    @property
    def _input_columns(self) -> int:
        return padded(self.sizes[str(self.task.widths[0])])

    def _tiles(self, body: Sequence[str]) -> list[str]:
        other = f"inputs + ROWS * pitch<{self._input_columns}>()"
        return [
            "bool second = false;",
            "for (int tile = cta(); tile < tiles; tile += ctas()) {",
            f"    Element *const x_tile = second ? {other} : inputs, *const next_tile = second ? inputs : {other};",
            "    const long long record[2] = {record_of(tile, row), record_of(tile, row + 8)};",
            "    copies_wait();",
            "    cta_sync();  // what was copied is there, and no warp still reads the tile before",
            f"    if (tile + ctas() < tiles) {self._gather('tile + ctas()', 'next_tile')}",
            "    second = !second;",
            *(f"    {line}" for line in body),
            "}",
        ]

    def _predict(self) -> list[str]:
        output = self.task.output
        assert output is not None
        columns, width = self.layout.columns(output), self.layout.width(output)
        store = f"store_records<{columns}, {width}>(output, v{output.id}, record);"
        return [
            "const int tiles = (records + ROWS - 1) / ROWS;",
            "auto record_of = [=](int tile, int r) -> long long {",
            "    return tile * ROWS + r < records ? (long long)tile * ROWS + r : -1;",
            "};",
            "if (cta() >= tiles) return;",
            *self._begin(training=False),
            *self._tiles([*self._tile_lines(), store]),
        ]

    def _steps(self) -> list[str]:
        lines = [
            "uint32_t phase = 0;",
            "for (int step = 0; step < steps; step++) {",
            "    const long long first = (long long)step * batch;",
            "    const int rows = batch < records - first ? batch : (int)(records - first);",
            "    const int tiles = (rows + ROWS - 1) / ROWS, active = tiles < ctas() ? tiles : ctas();",
            "    auto record_of = [=](int tile, int r) -> long long {",
            "        return tile * ROWS + r < rows ? order[first + tile * ROWS + r] : -1;",
            "    };",
            *self._scalar_lines(self._tile_scalars),
            "    if (cta() < tiles) {",
        ]
        inner = self._begin(training=True)
        for k, g in self.gradient_of.items():
            s = g.split
            inner.append(f"Gradient<{s.rows}, {s.columns}, {s.up}, {s.across}> d{k};")
            inner.append(f"d{k}.clear();")
        batch_totals = self.totals[0]
        inner += [f"float n{n.id} = 0.f;" for n in batch_totals]
        inner += self._tiles(self._tile_lines())
        inner += self._leave_gradients()
        if batch_totals:
            values = ", ".join(f"n{n.id}" for n in batch_totals)
            inner.append(f"const float mine[{len(batch_totals)}] = {{{values}}};")
            inner.append(
                f"total_of_cta<{len(batch_totals)}>(totals + (long long)cta() * {len(batch_totals)}, mine, parts0);"
            )
        lines += [f"        {line}" for line in inner]
        lines += ["    }", "    grid_sync(barrier, phase);"]
        lines += [f"    {line}" for line in self._update()]
        lines += ["    grid_sync(barrier, phase);", "}"]
        return lines

    def _scalar_lines(self, nodes: Iterable[Node]) -> list[str]:
        at = {n.id: k for k, n in enumerate(self.scalars)}
        return [f"    const float s{n.id} = scalars[step * {len(self.scalars)} + {at[n.id]}];" for n in nodes]

    # ---- a tile

    def _tile_lines(self) -> list[str]:
        lines: list[str] = []
        steps = self.schedule.tile
        lefts = {s.left.id for s in steps if isinstance(s, Product)}
        loaded: set[int] = set()
        for step in steps:
            if isinstance(step, Gather) and self._kind(step.node) == COLUMN:
                weight = f"record[{{h}}] >= 0 ? {step.node.attribute}[record[{{h}}]] : 0.f"
                lines.append(f"const float v{step.node.id}[2] = {{{weight.format(h=0)}, {weight.format(h=1)}}};")
        lines += self._load_inputs(steps, 0, loaded)
        for at, step in enumerate(steps):
            if ("step", at) in self.layout.barrier_before:
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
                lines.append(self._accumulate(step))
        return lines

    def _load_inputs(self, steps: Sequence[Step], start: int, loaded: set[int]) -> list[str]:
        """Load what loops read of the inputs up to the next product; before it is needed, so that none waits."""
        lines = []
        for step in steps[start:]:
            if isinstance(step, Product):
                break
            reads = step.reads if isinstance(step, Loop) else ()
            for node in reads:
                if node.op == "input" and node.dtype != SCALAR and self._kind(node) == MATRIX and node.id not in loaded:
                    loaded.add(node.id)
                    columns, width = self.layout.columns(node), self.layout.width(node)
                    name = f"v{node.id}_{start}"
                    lines.append(f"float {name}[{columns // 8}][4];")
                    lines.append(f"load_records<{columns}, {width}>({name}, {node.attribute}, record);")
        self._section_start = start
        return lines

    def _product(self, at: int, step: Product) -> list[str]:
        k, n = self.layout.columns(step.left), self.layout.columns(step.node)
        left, lines = f"left{step.left.id}", []
        if step.left.op == "input" or at in self.layout.reloaded:
            left = f"left{step.left.id}_{at}"
            lines += [
                f"uint32_t {left}[{k} / DEPTH][4];",
                f"load_left<{k}>({left}, {self._tile_name(step.left)});",
            ]
        transposed = "true" if step.transposed else "false"
        return [
            *lines,
            f"float v{step.node.id}[{n // 8}][4];",
            f"product<{k}, {n}, {transposed}>(v{step.node.id}, {left}, weights_{step.weights.attribute});",
        ]

    def _operand(self, node: Node, lefts: set[int]) -> list[str]:
        """Return what makes a value an operand, and what keeps it for the way back."""
        lines = []
        columns = self.layout.columns(node)
        if node.id in self.layout.kept:
            lines.append(f"keep<{columns}>(kept{node.id}, v{node.id});")
        stored = node.id in self.layout.tile_of
        if stored or node.id in lefts:
            lines += [
                f"clear_outside<{columns}, {self.layout.width(node)}>(v{node.id}, record);",
                f"uint32_t left{node.id}[{columns} / DEPTH][4];",
                f"round_left<{columns}>(left{node.id}, v{node.id});",
            ]
        if stored:
            if ("value", node.id) in self.layout.barrier_before:
                lines.append("cta_sync();")
            lines.append(f"store_rows<{columns}>(tile{self.layout.tile_of[node.id]}, left{node.id});")
        return lines

    def _tile_name(self, node: Node) -> str:
        return "x_tile" if node.op == "input" else f"tile{self.layout.tile_of[node.id]}"

    def _accumulate(self, step: Accumulation) -> str:
        assert step.left is not None
        g = self.gradient_of[step.node.id]
        left, right = self._tile_name(step.left), self._tile_name(step.right)
        if g.columns is None:
            return f"d{step.node.id}.add<false>({left}, {right}, nullptr, 0);"
        owner = list(self.gradient_of).index(step.node.id) % g.split.up  # a different part of the warps each time
        return f"d{step.node.id}.add<true>({left}, {right}, sums{g.columns.node.id}, {owner});"

    def _loop(self, at: int, loop: Loop) -> list[str]:
        lines: list[str] = []
        given: dict[int, str] = {}
        for node in loop.reads:
            lines += self._read(at, loop, node, given)
        recipe = self.task.recipes[id(loop)]
        body, names = _body(recipe, [given[n.id] for n in loop.reads])
        matrix = loop.kind == MATRIX
        results = (*loop.outputs, *(value_of(r.args[0]) for r in loop.reductions))
        dimension = results[0].shape[1] if matrix else None
        for node, at_result in zip(loop.outputs, recipe.outputs, strict=True):
            name = names[at_result]
            extent = f"[{self.layout.columns(node) // 8}][4]" if matrix else "[2]"
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
                mine = (
                    f"record[e >> 1] >= 0{f' && {inside}' if inside else ''}" if matrix else "record[h] >= 0 && t == 0"
                )
                body.append(f"if ({mine}) n{r.id} += {name};")
        if matrix:
            assert isinstance(dimension, Dim)
            blocks = padded(self.sizes[dimension.name]) // 8
            lines += [
                "#pragma unroll",
                f"for (int n = 0; n < {blocks}; n++)",
                "#pragma unroll",
                "    for (int e = 0; e < 4; e++) {",
                *(["        const int column = 8 * n + 2 * t + (e & 1);"] if "column" in "".join(body) else []),
                *(f"        {line}" for line in body),
                "    }",
            ]
        else:
            lines += ["#pragma unroll", "for (int h = 0; h < 2; h++) {", *(f"    {line}" for line in body), "}"]
        return lines + after

    def _inside(self, dimension: Dim | int | None) -> str:
        if not isinstance(dimension, Dim):
            return ""
        width = self.sizes[dimension.name]
        return "" if width % 16 == 0 else f"column < {width}"

    def _read(self, at: int, loop: Loop, node: Node, given: dict[int, str]) -> list[str]:
        """Note how the loop reads a value; return what fetches it before."""
        if node.dtype == SCALAR:
            given[node.id] = f"s{node.id}"
            return []
        kind = self._kind(node)
        if kind == UNITS:
            given[node.id] = f"bias_{node.attribute}[column]"
        elif kind == COLUMN:
            given[node.id] = f"v{node.id}[{'e >> 1' if loop.kind == MATRIX else 'h'}]"
        elif kind != MATRIX:
            raise ScheduleError(f"{node} is read by a tile")
        elif node.op == "input":
            given[node.id] = f"v{node.id}_{self._section_start}[n][e]"
        elif (at, node.id) in self.layout.signs or self._crosses(at, node):
            name, columns = f"v{node.id}_{at}", self.layout.columns(node)
            given[node.id] = f"{name}[n][e]"
            if (at, node.id) in self.layout.signs:
                source = f"load_rows<{columns}>({name}, {self._tile_name(node)});"
            else:
                source = f"recall<{columns}>({name}, kept{node.id});"
            return [f"float {name}[{columns // 8}][4];", source]
        else:
            given[node.id] = f"v{node.id}[n][e]"
        return []

    def _crosses(self, at: int, node: Node) -> bool:
        now = sum(isinstance(s, Product) for s in self.schedule.tile[:at])
        return self.layout.section[node.id] != now

    # ---- gradients and the update

    def _leave_gradients(self) -> list[str]:
        lines = ["copies_wait();", "cta_sync();"]
        lines.append(f"float* const mine_at = partial + (long long)cta() * {self.partial.size};")
        for k, g in self.gradient_of.items():
            lines.append(f"d{k}.write(mine_at + {self.partial.offsets[f'product{k}']});")
            if g.columns is not None:
                name, count = f"sums{g.columns.node.id}", g.split.shares * g.split.columns
                lines.append(
                    f"for (int c = thread(); c < {count}; c += THREADS) mine_at[{self.partial.offsets[name]} + c] = "
                    f"{name}[c];"
                )
        return lines

    def _update(self) -> list[str]:
        schedule = self.schedule
        lines = [line.strip() for line in self._scalar_lines(self._update_scalars)]
        phases = len(schedule.updates)
        if self.totals[0]:
            needed = any(self._reads_totals(phase, self.totals[0]) for phase in range(phases))
            call = f"total_of_grid<{len(self.totals[0])}>(totals0, totals, active);"
            lines.append(call if needed else f"if (cta() == 0) {call}")
            lines += [f"const float n{n.id} = totals0[{k}];" for k, n in enumerate(self.totals[0])]
        for phase in range(phases):
            lines += self._number_lines(phase)
            last = phase == phases - 1
            if not last:
                lines += [f"float p{n.id} = 0.f;" for n in self.totals[phase + 1]]
            lines += self._position_loop(phase, last=last)
            if not last:
                lines += self._sum_over_parameters(phase + 1)
        outputs = ", ".join(f"results[{len(self.results)} * step + {k}] = n{n.id}" for k, n in enumerate(self.results))
        lines.append(f"if (cta() == 0 && thread() == 0) {outputs};")
        return lines

    def _reads_totals(self, phase: int, totals: Iterable[Node]) -> bool:
        """Whether what every CTA does in this phase needs these totals."""
        known = {n.id for n in totals}
        numbers = self.schedule.numbers[phase]
        reads = [n for loop in self.schedule.updates[phase].values() for n in loop.reads]
        if numbers is not None and any(n.id in known for n in numbers.reads):
            known |= {n.id for n in numbers.outputs}
        return any(n.id in known for n in reads)

    def _number_lines(self, phase: int) -> list[str]:
        loop = self.schedule.numbers[phase]
        if loop is None:
            return []
        given = {n.id: f"s{n.id}" if n.dtype == SCALAR else f"n{n.id}" for n in loop.reads}
        recipe = self.task.recipes[id(loop)]
        body, names = _body(recipe, [given[n.id] for n in loop.reads])
        made = [f"n{n.id}" for n in loop.outputs]
        results = [f"{n} = {names[k]};" for n, k in zip(made, recipe.outputs, strict=True)]
        return [f"float {', '.join(made)};", "{", *(f"    {line}" for line in [*body, *results]), "}"]

    def _sum_over_parameters(self, k: int) -> list[str]:
        totals, before = self.totals[k], len(self.totals[0])
        count, base = len(totals), f"totals + (long long)ctas() * {before}"
        values = ", ".join(f"p{n.id}" for n in totals)
        return [
            f"const float part{k}[{count}] = {{{values}}};",
            f"total_of_cta<{count}>({base} + (long long)cta() * {count}, part{k}, parts{k});",
            "grid_sync(barrier, phase);",
            f"total_of_grid<{count}>(totals{k}, {base}, ctas());",
            *(f"const float n{n.id} = totals{k}[{m}];" for m, n in enumerate(totals)),
        ]

    def _position_loop(self, phase: int, *, last: bool) -> list[str]:
        loops = self.schedule.updates[phase]
        lines = [f"for (int c = cta() * THREADS + thread(); c < {self._positions()}; c += ctas() * THREADS) {{"]
        start = 0
        for name in self._updated():
            count = self._positions_of(name)
            lines.append(f"    if (c >= {start} && c < {start + count}) {{")
            lines += [f"        {line}" for line in self._update_one(phase, name, loops.get(name), start, last=last)]
            lines.append("    }")
            start += count
        return [*lines, "}"]

    def _update_one(self, phase: int, name: str, loop: Loop | None, start: int, *, last: bool) -> list[str]:
        node = self.task.parameters[name]
        g = self._gradient_read(name)
        weights = self._kind(node) == WEIGHTS
        if weights:
            rows, columns = self._size(node, 0), self._size(node, 1)
            s = g.split
            lines = [
                f"using G = Gradient<{s.rows}, {s.columns}, {s.up}, {s.across}>;",
                f"const int i = G::row(c - {start}), j = G::column(c - {start});",
                f"if (i >= {rows} || j >= {columns}) continue;",
                f"const int at = i * {columns} + j;",
            ]
            key, base = g.product.node.id, self.partial.offsets[f"product{g.product.node.id}"]
            source, share = f"G::first(partial + {base}, c - {start})", "G::GROUP"
        else:
            assert g.columns is not None
            lines = [f"const int at = c - {start};"]
            key = g.columns.node.id
            source, share = f"partial + {self.partial.offsets[f'sums{key}']} + at", str(g.split.columns)
        if phase == 0:
            lines.append(f"float g{key} = 0.f;")
            lines.append(
                f"for (int share = 0; share < {g.split.shares}; share++) "
                f"g{key} += ordered_sum({source} + share * {share}, active, {self.partial.size});"
            )
            if not last:
                lines.append(f"gradients[c] = g{key};")
        else:
            lines.append(f"const float g{key} = gradients[c];")
        if loop is None:
            return lines
        given: dict[int, str] = {}
        for read in loop.reads:
            if read.op == "input" and read.dtype != SCALAR:
                given[read.id] = f"state[{self.order.index(read.attribute)}][at]"
            elif read.id == key:
                given[read.id] = f"g{key}"
            else:
                given[read.id] = f"s{read.id}" if read.dtype == SCALAR else f"n{read.id}"
        recipe = self.task.recipes[id(loop)]
        body, names = _body(recipe, [given[n.id] for n in loop.reads])
        lines += body
        lines += [f"p{r.id} += {names[k]};" for r, (_, k, _) in zip(loop.reductions, recipe.reductions, strict=True)]
        if last:
            for written, k in zip(self.schedule.written[name], recipe.outputs, strict=True):
                lines.append(f"const float new{self.order.index(written)} = {names[k]};")
            for written in self.schedule.written[name]:
                lines.append(f"state[{self.order.index(written)}][at] = new{self.order.index(written)};")
            if weights and name in self.weights.offsets and name in self.schedule.written[name]:
                place = f"{self.weights.offsets[name]} + i * {g.split.columns} + j"
                lines.append(f"weights[{place}] = rounded(new{self.order.index(name)});")
        return lines


def _body(recipe: Recipe, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return statements, and what stands for each result of a recipe; `given` are its operands."""
    lines, names = [], list(given)
    for k, i in enumerate(recipe.code[len(given) :], start=len(given)):
        if i.op == "constant":
            names.append(f"({constant_text(i.value, 'float')})")
        else:
            lines.append(f"const auto e{k} = {operation_text(i.op, [names[a] for a in i.arguments], 'float')};")
            names.append(f"e{k}")
    return lines, names


def _scalars(loops: Iterable[Loop]) -> list[Node]:
    return list({n.id: n for loop in loops for n in loop.reads if n.dtype == SCALAR}.values())


def _indented(lines: Iterable[str]) -> str:
    return "".join(f"{'' if line.startswith('#') else '    '}{line}\n" for line in lines)
