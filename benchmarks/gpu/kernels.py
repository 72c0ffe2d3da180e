"""The kernels as compilers make them, without a GPU: registers, frames and shared memory, for six architectures.

``python -m benchmarks.gpu.kernels LIBNVRTC … --out FILE`` takes libraries of NVRTC by their paths, compiles what a few
networks need with each, and writes a table. Beside it, in a file whose name ends with .json, is what compilers said.
That is written after each kernel: you can interrupt this, and only kernels whose text has changed are compiled anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.gpu.compiled import Compiler, KeptRows, Row
from benchmarks.gpu.typical import TYPICAL, network
from gdkernels.backend.program import Program
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import ScheduleError

__all__ = ["ARCHITECTURES", "Compiler", "main"]

# Compute capability, and the bytes of shared memory that a CTA has when it asks.
ARCHITECTURES = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}

_GRAPHS: dict[str, Program] = {
    "three of 256, relu": network(activations.relu, (256,) * 4, SGD()),
    "three of 256, gelu, Adam": network(activations.gelu, (256,) * 4, Adam()),
}


def _modules() -> Iterator[tuple[str, str]]:
    """Yield the modules of CUDA graphs: names and texts."""
    from gdkernels_cupy.graphs.calls import module_text
    from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES, applicable
    from gdkernels_cupy.graphs.grouping import grouped
    from gdkernels_cupy.graphs.lower import lower
    from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS

    from gdkernels.lowering.task import schedule_training

    for name, program in _GRAPHS.items():
        task = schedule_training(program, CUDA_FUNCTIONS)
        for precision in ("float64", "float32", "bfloat16"):
            chosen = [e for e in EPILOGUES if e in applicable(precision)]
            lists = [lower(task, task.sizes_with(1024), precision, (1024,), e) for e in (chosen, ())]
            yield f"graphs: {name}, {precision}", module_text(map(grouped, lists))


# Networks whose kernels for float32 are in the table too: that of the grid, a small one, and one of classes.
_IN_FLOAT32 = ("three of 64, relu", "8-32-32-1, relu", "30-64-32-10, silu, Adam, classes")


def _networks() -> Iterator[tuple[str, Program, str]]:
    for name, (program, precision) in TYPICAL.items():
        yield name, program, precision
        if name in _IN_FLOAT32:
            yield name, program, "float32"


class _Trial:
    """A device of which only a compiler is there: what it makes of variants is tried as on a GPU."""

    def __init__(self, known: KeptRows, compiler: Compiler, capability: int) -> None:
        from gdkernels_cupy.persistent.launch_device import DeviceProperties

        self.properties = DeviceProperties(capability, ARCHITECTURES[capability])
        self._known, self._compiler, self._capability = known, compiler, capability
        self.rows: list[Row] = []

    def describe(self) -> Any:
        return [self._compiler.name, self._capability]

    def compile(self, source: Any) -> Any:
        self.rows.append(self._known.row(self._compiler, self._capability, source.text, "train"))
        return self

    def seconds(self) -> float:
        """Return what trials have taken, now or when they were made."""
        return sum(row.seconds for row in self.rows)

    def local_bytes(self) -> int:
        return self.rows[-1].frame


def _persistent(known: KeptRows, compiler: Compiler, capability: int, program: Program, precision: str) -> str:
    """Return the columns of a persistent kernel, or why there is none."""
    from gdkernels_cupy.persistent.fitting import sources_of
    from gdkernels_cupy.persistent.trials import first_in_registers

    trial = _Trial(known, compiler, capability)
    try:
        sources = sources_of(program, precision, ARCHITECTURES[capability])
        source, _ = first_in_registers(sources, trial, clock=trial.seconds)  # type: ignore[arg-type]
    except ScheduleError as error:
        return f"declined: {error} | | | | |"
    row, how = trial.rows[-1], f"{source.warps} warps"
    how += f", {source.spilled_gradients} gradients spilled" if source.spilled_gradients else ""
    how += ", computed again" if source.recomputes else ""
    how += ", left operands loaded" if source.reloads else ""
    tried, shared = f"{len(trial.rows)} in {trial.seconds():.1f} s", source.shared_bytes + row.static_shared
    return f"{how} | {tried} | {row.registers} | {row.frame} | {row.spilled} | {shared} |"


_BEGIN = """# What compilers make of the kernels

No GPU took part: these are the words of ptxas, in registers a thread and bytes. For a module of CUDA graphs they are
the largest over its kernels; for a persistent kernel, those of training, by the first of its variants that fits on the
chip and takes a frame of at most 256 bytes. A frame without spills is the local memory that a function takes for
arguments out of the ordinary, or an array that is indexed. `python -m benchmarks.gpu.kernels` writes this file.

"""


def table(compilers: list[Compiler], known: KeptRows) -> str:
    """Return the table as Markdown."""
    lines = [
        "| kernels | architecture | compiler | variant | tried | registers | frame | spilled | shared memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for capability in ARCHITECTURES:
        for compiler in compilers:
            begin = f"sm_{capability} | {compiler.name}"
            for name, text in _modules():
                row = known.row(compiler, capability, text)
                figures = f"{row.registers} | {row.frame} | {row.spilled} | {row.static_shared}"
                lines.append(f"| {name} | {begin} | – | – | {figures} |")
            for name, program, precision in _networks():
                found = _persistent(known, compiler, capability, program, precision)
                lines.append(f"| persistent: {name}, {precision} | {begin} | {found}")
                print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the table, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.kernels", description=__doc__)
    parser.add_argument("libraries", nargs="+", metavar="LIBNVRTC", help="a libnvrtc.so")
    parser.add_argument("--out", required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    compilers = [Compiler(path) for path in options.libraries]
    with tempfile.TemporaryDirectory() as empty, patch.dict("os.environ", GDKERNELS_CACHE=empty):  # nothing is known
        out = Path(options.out)
        known = KeptRows(out.with_suffix(".json"))
        out.write_text(_BEGIN + table(compilers, known), "utf-8")
        known.forget_others()
    return 0


if __name__ == "__main__":
    sys.exit(main())
