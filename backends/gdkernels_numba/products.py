"""Sums of products of the Jacobian's rows: their tiles and their blocks by the interpreter, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Plan
from gdkernels.backend.least_squares.products import SUM_OF_PRODUCTS, Products, slices_of, traced_sums
from gdkernels.backend.program import Program
from gdkernels.errors import ScheduleError, TraceError
from gdkernels.graph import remembered
from gdkernels.lowering.schedule import PREDICTION
from gdkernels.lowering.task import ScheduledTask, schedule_products, schedule_sums
from gdkernels.system.cached_property import cached_property
from gdkernels_numba.bytecode.arena import Arena
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.bytecode.kept_steps import KeptSteps
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.compilation import kernels_of, tasks_of
from gdkernels_numba.cpu.features import caches, cores, float_lanes
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.plan import StepChoices, StepFootprint, choose

__all__ = ["FusedProducts"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]

_AT_ONCE = 8192  # records that are added up in their own precision
_FEW = 16
_FEWEST, _MOST = 256, 2048  # rows whose products are summed before they are added to the others


class FusedProducts(Products):
    """The products of a program, compiled for a precision when it is first asked for.

    Raises
    ------
    TraceError, ScheduleError
        If this engine cannot run them.
    """

    def __init__(self, program: Program, plan: Plan) -> None:
        self._program, self._plan = replace(program, objective=None, optimizer=None), plan
        self._task = _scheduled(self._program)
        self._prediction, _ = tasks_of(self._program, False)
        self._width = self._task.sizes[str(self._task.parameters[SUM_OF_PRODUCTS].shape[0])]
        self._sums: ScheduledTask | None = None
        with suppress(TraceError, ScheduleError):  # then the definition adds up gradients
            self._sums = _scheduled_sums(self._program)
        self._names = traced_sums(self._program).sums if self._sums is not None else {}
        self._kept = KeptSteps()
        self._tiles: dict[np.dtype[Any], int] = {}
        self._whole: dict[np.dtype[Any], tuple[Array, dict[str, Array]]] = {}

    @cached_property
    def choices(self) -> dict[str, Any]:  # it is asked for after each iteration
        form, rows = self._format("float64"), self._tile("float64")
        return self._choices(form, rows).as_dict()

    def rows(self, dtype: str) -> int:
        own = self._tile(dtype)
        return max(1, _AT_ONCE // own) * own

    def _tile(self, dtype: str) -> int:
        row = self._width * np.dtype(dtype).itemsize
        return max(_FEWEST, min(_MOST, caches().second // row // _FEWEST * _FEWEST))

    def add(self, arrays: Mapping[str, Array], x: Array, y: Array, r: Array, total: Array) -> None:
        given = {**arrays, SUM_OF_PRODUCTS: total}
        self._run(self._bind(self._task, total.dtype, len(x)), given, {"x": x, "y": y, "sample_weight": r})

    @staticmethod
    def _run(bound: BoundStep, arrays: Mapping[str, Array], records: Mapping[str, Array]) -> None:
        """Add all the records, a tile after the other."""
        rows, batch = len(records["x"]), bound.sizes["B"]
        steps = -(-rows // batch)
        scalars = (
            {"B": np.minimum(batch, rows - batch * np.arange(float(steps)))} if bound.layout.numbers.scalars else {}
        )
        given = {**arrays, **{n: np.ascontiguousarray(a) for n, a in records.items()}}
        bound.run(given, None, rows, (1, steps), scalars)

    def gradient(self, arrays: Mapping[str, Array], x: Array, y: Array) -> Vector | None:
        if self._sums is None or len(self._names) < len(self._program.trained):
            return None
        whole, sums = self._sums_of(x.dtype)
        whole[:] = 0.0
        self._run(self._bind(self._sums, x.dtype, len(x)), {**arrays, **sums}, {"x": x, "y": y})
        return whole.astype(np.float64)

    def _sums_of(self, dtype: np.dtype[Any]) -> tuple[Array, dict[str, Array]]:
        """Return the gradients as one vector, and as its parts."""
        if dtype not in self._whole:
            places, shapes = slices_of(self._program), self._program.shapes
            whole = np.zeros(max(place.stop for place in places.values()), dtype)
            parts = {sum_: whole[places[name]].reshape(shapes[name]) for name, sum_ in self._names.items()}
            self._whole = {dtype: (whole, parts)}
        return self._whole[dtype]

    def predict(self, arrays: Mapping[str, Array], x: Array) -> Array:
        found = np.empty((len(x), self._program.outputs), x.dtype)
        self._run(self._bind(self._prediction, x.dtype, len(x)), {**arrays, PREDICTION: found}, {"x": x})
        return found

    def rest(self) -> None:
        self._kept = KeptSteps()  # those that it had wait for the next fit of the program

    def workspace(self, dtype: str) -> int:
        form, rows = self._format(dtype), self._tile(dtype)
        arena = Arena(form)
        StepLayout(self._task, self._task.sizes_with(rows), self._choices(form, rows), form, arena)
        return arena.size

    def _format(self, dtype: str) -> Format:
        lanes = self._plan.choices.get("vector_width", float_lanes())
        return Format(dtype, lanes // 2 if dtype == "float64" else lanes, "")

    def _bind(self, task: ScheduledTask, dtype: np.dtype[Any], records: int) -> BoundStep:
        """Return a task that is ready for tiles of records, of which there are at most so many."""
        if dtype not in self._tiles:
            self._tiles[dtype] = self._tile(dtype.name)
        rows = min(self._tiles[dtype], max(_FEW, 1 << (records - 1).bit_length()))
        what = task is self._task, task is self._prediction
        key, known = (what, dtype, rows), self._kept.by_use
        if key not in known:
            for old in [k for k in known if k[0] == what]:
                del known[old]  # before the other takes its memory
            form = self._format(dtype.name)
            choices = self._choices(form, rows)
            known[key] = KeptSteps.bound(task, kernels_of([task], form), task.sizes_with(rows), choices)
        return known[key]

    def _choices(self, form: Format, rows: int) -> StepChoices:
        footprint = StepFootprint(
            batch=rows,
            flops=float(rows) * self._width**2,
            row_bytes=self._width * form.size,
            widest_bytes=self._width * form.size,
            weight_bytes=self._width**2 * form.size,
            alone=True,
        )
        wished = {name: value for name, value in self._plan.choices.items() if name in ("threads", "pieces")}
        wished |= {"depth_first": False, "by_units": False}
        return choose(footprint, form, caches(), cores(), wished)


@remembered(16)
def _scheduled(program: Program) -> ScheduledTask:
    return schedule_products(program, FUNCTIONS.keys())


@remembered(16)
def _scheduled_sums(program: Program) -> ScheduledTask:
    return schedule_sums(program, FUNCTIONS.keys())
