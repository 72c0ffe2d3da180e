"""What models of one structure share: their traced step, its kernel on a device, and the numbers of a step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.errors import ScheduleError
from gdkernels.lowering.scalars import ScalarTable, known_of_steps
from gdkernels.lowering.task import schedule_training
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from gdkernels_cupy.many.source import FEW_RECORDS, ManySource, many_sources
from gdkernels_cupy.persistent.fitting import unfit
from gdkernels_cupy.persistent.launch_device import LaunchDevice, LoadedKernels
from gdkernels_cupy.persistent.trials import first_in_registers

__all__ = ["ManyCode", "Numbers"]

Numbers = npt.NDArray[np.float64]


class ManyCode:
    """The code of models that differ in numbers alone.

    Parameters
    ----------
    program
        That of one of them.
    wished
        The choices of a plan to repeat.

    Raises
    ------
    TraceError, ScheduleError
        Where no CTA can train such a model.
    """

    def __init__(self, program: Program, precision: str, wished: Mapping[str, Any], device: LaunchDevice) -> None:
        if program.draws:
            raise ScheduleError("its blocks draw random numbers")
        reason = unfit(program.widths, precision, device.properties)
        if reason is not None:
            raise ScheduleError(reason)
        self._same = program.without_numbers
        self.precision, self._wished, self._device = precision, dict(wished), device
        self._step = schedule_training(program, CUDA_FUNCTIONS)
        self._step.refuse_moves("it")
        self._step.refuse_values("it")
        self._bound: dict[bool, tuple[ManySource, LoadedKernels]] = {}
        self._scalars: ScalarTable | None = None
        self._program, self._repeating = program, dict[str, ManyCode]()
        next(many_sources(self._step, precision, device.properties.shared_bytes, self._wished, few=True))

    def serves(self, program: Program) -> bool:
        """Return whether a program differs from this one in numbers alone."""
        return program.without_numbers == self._same

    def repeating(self, choices: Mapping[str, Any]) -> ManyCode:
        """Return the code of the same models for a plan with these choices; made once."""
        key = json.dumps(dict(choices))
        if key not in self._repeating:
            self._repeating[key] = ManyCode(self._program, self.precision, choices, self._device)
        return self._repeating[key]

    def bind(self, batch: int) -> tuple[ManySource, LoadedKernels]:
        """Return the kernel for batches of this size: of what fits, the first that nearly keeps to registers.

        Raises
        ------
        ScheduleError
            Where nothing fits, or everything spills more.
        """
        few = batch <= FEW_RECORDS
        if few not in self._bound:
            room = self._device.properties.shared_bytes
            sources = many_sources(self._step, self.precision, room, self._wished, few=few)
            self._bound[few] = first_in_registers(sources, self._device)
        return self._bound[few]

    def scalars(self, source: ManySource, program: Program, done: int, rates: Numbers, records: int, batch: int) -> Any:
        """Return the numbers of all steps of a model [steps, numbers], in the kernel's order.

        Parameters
        ----------
        done
            The steps before these.
        rates
            Those of each step of each epoch, [epochs, steps].
        """
        if self._scalars is None:
            self._scalars = ScalarTable(source.step.scalars)
        known: dict[str, Any] = {name: float(n) for name, n in self._step.sizes.items()}
        numbers = program.numbers
        known |= known_of_steps(rates.reshape(-1), done=done, records=records, batch=batch, numbers=numbers)
        return self._scalars.values(known, rates.size).astype(np.float32)
