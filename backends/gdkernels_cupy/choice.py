"""Which of the two engines runs a program: the persistent kernel where a network is narrow, CUDA graphs elsewhere."""

from __future__ import annotations

import logging
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State
from gdkernels.backend.arguments import widths_of
from gdkernels.backend.program import Program
from gdkernels.backend.verification import bound, continue_on_numpy, named_arrays, relative_error, start
from gdkernels.definition import activations, losses
from gdkernels.definition.network import Layer, Layers
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.lowering.steps import ScheduleError
from gdkernels_cupy.cuda.device import free_bytes
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.persistent.cuda import CudaLaunchDevice, properties_of
from gdkernels_cupy.persistent.executable import PLAN_KERNEL, PersistentExecutable, applies

__all__ = ["ChosenExecutable", "persistent_is_right"]

_log = logging.getLogger("gdkernels")

_MOST_RECORDS = 2**31 - 1  # which the persistent kernel numbers


class ChosenExecutable(Executable):
    """Decides when the widths are first seen; ``kernel`` among the plan's choices says what runs, or what has to.

    Raises
    ------
    TraceError, ScheduleError
        Where the program is not one that is compiled.
    """

    origin = "compiled"

    def __init__(self, program: Program, plan: Plan, number: int) -> None:
        self._program, self._wished, self._number = program, plan, number
        self._graphs = CudaGraphExecutable(program, plan, number)
        self._last: Executable = self._graphs
        self._by_widths: dict[tuple[int, ...], tuple[Executable, str]] = {}

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._last.plan

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
        # The persistent kernel keeps rounded inputs on the device: not those that do not fit there.
        widths = widths_of(state.parameters)
        self._last = self._graphs if is_on_host(x) or len(x) > _MOST_RECORDS else self._chosen(widths)[0]
        if isinstance(self._last, PersistentExecutable):
            need = self._last.bytes_for(widths, len(x), min(batch_size, len(order)), len(learning_rates))
            if need > _free_on(self._number):
                _log.info("CUDA graphs run this network: the persistent kernel needs %.2f GB more", need / 1e9)
                self._last = self._graphs
        return self._last.run(state, x, y, order, batch_size, learning_rates, sample_weight)

    def predict(self, parameters: Layers, x: Any) -> Any:
        return self._graphs.predict(parameters, x)

    def workspace(self, batch_size: int) -> int:
        return self._last.workspace(batch_size)

    def why(self, widths: tuple[int, ...]) -> str:
        """Return in words what runs networks of these widths, and why."""
        return self._chosen(widths)[1]

    def _chosen(self, widths: tuple[int, ...]) -> tuple[Executable, str]:
        if widths not in self._by_widths:
            try:
                persistent = self._persistent(widths)
                self._by_widths[widths] = persistent, "the persistent kernel runs it"
            except ScheduleError as reason:
                why = f"CUDA graphs run it, not the persistent kernel: {reason}"
                level = logging.WARNING if self._wished.choices.get("kernel") == PLAN_KERNEL else logging.INFO
                _log.log(level, "%s: %s", "-".join(map(str, widths)), why)
                self._by_widths[widths] = self._graphs, why
        return self._by_widths[widths]

    def _persistent(self, widths: tuple[int, ...]) -> PersistentExecutable:
        wished = self._wished.choices.get("kernel", PLAN_KERNEL)
        if wished != PLAN_KERNEL:
            raise ScheduleError(f"the plan asks for {wished}")
        reason = applies(self._program, widths, self._wished.precision, properties_of(self._number))
        reason = reason or persistent_is_right(self._number, self._wished.precision)
        if reason is not None:
            raise ScheduleError(reason)
        persistent = PersistentExecutable(self._program, self._wished, CudaLaunchDevice(self._number))
        persistent.bind(widths)
        return persistent


@cache
def persistent_is_right(number: int, precision: str) -> str | None:
    """Let the persistent kernel do a few small steps on the GPU of that number, and return what is wrong with them."""
    program = Program(
        (activations.relu, activations.tanh, activations.identity), objective=Objective(losses.sse), optimizer=SGD()
    )
    random = np.random.default_rng(0)
    widths, records, batch = (5, 24, 16, 3), 300, 130
    parameters = [Layer(_draw(random, (m, n)) / 2, _draw(random, (n,)) / 4) for m, n in pairwise(widths)]
    x, y = _draw(random, (records, widths[0])), _draw(random, (records, widths[-1]))
    order, rates = random.permutation(records), np.full(3, 0.05)
    wanted = start(program, parameters, lambda a: np.array(a, np.float64))
    own = start(program, parameters, lambda a: np.array(a, np.float32))
    continue_on_numpy(program, wanted, x, y, order, batch, rates)
    continue_on_numpy(program, own, x, y, order, batch, rates, precision)
    try:
        device = CudaLaunchDevice(number)
        found = start(program, parameters, lambda a: device.put(np.ascontiguousarray(a, np.float32)))
        executable = PersistentExecutable(program, Plan("cupy", f"cuda:{number}", precision), device)
        executable.run(found, device.put(x), device.put(y), order, batch, rates)
        arrays = dict(named_arrays(found, device.to_numpy))
    except Exception as error:  # whatever a device answers: CUDA graphs do the work then
        problem = f"it fails here ({type(error).__name__}: {error})"
        _log.warning("the persistent kernel is not used: %s", problem)
        return problem
    for (name, a64), (_, a) in zip(named_arrays(wanted), named_arrays(own), strict=True):
        off, allowed = relative_error(arrays[name], a64), bound(relative_error(a, a64), precision, 100)
        if not off <= allowed:
            problem = f"{name} is off by {off:.1e} after three steps, at most {allowed:.1e} is allowed"
            _log.warning("the persistent kernel is not used: %s", problem)
            return problem
    return None


def _free_on(number: int) -> int:
    import cupy

    with cupy.cuda.Device(number):
        return free_bytes()


def _draw(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return random.standard_normal(shape, dtype=np.float32)
