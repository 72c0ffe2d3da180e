"""A program of a model that trains as one of a batch, alone or among others: by the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Job, Plan, State
from gdkernels.backend.arguments import check_epochs
from gdkernels.backend.executable import EpochsExecutable
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels_cupy.batches.code import BatchCode
from gdkernels_cupy.batches.kept_sessions import kept_sessions
from gdkernels_cupy.batches.model import ModelOfBatch, bytes_beside
from gdkernels_cupy.cuda.device import device
from gdkernels_cupy.many.groups import PLAN_MANY, Found

__all__ = ["PLAN_BATCHES", "BatchedExecutable"]

PLAN_BATCHES = "batches"  # what plans call it, as their kernel: a format


class BatchedExecutable(EpochsExecutable):
    """Whole runs of a model in a batch with others of its structure, batch size and number of records.

    Parameters
    ----------
    predictor
        Predicts; batches only train.
    code
        That of a model that differs in numbers alone; None makes one.

    Attributes
    ----------
    beside
        The most models that a run of it had, itself included; 0 before the first.

    Raises
    ------
    TraceError, ScheduleError
        Where the program cannot be compiled.
    """

    origin = "compiled"

    def __init__(
        self, program: Program, plan: Plan, number: int, predictor: Executable, code: BatchCode | None = None
    ) -> None:
        self.plan, self.program = plan, program
        self._wished, self._number, self._predictor = plan, number, predictor
        self.code = code or BatchCode(program, plan, number)
        self.beside, self._sizes = 0, (0, 0)

    def with_program(self, program: Program) -> BatchedExecutable | None:
        if not self.code.serves(program):
            return None
        return BatchedExecutable(program, self._wished, self._number, self._predictor, self.code)

    # ---- jobs together

    def kernel_of(self, job: Job) -> tuple[int, ...]:
        """Return what jobs have in common that one call can do."""
        return id(self.code), *_sizes_of(job), int(np.shape(job.orders)[1]), int(self.program.draws)

    def bytes_for(self, job: Job) -> tuple[int, int]:
        """Return the bytes of the device that a job takes besides its data, and none that it shares."""
        layout = self.code.layout(*_sizes_of(job))
        return layout.apart + bytes_beside(job, layout, self.code.dtype), 0

    def held(self) -> int:
        """Return the bytes that calls before have left in use for the next one."""
        return kept_sessions(self._number).bytes

    def together(self, jobs: Sequence[tuple[BatchedExecutable, Job]]) -> list[Found]:
        """Do jobs of executables that share this one's code, and have as many records and epochs, in one batch.

        Raises
        ------
        InputError
            For arguments that do not fit, before anything runs.
        DeviceMemoryError
            Where they do not fit at a time; nothing has changed then.
        """
        for own, job in jobs:
            given = job.x, job.y, job.orders, job.batch_size, job.learning_rates, job.sample_weight
            check_epochs(own.program, job.state.parameters, *given)
        import cupy

        began, done = perf_counter(), 0
        with device(self._number).lock, cupy.cuda.Device(self._number):
            models = [ModelOfBatch(own.program, job, self._number, self.code.dtype) for own, job in jobs]
            while left := [model for model in models if model.epochs > done]:
                count = 1 if self.program.draws else min(model.epochs for model in left) - done
                self._do(left, slice(done, done + count))
                done += count
        seconds = perf_counter() - began
        for (own, job), model in zip(jobs, models, strict=True):
            model.leave()
            job.seconds = seconds
            own.note(len(jobs), _sizes_of(job))
        return [model.found for model in models]

    def _do(self, models: Sequence[ModelOfBatch], epochs: slice) -> None:
        """Do some epochs of models that all have them."""
        batch, rest = _sizes_of(models[0].job)
        layout = self.code.layout(batch, rest)
        session = self.code.session(batch, rest, len(models))
        names = layout.full.op_list.parameters
        sums = session.run([model.run(epochs, names, partial(self.code.table, layout=layout)) for model in models])
        for model, of_epochs in zip(models, sums, strict=True):
            model.take(of_epochs)

    def note(self, beside: int, sizes: tuple[int, int]) -> None:
        """Let the plan say what has run, and remember how many models that were, and their batches."""
        self.beside, self._sizes = max(beside, self.beside), sizes
        choices = {"kernel": PLAN_BATCHES, "epilogues": self.code.epilogues, "algorithms": dict(self.code.algorithms)}
        self.plan = replace(self.plan, choices={**self.plan.choices, PLAN_MANY: True, **choices})

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what the results of the last run depend on."""
        assert self.beside, "nothing has run yet"
        return self.code.identity(*self._sizes)

    # ---- the contract

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> Found:
        orders = np.stack([np.asarray(order) for order in orders])
        return self.together([(self, Job(self, state, x, y, orders, batch_size, learning_rates, sample_weight))])[0]

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._predictor.predict(parameters, x)


def _sizes_of(job: Job) -> tuple[int, int]:
    """Return the records of a step, and of the last one of an epoch if it has fewer, or 0."""
    records = int(np.shape(job.orders)[1])
    batch = min(job.batch_size, records)
    return batch, records % batch
