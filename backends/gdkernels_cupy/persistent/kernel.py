"""The text of the persistent kernels: what every one does, around its tiles and its update."""

from collections.abc import Sequence

from gdkernels_cupy.persistent.grid import SHARED_MODEL, CtaSharing
from gdkernels_cupy.persistent.memory import KernelMemory, bias_word, weights_word
from gdkernels_cupy.persistent.shape import padded
from gdkernels_cupy.persistent.text import indented, scalar_lines, size_lines
from gdkernels_cupy.persistent.tile_text import TileText
from gdkernels_cupy.persistent.update_text import UpdateText

__all__ = ["SIGNATURES", "KernelText"]

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
    "fill_order": "const uint32_t* words, int first, int count, int* order",
    "round_inputs": "const float* x, Element* image, long long records",
}


class KernelText:
    """Writes the kernels of a task."""

    def __init__(self, memory: KernelMemory, sharing: CtaSharing = SHARED_MODEL) -> None:
        self.memory, self.sharing = memory, sharing

    def text(self) -> str:
        """Return the kernel."""
        training = self.memory.task.output is None
        name = "train" if training else "predict"
        body = [*self.addresses(), *(self._steps() if training else self._predict())]
        return f"KERNEL {name}({SIGNATURES[name]}) {{\n{indented(body)}}}\n"

    def preparing_text(self) -> str:
        """Return the kernels that make what products read, and the order of the records."""
        lines = []
        for name, node in self.memory.multiplied():
            down, across = self.memory.size(node, 0), self.memory.size(node, 1)
            to, source = self.memory.weights.offsets[name], self.memory.order.index(name)
            lines.append(
                f"round_rows<{padded(across)}>(weights + {to}, state[{source}], {down}, {padded(down)}, {across});"
            )
        return (
            f"KERNEL fill_order({SIGNATURES['fill_order']}) {{\n"
            "    for (int k = cta() * THREADS + thread(); k < count; k += ctas() * THREADS)\n"
            "        order[k] = (int)order_at(words, first + k);\n}\n"
            f"KERNEL round_weights({SIGNATURES['round_weights']}) {{\n{indented(lines)}}}\n"
            f"{self.rounding_text()}"
        )

    def rounding_text(self) -> str:
        """Return the kernel that makes the image of the inputs."""
        inputs = self.memory.task.inputs
        return (
            f"KERNEL round_inputs({SIGNATURES['round_inputs']}) {{\n"
            f"    round_rows<{padded(inputs)}>(image, x, records, records, {inputs});\n}}\n"
        )

    def addresses(self) -> list[str]:
        """Return the names of what is on the chip."""
        lines = ["const int t = thread() & 3, row = 16 * (thread() >> 5) + ((thread() & 31) >> 2);"]
        for name, offset in self.memory.shared.offsets.items():
            kind = "Element" if name.startswith(("weights", "inputs", "tile")) else "float"
            lines.append(f"{kind}* const {name} = ({kind}*)(shared() + {offset});")
        return lines

    def _weights(self) -> list[str]:
        """Return how weights and biases arrive, as a step before left them."""
        lines = []
        for name, node in self.memory.multiplied():
            down, across = padded(self.memory.size(node, 0)), padded(self.memory.size(node, 1))
            lines.append(
                f"gather<{across}>({weights_word(name)}, weights + {self.memory.weights.offsets[name]}, {down}, "
                "[](int r) { return r; });"
            )
        for node in self.memory.biases:
            width = self.memory.size(node, 0)
            lines.append(
                f"for (int c = thread(); c < {padded(width)}; c += THREADS) {bias_word(node.attribute)}[c] = "
                f"c < {width} ? load_global(state[{self.memory.order.index(node.attribute)}] + c) : 0.f;"
            )
        return lines

    def _first_inputs(self) -> str:
        return self._gather(self.sharing.cta, "inputs")

    def _gather(self, tile: str, to: str) -> str:
        return f"gather<{self._input_columns}>({to}, image, ROWS, [&](int r) {{ return record_of({tile}, r); }});"

    @property
    def _input_columns(self) -> int:
        return padded(self.memory.task.inputs)

    def _tiles(self, body: Sequence[str]) -> list[str]:
        cta, ctas = self.sharing.cta, self.sharing.ctas
        other = f"inputs + ROWS * pitch<{self._input_columns}>()"
        return [
            "bool second = false;",
            f"for (int tile = {cta}; tile < tiles; tile += {ctas}) {{",
            f"    Element *const x_tile = second ? {other} : inputs, *const next_tile = second ? inputs : {other};",
            "    const int record[2] = {record_of(tile, row), record_of(tile, row + 8)};",
            "    copies_wait();",
            "    cta_sync();  // what was copied is there, and no warp still reads the tile before",
            f"    if (tile + {ctas} < tiles) {self._gather(f'tile + {ctas}', 'next_tile')}",
            "    second = !second;",
            *(f"    {line}" for line in body),
            "}",
        ]

    def _predict(self) -> list[str]:
        output = self.memory.task.output
        assert output is not None
        columns, width = self.memory.layout.columns(output), self.memory.layout.width(output)
        store = f"store_records<{columns}, {width}>(output, v{output.id}, record);"
        return [
            *size_lines(self.memory, self.memory.tile_scalars),
            "const int tiles = (records + ROWS - 1) / ROWS;",
            "auto record_of = [=](int tile, int r) -> int {",
            "    return tile * ROWS + r < records ? tile * ROWS + r : -1;",
            "};",
            "if (cta() >= tiles) return;",
            *self._weights(),
            self._first_inputs(),
            *self._tiles([*TileText(self.memory).lines(), store]),
        ]

    def _steps(self) -> list[str]:
        mine = f"partial + (long long)cta() * {self.memory.partial.size}"
        return [
            "uint32_t phase = 0;",
            "for (int step = 0; step < steps; step++) {",
            "    const long long first = (long long)step * batch;",
            "    const int rows = batch < records - first ? batch : (int)(records - first);",
            *(f"    {line}" for line in self.step(self._weights(), mine)),
            "}",
        ]

    def step(self, weights: Sequence[str], partial: str) -> list[str]:
        """Return a step on the records that `first` and `rows` say are next in the order.

        Parameters
        ----------
        weights
            What brings weights and biases onto the chip, if they are not there.
        """
        lines = [
            self.sharing.tiles,
            "auto record_of = [=](int tile, int r) -> int {",
            "    return tile * ROWS + r < rows ? order[first + tile * ROWS + r] : -1;",
            "};",
            *scalar_lines(self.memory, self.memory.tile_scalars),
            f"if ({self.sharing.cta} < tiles) {{",
        ]
        inner, update = [*weights], UpdateText(self.memory, self.sharing)
        for one in self.memory.sums.values():
            count = self.memory.warps * one.columns
            inner.append(f"for (int c = thread(); c < {count}; c += THREADS) {one.name}[c] = 0.f;")
        inner.append(self._first_inputs())
        inner.append(f"float* const mine_at = {partial};")
        for k, g in self.memory.gradient_of.items():
            if k not in self.memory.spilled_gradients:
                inner += [f"{g.split.text} d{k};", f"d{k}.clear();"]
        inner += [f"float n{n.id} = 0.f;" for n in self.memory.totals[0]]
        inner += self._tiles(TileText(self.memory, self.sharing).lines())
        inner += update.leave_gradients()
        inner += update.leave_totals()
        lines += [f"    {line}" for line in inner]
        return [*lines, "}", self.sharing.sync, *update.lines(), self.sharing.sync]
