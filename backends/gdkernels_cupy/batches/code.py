"""What models of one structure share: their traced step, its layouts, and the sessions that run them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Plan, storage_dtype
from gdkernels.backend.program import Program
from gdkernels.graph.text import nodes_text
from gdkernels.lowering.scalars import ScalarTable, known_of_steps
from gdkernels.lowering.task import schedule_training
from gdkernels.system.hashing import sha256
from gdkernels_cupy.batches.kept_sessions import kept_sessions
from gdkernels_cupy.batches.kernels import models_text
from gdkernels_cupy.batches.layout import BatchLayout, layout_of
from gdkernels_cupy.batches.session import BatchSession, product_key
from gdkernels_cupy.cuda.device import describe, device
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.graphs.operations import MatrixProduct
from gdkernels_cupy.graphs.probe import trusted_epilogues
from gdkernels_cupy.graphs.products import UnsupportedProductError
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from gdkernels_cupy.graphs.step_text import step_text

__all__ = ["BatchCode"]

# What all models of a call would have to share: the factors of an update are a model's own.
_OF_ONE_MODEL = frozenset({"update"})


class BatchCode:
    """The code of models that differ in numbers alone, and the memory in which they train.

    Parameters
    ----------
    program
        That of one of them.
    plan
        Its choices say which epilogues and algorithms to repeat.

    Attributes
    ----------
    algorithms
        Those of products, by what they were chosen for.
    epilogues
        What products take over, less what was found to have no algorithm.

    Raises
    ------
    TraceError, ScheduleError
        Where the program cannot be compiled.
    """

    def __init__(self, program: Program, plan: Plan, number: int) -> None:
        self._same, self._precision, self._number = program.without_numbers, plan.precision, number
        self.dtype = np.dtype(storage_dtype(plan.precision))
        self._task = schedule_training(program, CUDA_FUNCTIONS)
        self._task.refuse_row_products("it")
        self._wished = plan.choices.get("epilogues")
        self._refused: frozenset[str] = frozenset()
        self.algorithms: dict[str, str] = dict(plan.choices.get("algorithms", {}))
        self._layouts: dict[tuple[int, int, tuple[str, ...]], BatchLayout] = {}
        self._scalars: ScalarTable | None = None

    def serves(self, program: Program) -> bool:
        """Return whether a program differs from this one in numbers alone."""
        return program.without_numbers == self._same

    @property
    def epilogues(self) -> tuple[str, ...]:
        trusted = trusted_epilogues(self._number, self._precision)
        found = trusted if self._wished is None else tuple(e for e in self._wished if e in trusted)
        return tuple(e for e in found if e not in _OF_ONE_MODEL | self._refused)

    def layout(self, batch: int, rest: int) -> BatchLayout:
        """Return the layout for batches of so many records, and so many in the last one of an epoch if not 0."""
        key = batch, rest, self.epilogues
        if key not in self._layouts:
            self._layouts[key] = layout_of(self._task, self._precision, *key)
        return self._layouts[key]

    def session(self, batch: int, rest: int, models: int) -> BatchSession:
        """Return what runs so many models at once.

        One for more models stays while a quarter of it is idle at most: to capture its graphs anew takes as long as
        many steps.

        Raises
        ------
        DeviceMemoryError
            Where they do not fit.
        UnsupportedProductError
            Where cuBLAS has no algorithm for a product, whatever it leaves to kernels.
        """
        kept = kept_sessions(self._number)
        session = kept.take(self, (batch, rest))
        if session is None or not models <= session.models <= max(models, 4 * models // 3):
            session = None  # its memory is for the new one
            kept.make_room(models * self.layout(batch, rest).apart)
            with suppress(DeviceMemoryError):  # free memory may be in pieces
                session = self._made(batch, rest, models)
            if session is None:
                kept.release()
                session = self._made(batch, rest, models)
        kept.keep(self, (batch, rest), session)
        return session

    def _made(self, batch: int, rest: int, models: int) -> BatchSession:
        gpu = device(self._number)
        while True:
            layout = self.layout(batch, rest)
            try:
                with gpu.working():  # products are tried
                    return BatchSession(gpu, layout, self._precision, models, self.algorithms)
            except UnsupportedProductError as error:
                if error.kind not in self.epilogues:
                    raise
                self._refused |= {error.kind}
                kept_sessions(self._number).forget(self)  # all that run a plan do the same

    def table(
        self, program: Program, layout: BatchLayout, rates: npt.NDArray[np.float64], done: int, records: int, batch: int
    ) -> npt.NDArray[np.float64]:
        """Return zero, one, and the numbers of each step of a model that the host knows.

        Parameters
        ----------
        rates
            Those of each step of each epoch, [epochs, steps].
        done
            The steps before these.
        """
        if self._scalars is None:
            self._scalars = ScalarTable(layout.full.op_list.scalars)
        sizes = {name: float(n) for name, n in self._task.sizes.items()}
        numbers = program.numbers
        known = known_of_steps(rates.reshape(-1), done=done, records=records, batch=batch, numbers=numbers)
        found = self._scalars.values({**sizes, **known}, rates.size)
        return np.concatenate([np.broadcast_to([0.0, 1.0], (rates.size, 2)), found], axis=1)

    def identity(self, batch: int, rest: int) -> list[Any]:
        """Return what JSON can hold, and what results depend on."""
        layout = self.layout(batch, rest)
        texts = [step_text(step.op_list.operations) for step in layout.steps]
        kernels = sha256(models_text(layout.lists).encode()).hexdigest()
        scalars = nodes_text(layout.full.op_list.scalars)
        launches = [launch for step in layout.steps for launch in step.launches]
        products = sorted({product_key(launch) for launch in launches if isinstance(launch, MatrixProduct)})
        algorithms = {key: self.algorithms[key] for key in products}
        return ["batches", describe(self._number), texts, kernels, scalars, algorithms]
