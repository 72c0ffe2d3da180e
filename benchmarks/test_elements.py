"""Nanoseconds an element that the CPU engine's loops take: a lost vectorisation shows as a factor of five or more.

``python -m pytest benchmarks/test_elements.py`` prints a line for each activation (its loops forward and back, with
those of SSE) and each loss.
"""

from typing import Any

import numpy as np
import pytest

from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.chain import chain
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.lowering.steps import MATRIX
from gdkernels.lowering.task import schedule_training

pytest.importorskip("llvmlite", reason="the CPU engine needs llvmlite")

from gdkernels_numba.bytecode.arena import allocate
from gdkernels_numba.compilation import code_of_loops, loop_name
from gdkernels_numba.cpu import jit
from gdkernels_numba.cpu.features import float_lanes
from gdkernels_numba.ir.format import PANEL_BYTES, Format
from gdkernels_numba.ir.functions import FUNCTIONS

ROWS = 384  # of one panel: what is read and written stays in the second-level cache, and a call is nothing beside it

identity, sse = activations.identity, losses.sse
PROGRAMS = {
    **{
        name: Program(chain((8, 8), (f, identity)), 8, objective=Objective(sse), optimizer=SGD())
        for name, f in activations.BY_NAME.items()
    },
    **{
        name: Program(chain((8,), (identity,)), 8, objective=Objective(f), optimizer=SGD())
        for name, f in losses.BY_NAME.items()
    },
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nanoseconds_an_element(benchmark: Any, capsys: pytest.CaptureFixture[str], name: str, precision: str) -> None:
    form = Format(precision, float_lanes() if precision == "float32" else float_lanes() // 2)
    jobs, elements = loops_of(PROGRAMS[name], form)

    def run() -> None:
        for kernel, operands in jobs:
            kernel(ROWS, form.panel, PANEL_BYTES, operands.ctypes.data, 1)

    benchmark.group = f"loops of one panel, {precision}"
    benchmark.pedantic(run, rounds=100, iterations=10, warmup_rounds=5)
    if benchmark.stats is not None:
        nanoseconds = 1e9 * benchmark.stats.stats.median / elements
        benchmark.extra_info["nanoseconds_per_element"] = nanoseconds
        with capsys.disabled():
            print(f"\n{name:24} {precision}: {nanoseconds:6.3f} ns an element in {len(jobs)} loops")


def loops_of(program: Program, form: Format) -> tuple[list[tuple[Any, Any]], int]:
    """Return the loops over rows, each with its operands, and how many elements each runs over."""
    recipes = tuple(dict.fromkeys(schedule_training(program, FUNCTIONS.keys()).recipes.values()))
    compiled = code_of_loops(form, recipes)
    jobs = []
    for k, recipe in enumerate(recipes):
        if recipe.kind == MATRIX:
            count = recipe.loads + len(recipe.outputs) + len(recipe.reductions)
            memory, base = allocate(count * ROWS * PANEL_BYTES)
            memory.view(form.dtype)[:] = 0.5
            operands = base + ROWS * PANEL_BYTES * np.arange(count)
            kernel = jit.function_of(compiled, loop_name(k), 5)
            kernel.memory = memory  # type: ignore[attr-defined]  # keeps it
            jobs.append((kernel, operands))
    return jobs, ROWS * form.panel
