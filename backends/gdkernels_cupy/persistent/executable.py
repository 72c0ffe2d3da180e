"""A program for narrow networks as one persistent kernel: many steps a launch, everything on the chip within a step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State
from gdkernels.backend.arguments import arrays_by_name, check_prediction, check_run
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays, Slots
from gdkernels.errors import BackendError, ScheduleError
from gdkernels.graph.text import nodes_text
from gdkernels.lowering.scalars import ScalarTable, known_of_steps
from gdkernels.lowering.task import ScheduledTask
from gdkernels.randomness import KeyedOrder
from gdkernels.system.hashing import sha256
from gdkernels_cupy.cuda.keyed_order import order_words, ready_order
from gdkernels_cupy.persistent.fitting import PLAN_RECOMPUTES, PLAN_RELOADS, PLAN_SPILLED, fitting, tasks_of, unfit
from gdkernels_cupy.persistent.launch_device import LaunchDevice, LoadedKernels
from gdkernels_cupy.persistent.memory import KernelMemory
from gdkernels_cupy.persistent.shape import FORMATS, padded
from gdkernels_cupy.persistent.source import BARRIER_SECONDS, KernelSource
from gdkernels_cupy.persistent.trials import first_in_registers

__all__ = ["PLAN_KERNEL", "PersistentExecutable", "launched"]

_log = logging.getLogger("gdkernels")

# Plans stand in checkpoints and results: what they call this engine is a format.
PLAN_KERNEL = "narrow"

# A launch cannot be interrupted, and a display that the device drives stands still: the first one is short and timed.
_FIRST_STEPS, _MOST_STEPS, _GROWTH = 16, 1 << 14, 8
_LAUNCH_SECONDS = 0.2
_GAVE_UP = 1 << 30  # of a barrier's counter, which CTAs do not come to
_FEW_CTAS, _TILES = 2, 5  # of what is compared with the definition


@dataclass(frozen=True)
class MadeKernels:
    """What executables share whose programs differ in numbers alone: what was traced, and what was compiled of it."""

    step: ScheduledTask | None
    prediction: ScheduledTask
    bound: dict[tuple[int, ...], tuple[KernelSource, LoadedKernels]] = field(default_factory=dict)
    scalars: dict[tuple[int, ...], ScalarTable] = field(default_factory=dict)


class PersistentExecutable(Executable):
    """Whole runs in one launch of a kernel, or a few.

    Raises
    ------
    TraceError, ScheduleError
        Where the program is not one that this kernel runs; where its widths are not, `run` and `predict` raise.
    """

    origin = "compiled"
    takes_keyed_orders = True

    def __init__(
        self,
        program: Program,
        plan: Plan,
        device: LaunchDevice,
        made: MadeKernels | None = None,
    ) -> None:
        self.plan = plan
        self._program, self._device = program, device
        self._made = made or MadeKernels(*tasks_of(program))
        self._step, self._prediction = self._made.step, self._made.prediction
        self._wished_plan, self._wished = plan, dict(plan.choices)
        self._bound, self._scalars = self._made.bound, self._made.scalars
        self._last: KernelSource | None = None

    def with_program(self, program: Program) -> PersistentExecutable | None:
        if program.without_numbers != self._program.without_numbers:
            return None
        return PersistentExecutable(program, self._wished_plan, self._device, self._made)

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64] | KeyedOrder,
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        widths = self._program.widths
        check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, sample_weight)
        source, kernels = self.bind(widths)
        step = source.step
        assert step is not None, "what has an optimizer has a step"
        device = self._device
        steps = len(learning_rates)
        batch = min(batch_size, len(order))
        ctas = self._ctas(source, kernels, batch)

        # The steps move copies: what ends a run early, an interrupt or a failure, has then changed nothing.
        parameters = {name: device.copy(a) for name, a in state.parameters.items()}
        slots = {name: tuple(map(device.copy, moved)) for name, moved in state.slots.items()}
        x, y = device.contiguous(x), device.contiguous(y)
        share = None if sample_weight is None else device.contiguous(sample_weight)
        arrays = self._addresses(source, parameters, slots)
        weights, image = self._rounded(source, kernels, arrays, x)
        scalars = self._put_scalars(step, state.step, len(order), batch, learning_rates)
        rows = self._put_order(source, kernels, order)
        partial = device.zeros(ctas * step.partial.size, "float32")
        gradients = device.zeros(step.gradients, "float32")
        totals = device.zeros(ctas * sum(map(len, step.totals)), "float32")
        numbers = len(step.results)
        results = device.zeros(steps * numbers, "float32")
        # What a launch needs is there before the first of them: memory must not run out when parameters have moved.
        barriers = device.zeros(-(-steps // _FIRST_STEPS), "uint32")

        def launch(number: int, start: int, count: int) -> None:
            arguments = (
                arrays, weights, image, x, y, share, rows[start * batch :], scalars[start * len(step.scalars) :],
                partial, gradients, totals, results[start * numbers :], barriers[number:],
                len(order) - start * batch, batch, count,
            )  # fmt: skip
            kernels.launch("train", ctas, source.shared_bytes, arguments, together=True)

        launches = launched(device, steps, launch)
        self._check_barriers(device.to_numpy(barriers)[:launches])
        state.parameters, state.slots = parameters, slots
        self._last = source
        state.step += steps
        self.plan = self._plan_of(source, ctas)
        found = device.to_numpy(results).astype(np.float64).reshape(steps, numbers)
        norm = math.fsum(found[:, 1]) / steps if self._program.gradient_norm else None
        return math.fsum(found[:, 0]), norm

    def _put_scalars(
        self, step: KernelMemory, done: int, records: int, batch: int, learning_rates: npt.NDArray[np.float64]
    ) -> Any:
        """Return the numbers that the host computes for each step, on the device."""
        widths = self._program.widths
        known: dict[str, Any] = {name: float(n) for name, n in self._prediction.sizes.items()}
        known |= known_of_steps(learning_rates, done=done, records=records, batch=batch, numbers=self._program.numbers)
        if widths not in self._scalars:
            self._scalars[widths] = ScalarTable(step.scalars)
        values = self._scalars[widths].values(known, len(learning_rates))
        return self._device.put(values.astype(np.float32).reshape(-1))

    def _check_barriers(self, barriers: npt.NDArray[Any]) -> None:
        """Raise an error if the CTAs of a launch have given up waiting for each other."""
        if (barriers >= _GAVE_UP).any():
            raise BackendError(
                f"the CTAs of a persistent kernel waited for each other on {self.plan.device} for longer than "
                f"{BARRIER_SECONDS} s and gave up; nothing of this run is kept. Something stops them: a debugger, or "
                "another process on the device. Train with CUDA graphs by a plan whose choice 'kernel' is 'graphs'"
            )

    def _plan_of(self, source: KernelSource, ctas: int) -> Plan:
        """Return the plan with what was chosen here and can change bits."""
        choices = {
            **self._wished,
            "kernel": PLAN_KERNEL,
            "warps": source.warps,
            "at_once": source.at_once,
            PLAN_SPILLED: source.spilled_gradients,
            PLAN_RECOMPUTES: source.recomputes,
            PLAN_RELOADS: source.reloads,
            "ctas": ctas,
        }
        return replace(self.plan, choices=choices)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        check_prediction(self._program, parameters, x)
        widths = self._program.widths
        source, kernels = self.bind(widths)
        device, records = self._device, int(x.shape[0])
        output = device.zeros(records * self._program.outputs, "float32")
        if records:
            x = device.contiguous(x)
            plain = {name: device.contiguous(a) for name, a in parameters.items()}
            arrays = self._addresses(source, plain)
            weights, image = self._rounded(source, kernels, arrays, x)
            ctas = min(kernels.resident(), -(-records // (16 * source.warps)))
            arguments = (arrays, weights, image, x, output, records)
            kernels.launch("predict", ctas, source.shared_bytes, arguments, together=False)
        return output.reshape(records, self._program.outputs)

    def bytes_for(self, widths: tuple[int, ...], records: int, batch_size: int, steps: int) -> int:
        """Return the bytes that a run takes: the inputs rounded, the numbers of its steps, and what a step needs."""
        source, kernels = self.bind(widths)
        assert source.step is not None
        image = records * padded(widths[0]) * FORMATS[self.plan.precision].size
        numbers = len(source.step.scalars) + len(source.step.results)
        return image + 4 * (records + steps * numbers) + self._bytes_of_step(source, kernels, batch_size)

    def workspace(self, batch_size: int) -> int:
        sources = [(source, kernels) for source, kernels in self._bound.values() if source.step is not None]
        if not sources:
            return 0  # not known before the first run
        return self._bytes_of_step(*sources[-1], batch_size)

    def _bytes_of_step(self, source: KernelSource, kernels: LoadedKernels, batch_size: int) -> int:
        assert source.step is not None
        floats = source.step.partial.size + sum(map(len, source.step.totals))
        return 4 * (self._ctas(source, kernels, batch_size) * floats + source.step.gradients + source.step.weights.size)

    # ---- whether it is right here

    def to_check(self, widths: tuple[int, ...]) -> tuple[tuple[PersistentExecutable, ...], int]:
        """Return what is compared with the definition before this is believed, and how many records a step then has.

        Few CTAs with many tiles fetch inputs ahead, and their sums have an order; those of a run meet in the barrier.
        """
        source, kernels = self.bind(widths)
        choices = {"warps": source.warps, "at_once": source.at_once, "ctas": min(_FEW_CTAS, kernels.resident())}
        choices |= {PLAN_SPILLED: source.spilled_gradients, PLAN_RECOMPUTES: source.recomputes}
        choices[PLAN_RELOADS] = source.reloads
        plan = replace(self.plan, choices=choices)
        few = PersistentExecutable(self._program, plan, self._device, self._made)
        return (few, self), _TILES * 16 * source.warps

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what the results of the last run depend on."""
        source = self._last
        assert source is not None, "nothing has run yet"
        assert source.step is not None, "a run has steps"
        text = sha256(source.text.encode()).hexdigest()
        return ["persistent", self._device.describe(), text, nodes_text(source.step.scalars)]

    # ---- what runs

    def bind(self, widths: tuple[int, ...]) -> tuple[KernelSource, LoadedKernels]:
        """Return what runs networks of these widths: of what fits, the first that nearly keeps to registers.

        Raises
        ------
        ScheduleError
            Where nothing fits, or everything spills more: where it does, among the products of a tile or once a step,
            the device does not say.
        """
        if widths not in self._bound:
            properties = self._device.properties
            reason = unfit(widths, self.plan.precision, properties)
            if reason is not None:
                raise ScheduleError(reason)
            tasks, shared = (self._step, self._prediction), properties.shared_bytes
            sources = fitting(*tasks, self.plan.precision, shared, self._wished)
            self._bound[widths] = _, kernels = first_in_registers(sources, self._device)
            if "ctas" in self._wished and self._wished["ctas"] > kernels.resident():
                _log.warning(
                    "the plan's %d CTAs are not resident on %s at the same time, only %d are: bits may differ",
                    self._wished["ctas"],
                    self.plan.device,
                    kernels.resident(),
                )
        return self._bound[widths]

    def _ctas(self, source: KernelSource, kernels: LoadedKernels, batch: int) -> int:
        """Return how many CTAs have something to do: a tile, or a share of the update."""
        assert source.step is not None
        rows = 16 * source.warps
        useful = max(-(-batch // rows), -(-source.step.partial.size // (2 * rows)))
        return min(kernels.resident(), int(self._wished.get("ctas", useful)))

    def _addresses(self, source: KernelSource, parameters: Arrays, slots: Slots | None = None) -> Any:
        arrays = arrays_by_name(parameters, slots)
        found = [self._device.address(arrays[n]) if n in arrays else 0 for n in source.order]
        return self._device.put(np.asarray(found, np.uint64))

    def _put_order(
        self, source: KernelSource, kernels: LoadedKernels, order: npt.NDArray[np.int64] | KeyedOrder
    ) -> Any:
        """Return the numbers of an order on the device; those of a keyed one are computed there."""
        order = ready_order(order, np.int32)
        if not isinstance(order, KeyedOrder):
            return self._device.put(order)
        there, words = self._device.zeros(len(order), "int32"), self._device.put(order_words(order))
        ctas = min(4 * kernels.resident(), -(-len(order) // (32 * source.warps)))
        kernels.launch("fill_order", ctas, 0, (words, order.first, len(order), there), together=False)
        return there

    def _rounded(self, source: KernelSource, kernels: LoadedKernels, arrays: Any, x: Any) -> tuple[Any, Any]:
        """Return the weights and the inputs as products read them."""
        kernel, form = source.step or source.predict, FORMATS[self.plan.precision]
        records, columns = int(x.shape[0]), padded(int(x.shape[1]))
        dtype = "uint16" if form.size == 2 else "float32"
        weights = self._device.zeros(kernel.weights.size, dtype)
        image = self._device.zeros(records * columns, dtype)
        rows = 32 * source.warps
        ctas = min(4 * kernels.resident(), -(-records * columns // rows))
        kernels.launch("round_weights", -(-kernel.weights.size // rows), 0, (arrays, weights), together=False)
        kernels.launch("round_inputs", ctas, 0, (x, image, records), together=False)
        return weights, image


def launched(device: LaunchDevice, steps: int, launch: Callable[[int, int, int], None]) -> int:
    """Launch a kernel until all steps are done, for about `_LAUNCH_SECONDS` each time; return how often.

    `launch` takes the number of the launch, its first step, and how many it does: however they are shared out, the bits
    are the same.
    """
    number = start = 0
    count = _FIRST_STEPS
    while start < steps:
        count = min(count, steps - start)
        began = perf_counter()
        launch(number, start, count)
        number, start = number + 1, start + count
        if start < steps:
            device.wait()
            fitting = int(count * _LAUNCH_SECONDS / max(perf_counter() - began, 1e-9))
            count = max(_FIRST_STEPS, min(fitting, _GROWTH * count, _MOST_STEPS))
    return number
