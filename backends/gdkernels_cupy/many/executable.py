"""A program of a model that trains on one CTA, alone or among others: with the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Job, Plan, State
from gdkernels.backend.arguments import check_epochs
from gdkernels.backend.executable import EpochsExecutable
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.graph.text import nodes_text
from gdkernels.system.hashing import sha256
from gdkernels_cupy.many.code import ManyCode
from gdkernels_cupy.many.groups import PLAN_MANY
from gdkernels_cupy.many.launch import batch_of, bytes_of_job, train_together
from gdkernels_cupy.many.source import ManySource
from gdkernels_cupy.persistent.executable import PLAN_KERNEL
from gdkernels_cupy.persistent.fitting import PLAN_RECOMPUTES, PLAN_RELOADS, PLAN_SPILLED
from gdkernels_cupy.persistent.launch_device import LaunchDevice
from gdkernels_cupy.persistent.shape import FORMATS, padded

__all__ = ["OwnCtaExecutable"]

_TILES = 5  # of what is compared with the definition


class OwnCtaExecutable(EpochsExecutable):
    """Whole runs of a model on one CTA, beside as many others as there are.

    Parameters
    ----------
    predictor
        Predicts; the kernel only trains.
    code
        That of a model that differs in numbers alone; None makes one.

    Raises
    ------
    TraceError, ScheduleError
        Where no CTA can train such a model.
    """

    origin = "compiled"

    def __init__(
        self, program: Program, plan: Plan, device: LaunchDevice, predictor: Executable, code: ManyCode | None = None
    ) -> None:
        self.plan, self.program = plan, program
        self._device, self._predictor = device, predictor
        self._wished_plan, self._wished = plan, dict(plan.choices)
        self.code = code or ManyCode(program, plan.precision, plan.choices, device)
        self._last: ManySource | None = None

    def with_program(self, program: Program) -> OwnCtaExecutable | None:
        if not self.code.serves(program):
            return None
        return OwnCtaExecutable(program, self._wished_plan, self._device, self._predictor, self.code)

    def to_check(self, batch: int) -> tuple[tuple[OwnCtaExecutable, ...], int]:
        """Return what is compared with the definition before this is believed, and how many records a step then has.

        Many tiles fetch inputs ahead; the kernel is that of batches as large as `batch`.
        """
        source, _ = self.code.bind(batch)
        plan = replace(self._wished_plan, choices={**self._wished, **_choices(source)})
        code = self.code.repeating(plan.choices)
        return (OwnCtaExecutable(self.program, plan, self._device, self._predictor, code),), _TILES * 16 * source.warps

    def kernel_of(self, job: Job) -> tuple[int, int]:
        """Return what jobs have in common that one launch can do."""
        return id(self.code), id(self.code.bind(batch_of(job))[0])

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> list[tuple[float, float | None]]:
        return self.together([(self, Job(self, state, x, y, orders, batch_size, learning_rates, sample_weight))])[0]

    def together(self, jobs: Sequence[tuple[OwnCtaExecutable, Job]]) -> list[list[tuple[float, float | None]]]:
        """Do jobs of executables that share this one's kernel in one launch, or a few.

        Raises
        ------
        InputError
            For arguments that do not fit, before anything runs.
        """
        for own, job in jobs:
            check_epochs(
                own.program, job.state.parameters, job.x, job.y, job.orders, job.batch_size, job.learning_rates,
                job.sample_weight,
            )  # fmt: skip
        began = perf_counter()
        found = train_together(self.code, self._device, [(own.program, job) for own, job in jobs])
        seconds = perf_counter() - began
        for own, job in jobs:
            job.seconds = seconds
            own.note(self.code.bind(batch_of(job))[0])
        return found

    def note(self, source: ManySource) -> None:
        """Let the plan say what has run."""
        self._last = source
        choices = {**self._wished, PLAN_MANY: True, "kernel": PLAN_KERNEL, **_choices(source), "ctas": 1}
        self.plan = replace(self.plan, choices=choices)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._predictor.predict(parameters, x)

    def bytes_for(self, job: Job) -> tuple[int, int]:
        """Return the bytes of the device that a job takes besides its data, and those of the image of its inputs."""
        source, _ = self.code.bind(batch_of(job))
        image = int(job.x.shape[0]) * padded(int(job.x.shape[1])) * FORMATS[self.plan.precision].size
        return bytes_of_job(source, job), image

    def held(self) -> int:
        """Return 0: nothing is left in use between launches."""
        return 0

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what the results of the last run depend on."""
        assert self._last is not None, "nothing has run yet"
        text = sha256(self._last.text.encode()).hexdigest()
        return ["one CTA a model", self._device.describe(), text, nodes_text(self._last.step.scalars)]


def _choices(source: ManySource) -> dict[str, Any]:
    return {
        "warps": source.warps,
        "at_once": source.at_once,
        PLAN_SPILLED: source.spilled_gradients,
        PLAN_RECOMPUTES: source.recomputes,
        PLAN_RELOADS: source.reloads,
    }
