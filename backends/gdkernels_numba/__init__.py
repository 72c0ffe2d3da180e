"""The CPU backend: the definition traced, fused and compiled by LLVM, a whole epoch in one call.

It is called "numba" from the time when Numba compiled its interpreter. It needs llvmlite alone.

This module fulfils the contract of `gdkernels.backend`. README.md in this folder explains what runs in which order.
Code that knows no processor belongs to `gdkernels.lowering`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gdkernels_numpy.host import HostBackend

from gdkernels.backend import Executable, Plan, storage_dtype
from gdkernels.backend.program import Program
from gdkernels.groups.sharding import Sharding
from gdkernels.system.cached_property import cached_property
from gdkernels.system.forks import undivided

if TYPE_CHECKING:
    from gdkernels.backend.least_squares.products import Products
    from gdkernels_numba.executable import FusedExecutable

__all__ = ["NumbaBackend"]

_log = logging.getLogger("gdkernels")

_ENGINE = "the engine of Numba"


class NumbaBackend(HostBackend):
    """NumPy arrays on the host; programs become machine code."""

    name = "numba"
    priority = 10
    compiles_weighted = compiles_drawing = compiles_moving = True
    contract = 2

    def unavailable(self) -> str | None:
        from gdkernels_numba.cpu.jit import why_no_llvm

        if find_spec("llvmlite") is not None:
            return why_no_llvm()
        gain = "with it, training is compiled, and several times as fast"
        return f'llvmlite must be installed; {gain}: pip install "gdkernels[numba]"'

    def expected(self) -> bool:
        return True  # every machine has a CPU: only an installation is missing

    def threads(self, device: str) -> tuple[int, ...]:
        from gdkernels_numba.cpu.features import cores

        most = cores()
        return (*(1 << k for k in range((most - 1).bit_length())), most)

    @cached_property
    def precisions(self) -> tuple[str, ...]:  # the processor is asked when somebody wants it
        everywhere = ("float64", "float32")
        return everywhere if self.unavailable() or self.lacks("bfloat16") else (*everywhere, "bfloat16")

    def lacks(self, precision: str) -> str | None:
        if precision != "bfloat16":
            return None
        from gdkernels_numba.cpu.features import why_no_bf16

        return why_no_bf16()

    def compile(self, program: Program, plan: Plan) -> Executable | None:
        with undivided:
            from gdkernels.checking.checked_executable import CheckedExecutable
            from gdkernels.checking.mode import check_mode

        compiled = self._compiled(program, plan)
        # A processor computes what it computed in the tests: here it is checked by those, or where somebody asks.
        return CheckedExecutable(self, program, plan, compiled, _ENGINE) if check_mode() == "always" else compiled

    def compile_shards(self, program: Program, plan: Plan, sharding: Sharding) -> Executable | None:
        with undivided:
            from gdkernels_numba.shards import FusedShards

        fused = self._compiled(program, plan)
        if not fused.has_whole_gradients:
            return None
        return FusedShards(program, fused, fused.plan, sharding)

    def compile_products(self, program: Program, plan: Plan) -> Products | None:
        with undivided:
            from gdkernels.checking.mode import check_mode
            from gdkernels_numba.cpu.features import float_lanes
            from gdkernels_numba.ir.format import Format
            from gdkernels_numba.plan import check
            from gdkernels_numba.products import FusedProducts

        check(plan.choices, Format("float32", float_lanes(), ""))
        fused = FusedProducts(program, plan)
        if check_mode() != "always":
            return fused
        from gdkernels.checking.checked_products import CheckedProducts

        return CheckedProducts(program, fused, self, _ENGINE)

    def _compiled(self, program: Program, plan: Plan) -> FusedExecutable:
        with undivided:
            from gdkernels_numba.compilation import compile_program
            from gdkernels_numba.cpu.features import bf16_route, float_lanes
            from gdkernels_numba.executable import FusedExecutable
            from gdkernels_numba.ir.format import Format
            from gdkernels_numba.plan import check

        dtype = storage_dtype(plan.precision)
        here = Format(dtype, float_lanes(), bf16_route() if plan.precision == "bfloat16" else "")
        check(plan.choices, here)
        lanes = plan.choices.get("vector_width", here.lanes)
        route = plan.choices.get("product_route", here.route)
        form = replace(here, lanes=lanes // 2 if dtype == "float64" else lanes, route=route)
        return FusedExecutable(program, compile_program(program, form), plan)
