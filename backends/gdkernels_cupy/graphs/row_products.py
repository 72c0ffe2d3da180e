"""JᵀJ for solvers on a GPU: rows of the Jacobian and their products, as a list of operations that is captured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gdkernels.backend import Plan
from gdkernels.backend.arguments import arrays_by_name
from gdkernels.backend.least_squares.products import SUM_OF_PRODUCTS, Products
from gdkernels.backend.program import Program
from gdkernels.lowering.scalars import known_of_steps
from gdkernels.lowering.task import schedule_products
from gdkernels_cupy.cuda.device import check_device, device
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.graphs.kept_sessions import KeptSessions, table_of
from gdkernels_cupy.graphs.memory_plan import bytes_of
from gdkernels_cupy.graphs.session_maker import SessionKey, TrainingRun
from gdkernels_cupy.graphs.session_memory import DeviceArray
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS

__all__ = ["GraphProducts"]

_AT_ONCE = 1 << 16  # records that are added up in their own precision
# A step makes rows of so many bytes, and of so many records: enough that a product and a launch are worth it.
_TILE_BYTES, _MOST_ROWS = 1 << 28, 1 << 13
# The JᵀJ of a tile is one product with no epilogue, so nothing is tuned and nothing needs trust.
_PLAIN: dict[str, Any] = {"kernel": "graphs", "epilogues": ()}


class GraphProducts(Products):
    """The products of a program as CUDA graphs, in a precision that is made when it is first asked for.

    A session has one place for the sum. It is brought there, added to, and put back, all on the device.

    Raises
    ------
    TraceError, ScheduleError
        If this engine cannot run them.
    """

    def __init__(self, program: Program, plan: Plan, number: int) -> None:
        self._program, self._number = replace(program, objective=None, optimizer=None), number
        self._plan = replace(plan, choices={**plan.choices, **_PLAIN})
        self._task = schedule_products(self._program, CUDA_FUNCTIONS)
        self._width = self._task.sizes[str(self._task.parameters[SUM_OF_PRODUCTS].shape[0])]
        self._kept: dict[str, KeptSessions] = {}
        self._predictions: dict[str, CudaGraphExecutable] = {}
        self._algorithms = dict(plan.choices.get("algorithms", {}))
        self._prediction("float64")  # what cannot be predicted is refused here

    @property
    def choices(self) -> dict[str, Any]:
        for executable in self._predictions.values():
            self._algorithms |= executable.algorithms
        return {**_PLAIN, "algorithms": dict(self._algorithms)}

    def rows(self, dtype: str) -> int:
        return _AT_ONCE

    def add(self, arrays: Mapping[str, Any], x: Any, y: Any, r: Any, total: Any) -> None:
        import cupy

        dtype = str(total.dtype)
        kept = self._kept_for(dtype)
        with device(self._number).lock, cupy.cuda.Device(self._number):
            records = {n: self._contiguous(a, dtype) for n, a in (("x", x), ("y", y), ("sample_weight", r))}
            sources = {name: DeviceArray(a.data.ptr, a.shape[0]) for name, a in records.items()}
            order = np.arange(len(x))
            batch = min(self._tile(dtype), len(order))
            steps = -(-len(order) // batch)
            known = known_of_steps(np.ones(steps), done=0, records=len(order), batch=batch, numbers={})
            given = {name: self._contiguous(a, dtype) for name, a in arrays.items()}
            named = {**arrays_by_name(given), SUM_OF_PRODUCTS: total}
            shape = SessionKey(self._task, self._program.widths, batch, any(map(is_on_host, records.values())))
            training = TrainingRun(len(order), steps, lambda session: 0.0)  # nothing is to be timed

            def run() -> None:
                session = kept.trained_by(shape, training)
                session.run({n: named[n] for n in session.op_list.parameters}, sources, order, table_of(session, known))

            kept.retrying(shape, run)
            self._algorithms |= kept.maker.algorithms

    def predict(self, arrays: Mapping[str, Any], x: Any) -> Any:
        return self._prediction(str(x.dtype)).predict(dict(arrays), x)

    def workspace(self, dtype: str) -> int:
        # Of the device, where a session asks whether it fits before it is made.
        return bytes_of(self._task, self._program.widths, (self._tile(dtype),), dtype, ())

    def _tile(self, dtype: str) -> int:
        """Return the records of a step."""
        return max(1, min(_MOST_ROWS, _TILE_BYTES // (self._width * np.dtype(dtype).itemsize)))

    def _kept_for(self, dtype: str) -> KeptSessions:
        if dtype not in self._kept:
            self._kept.clear()  # before the other takes its memory
            self._kept[dtype] = KeptSessions(replace(self._plan, precision=dtype), self._number)
        return self._kept[dtype]

    def _prediction(self, dtype: str) -> CudaGraphExecutable:
        if dtype not in self._predictions:
            plan = replace(self._plan, precision=dtype)
            self._predictions[dtype] = CudaGraphExecutable(self._program, plan, self._number)
        return self._predictions[dtype]

    def _contiguous(self, a: Any, dtype: str) -> Any:
        import cupy

        if isinstance(a, cupy.ndarray):
            check_device(a.device.id, self._number)
        return cupy.ascontiguousarray(a, dtype)
