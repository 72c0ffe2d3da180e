"""The kernels as compilers make them, without a GPU: registers, frames and shared memory, for six architectures.

``python -m benchmarks.gpu.kernels LIBNVRTC … --out FILE`` takes libraries of NVRTC by their paths, compiles what a few
networks need with each, and writes a table.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.chain import chain
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, Optimizer
from gdkernels.errors import ScheduleError

__all__ = ["ARCHITECTURES", "Compiler", "main"]

# Compute capability, and the bytes of shared memory that a CTA has when it asks.
ARCHITECTURES = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}

_OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


def _program(function: activations.Activation, widths: tuple[int, ...], optimizer: Optimizer) -> Program:
    functions = (*[function] * (len(widths) - 2), activations.identity)
    return Program(chain(widths[1:], functions), widths[0], objective=Objective(losses.sse), optimizer=optimizer)


_RELU, _GELU = activations.relu, activations.gelu
_NARROW: dict[str, tuple[Program, str]] = {
    "four of 64, relu": (_program(_RELU, (64,) * 5, SGD()), "bfloat16"),
    "four of 64, gelu, Adam": (_program(_GELU, (64,) * 5, Adam()), "bfloat16"),
    "three of 64, relu": (_program(_RELU, (64,) * 4, SGD()), "tf32"),
    "20-48-32-3, relu": (_program(_RELU, (20, 48, 32, 3), Adam()), "tf32"),
}
_GRAPHS: dict[str, Program] = {
    "three of 256, relu": _program(_RELU, (256,) * 4, SGD()),
    "three of 256, gelu, Adam": _program(_GELU, (256,) * 4, Adam()),
}


@dataclass(frozen=True)
class Row:
    """The figures that ptxas gives for a module: the largest over its kernels, or those of the training kernel."""

    registers: int
    frame: int
    spilled: int
    static_shared: int
    seconds: float


class Compiler:
    """A library of NVRTC, by its path."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.name = f"NVRTC {major.value}.{minor.value}"

    def compile(self, text: str, capability: int) -> tuple[str, float]:
        """Return what ptxas says of a text, and the seconds that it took; a refusal is a RuntimeError."""
        program, began = ctypes.c_void_p(), time.perf_counter()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
        given = [f"-arch=sm_{capability}".encode(), *(option.encode() for option in _OPTIONS)]
        status = self._library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        size = ctypes.c_size_t()
        self._call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._call("nvrtcGetProgramLog", program, log)
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        said = log.value.decode(errors="replace")
        if status:
            raise RuntimeError(f"{self.name} refuses sm_{capability}: {said[:500]}")
        return said, time.perf_counter() - began

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} answers {status}")


def row_of(log: str, kernel: str | None, seconds: float) -> Row:
    """Return the figures of one kernel, or the largest over all of a module."""
    parts = [part for part in log.split("Compiling entry function")[1:] if kernel is None or f"'{kernel}'" in part]

    def largest(pattern: str) -> int:
        return max((int(n) for part in parts for n in re.findall(pattern, part)), default=0)

    return Row(
        largest(r"Used (\d+) registers"),
        largest(r"(\d+) bytes stack frame"),
        largest(r"(\d+) bytes spill stores"),
        largest(r"(\d+) bytes smem"),
        seconds,
    )


def _texts(capability: int) -> Iterator[tuple[str, str, int, str | None] | tuple[str, str]]:
    """Yield each module: its name, its text, the shared memory that a launch asks for, and which kernel is looked at.

    Where a network does not fit on the chip, yield its name and why.
    """
    from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES, applicable
    from gdkernels_cupy.graphs.lower import lower
    from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS, module_text
    from gdkernels_cupy.persistent.fitting import sources_of

    from gdkernels.lowering.task import schedule_training

    for name, program in _GRAPHS.items():
        task = schedule_training(program, CUDA_FUNCTIONS)
        for precision in ("float64", "float32", "bfloat16"):
            chosen = [e for e in EPILOGUES if e in applicable(precision)]
            lists = [lower(task, task.sizes_with(1024), precision, (1024,), e) for e in (chosen, ())]
            yield f"graphs: {name}, {precision}", module_text(lists), 0, None
    for name, (program, precision) in _NARROW.items():
        title = f"persistent: {name}, {precision}"
        try:
            source = next(sources_of(program, precision, ARCHITECTURES[capability]))
        except ScheduleError as error:
            yield title, str(error)
            continue
        yield title, source.text, source.shared_bytes, "train"


_BEGIN = """# What compilers make of the kernels

No GPU took part: these are the words of ptxas, in registers a thread and bytes. For a module of CUDA graphs they are
the largest over its kernels; for a persistent kernel, those of training, by the first of its variants that fits on the
chip. A frame without spills is the local memory that a function takes for arguments out of the ordinary, or an array
that is indexed. `python -m benchmarks.gpu.kernels` writes this file.

"""


def table(compilers: list[Compiler]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| kernels | architecture | compiler | registers | frame | spilled | shared memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for capability in ARCHITECTURES:
        for found in _texts(capability):
            if len(found) == 2:
                lines.append(f"| {found[0]} | sm_{capability} | – | declined: {found[1]} | | | |")
                continue
            name, text, shared, kernel = found
            for compiler in compilers:
                log, seconds = compiler.compile(text, capability)
                row = row_of(log, kernel, seconds)
                lines.append(
                    f"| {name} | sm_{capability} | {compiler.name} | {row.registers} | {row.frame} | {row.spilled} | "
                    f"{shared + row.static_shared} |"
                )
                print(lines[-1], f"{seconds:.1f} s", file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the table, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.kernels", description=__doc__)
    parser.add_argument("libraries", nargs="+", metavar="LIBNVRTC", help="a libnvrtc.so")
    parser.add_argument("--out", required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    Path(options.out).write_text(_BEGIN + table([Compiler(path) for path in options.libraries]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
