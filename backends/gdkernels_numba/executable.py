"""A program that runs as fused code on the CPU."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State
from gdkernels.backend.arguments import arrays_by_name, check_prediction, check_run, widths_of
from gdkernels.backend.program import Program
from gdkernels.definition.network import Layers, map_layers
from gdkernels.lowering.scalars import known_of_steps
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import pitch_of
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.compilation import Compiled
from gdkernels_numba.cpu.features import caches, cores
from gdkernels_numba.plan import StepChoices, StepFootprint, choose

__all__ = ["FusedExecutable"]

_log = logging.getLogger("gdkernels")

_PREDICTED_ROWS = 1 << 20  # at a time
_KEPT_PREDICTIONS = 4  # sizes whose instruction streams are kept, such as those of the validation and the test records

Array = npt.NDArray[Any]


class FusedExecutable(Executable):
    """An executable that does whole runs in one call of compiled code.

    It binds a step when it first sees its sizes, and keeps the bound steps of the sizes used last.
    """

    origin = "compiled"

    def __init__(self, program: Program, compiled: Compiled, plan: Plan) -> None:
        self.plan = plan
        self._program, self._compiled = program, compiled
        self._dtype = np.dtype(compiled.kernels.format.dtype)
        self._wished = dict(plan.choices)
        self._bound: dict[tuple[bool, tuple[int, ...], int], BoundStep] = {}

    # ---- the contract

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        order = np.ascontiguousarray(order, np.int64)
        x, y = self._contiguous(x), self._contiguous(y)
        weights = None if sample_weight is None else self._contiguous(sample_weight)
        check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, weights)
        task, widths = self._compiled.step, widths_of(state.parameters)
        assert task is not None, "what has an optimizer has a step"
        steps, l2 = len(learning_rates), self._program.l2
        # By the full batch, also where these rows are only the last and smaller one: the plan of a fit stays one plan.
        bound = self._bind(task, widths, batch_size)

        state.parameters = map_layers(self._writable, state.parameters)
        state.slots = map_layers(lambda slots: tuple(map(self._writable, slots)), state.slots)
        arrays = {"x": x, "y": y, **arrays_by_name(state.parameters, state.slots)}
        if weights is not None:
            arrays["sample_weight"] = weights[order]
        scalars = known_of_steps(learning_rates, done=state.step, records=len(order), batch=batch_size, l2=l2)
        total, norms = bound.run(arrays, order, len(order), steps, scalars)
        state.step += steps
        return total, norms / steps if self._program.gradient_norm else None

    def predict(self, parameters: Layers, x: Any) -> Any:
        widths = widths_of(parameters)
        x = self._contiguous(x)
        check_prediction(parameters, x)
        output = np.empty((x.shape[0], widths[-1]), self._dtype)
        if x.shape[0]:
            # A power of two, so that a few sets of instruction streams serve any number of rows.
            rows = min(1 << (x.shape[0] - 1).bit_length(), _PREDICTED_ROWS)
            bound = self._bind(self._compiled.prediction, widths, rows)
            plain = map_layers(self._contiguous, parameters)
            arrays = {"x": x, "prediction": output, **arrays_by_name(plain)}
            for start in range(0, x.shape[0], rows):
                part = {**arrays, "x": x[start : start + rows], "prediction": output[start : start + rows]}
                count = len(part["x"])
                bound.run(part, None, count, 1, {"B": np.array([float(count)])})
        return output

    def workspace(self, batch_size: int) -> int:
        widths = next((widths for training, widths, _ in self._bound if training), None)
        task = self._compiled.step
        if widths is None or task is None:
            return 0  # not known before the first run
        sizes = task.sizes(widths, batch_size)
        return BoundStep.measure(task, self._compiled.kernels, sizes, self._choose(task, sizes, batch_size))

    # ---- sizes

    def _bind(self, task: ScheduledTask, widths: tuple[int, ...], batch: int) -> BoundStep:
        training = task.output is None
        key = (training, widths, batch)
        bound = self._bound.get(key)
        if bound is None:
            sizes = task.sizes(widths, batch)
            alike = [k for k in self._bound if k[0] == training]
            for old in alike if training else alike[: 1 - _KEPT_PREDICTIONS]:
                del self._bound[old]  # before the new one takes its memory
            bound = BoundStep(task, self._compiled.kernels, sizes, self._choose(task, sizes, batch))
            self._bound[key] = bound
            if training:
                self.plan = replace(self.plan, choices={**self._wished, **bound.choices.as_dict()})
        return bound

    def _choose(self, task: ScheduledTask, sizes: Mapping[str, int], batch: int) -> StepChoices:
        form = self._compiled.kernels.format
        widths = [sizes[str(d)] for d in task.widths]
        weights = sum(m * n for m, n in pairwise(widths))
        training = task.output is None
        kept = [b for b in task.schedule.buffers if b.kept]
        row_bytes = sum(-(-sizes[b.width.name] // form.panel) * pitch_of(sizes[b.width.name], form) for b in kept)
        narrower = 2 if form.bf16 else 1  # what products read
        footprint = StepFootprint(
            batch=batch,
            flops=(6.0 if training else 2.0) * weights * batch,
            row_bytes=row_bytes // narrower,
            widest_bytes=max(widths) * form.size,
            weight_bytes=weights * form.size * (2 if training else 1) // narrower,
            alone=not training,
        )
        return choose(footprint, form, caches(), cores(), self._wished)

    # ---- arrays

    def _contiguous(self, a: Any) -> Array:
        return np.ascontiguousarray(a, self._dtype)

    def _writable(self, a: Any) -> Array:
        fits = isinstance(a, np.ndarray) and a.dtype == self._dtype and a.flags.c_contiguous and a.flags.writeable
        return a if fits else np.array(a, self._dtype, order="C")
