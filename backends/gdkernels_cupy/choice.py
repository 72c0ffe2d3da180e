"""The choice of an engine for a program: the persistent kernel for narrow networks, CUDA graphs for others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State
from gdkernels.backend.arguments import check_run
from gdkernels.backend.program import Program
from gdkernels.checking.check import Call, SelfCheck
from gdkernels.checking.mode import check_mode
from gdkernels.checking.ways import Way, Ways
from gdkernels.definition.network import Arrays
from gdkernels.errors import BackendError, ScheduleError
from gdkernels.randomness import KeyedOrder
from gdkernels.system.cached_property import cached_property
from gdkernels_cupy.cuda.device import check_device, free_bytes
from gdkernels_cupy.cuda.errors import DeviceFailedError, DeviceMemoryError, as_backend_errors
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.persistent.cuda import CudaLaunchDevice, properties_of
from gdkernels_cupy.persistent.executable import PLAN_KERNEL, PersistentExecutable
from gdkernels_cupy.persistent.fitting import applies

__all__ = ["ChosenExecutable", "persistent_runs", "ways_of"]

_log = logging.getLogger("gdkernels")

_MOST_RECORDS = 2**31 - 1  # which the persistent kernel numbers
_DEFINITION = "definition"  # what plans call it

# Environment variables by which NVIDIA's libraries multiply otherwise.
_CHANGE_PRODUCTS = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATION_STRATEGY")


class ChosenExecutable(Executable):
    """Decides when it first sees the widths; ``kernel`` among the plan's choices names the way that runs, or has to.

    A way is used if two steps of it agree with those of the definition on this device. If not, the next one is tried:
    the persistent kernel, CUDA graphs, CUDA graphs whose products do nothing else, the definition on CuPy.

    Raises
    ------
    TraceError, ScheduleError
        Where the program is not one that is compiled.
    """

    checks_itself = takes_keyed_orders = True

    def __init__(self, program: Program, plan: Plan, number: int, backend: Backend) -> None:
        self._program, self._wished, self._number, self._backend = program, plan, number, backend
        self._graphs = CudaGraphExecutable(program, plan, number)
        self._last: Executable = self._graphs
        self._by_widths: dict[tuple[int, ...], tuple[Executable, str]] = {}
        self._search = ways_of(backend, program, plan)

    @property
    def passed_over(self) -> dict[str, str]:
        """The reasons against the ways that are not used, by their names."""
        return self._search.passed_over

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self._last.origin

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._last.plan

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
        with as_backend_errors(self._device):
            call = Call(state, x, y, order, min(batch_size, len(order)), learning_rates, sample_weight)
            if check_mode() != "never":
                arguments = (state.parameters, x, y, order, batch_size, learning_rates, sample_weight)
                check_run(self._program, *arguments)
                check_device(x.device.id, self._number)
                check_device(y.device.id, self._number)
            self._last = self._believed(call)
            given: Any = order if self._last.takes_keyed_orders else np.asarray(order)
            try:
                return self._last.run(state, x, y, given, batch_size, learning_rates, sample_weight)
            except DeviceMemoryError as error:
                if not isinstance(self._last, PersistentExecutable):
                    raise
                _log.warning("CUDA graphs run this epoch: %s", error)
            self._last = self._graphs
            return self._last.run(state, x, y, given, batch_size, learning_rates, sample_weight)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        with as_backend_errors(self._device):
            if check_mode() == "never" or not x.shape[0]:
                return self._graphs.predict(parameters, x)
            return self._search.prediction(self._compiled_ways(), parameters, x)

    def workspace(self, batch_size: int) -> int:
        return self._last.workspace(batch_size)

    def why(self, widths: tuple[int, ...]) -> str:
        """Return in words what runs networks of these widths, and why."""
        return self._chosen(widths)[1]

    # ---- ways, the fastest first

    @property
    def _device(self) -> str:
        return f"cuda:{self._number}"

    def _believed(self, call: Call) -> Executable:
        """Return the first way that does what the definition does.

        Raises
        ------
        BackendError
            Where none does.
        """
        if self._wished.choices.get("kernel") == _DEFINITION:
            return self._search.definition([])
        return self._search.believed(self._ways(self._program.widths, call), call, is_on_host(call.x))

    def _ways(self, widths: tuple[int, ...], call: Call) -> Iterator[Way]:
        # The persistent kernel keeps rounded inputs on the device: not those that do not fit there.
        fits = not is_on_host(call.x) and len(call.x) <= _MOST_RECORDS
        persistent = self._chosen(widths)[0] if fits else self._graphs
        if isinstance(persistent, PersistentExecutable):
            need = persistent.bytes_for(widths, len(call.x), call.batch, len(call.rates))
            if need <= _free_on(self._number):
                checked, batch = persistent.to_check(widths)
                yield Way("the persistent kernel", persistent, checked, batch, checked[0].identity)
            else:
                _log.info("CUDA graphs run this network: the persistent kernel needs %.2f GB more", need / 1e9)
        yield from self._compiled_ways()

    def _compiled_ways(self) -> Iterator[Way]:
        yield _by_graphs("the engine of CUDA graphs", self._graphs)
        if self._graphs.plan.choices.get("epilogues") != ():
            yield _by_graphs("the engine of CUDA graphs without epilogues", self._plain_graphs)

    @cached_property
    def _plain_graphs(self) -> CudaGraphExecutable:
        choices = {**self._wished.choices, "kernel": "graphs", "epilogues": ()}
        return CudaGraphExecutable(self._program, replace(self._wished, choices=choices), self._number)

    def _chosen(self, widths: tuple[int, ...]) -> tuple[Executable, str]:
        if widths not in self._by_widths:
            try:
                persistent = self._persistent(widths)
                self._by_widths[widths] = persistent, "the persistent kernel runs it"
            except (DeviceFailedError, DeviceMemoryError):
                raise
            except (ScheduleError, BackendError) as reason:
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
        if reason is not None:
            raise ScheduleError(reason)
        with as_backend_errors(self._device):
            persistent = PersistentExecutable(self._program, self._wished, CudaLaunchDevice(self._number))
            persistent.bind(widths)
        return persistent


def ways_of(backend: Backend, program: Program, plan: Plan) -> Ways:
    """Return the search for a way that computes a program rightly, of which the definition is the last."""
    check = SelfCheck(backend, program, plan, short=(DeviceMemoryError,), variables=_CHANGE_PRODUCTS)
    fatal = DeviceFailedError, DeviceMemoryError
    return Ways(check, backend, program, plan, last={"kernel": _DEFINITION}, fatal=fatal)


def persistent_runs(program: Program, plan: Plan, number: int) -> bool:
    """Return whether the persistent kernel is for such programs; whether it fits is another question."""
    wished = plan.choices.get("kernel", PLAN_KERNEL) == PLAN_KERNEL
    return wished and applies(program, program.widths, plan.precision, properties_of(number)) is None


def _by_graphs(name: str, graphs: CudaGraphExecutable) -> Way:
    return Way(name, graphs, (graphs,), identity=graphs.identity)


def _free_on(number: int) -> int:
    import cupy

    with cupy.cuda.Device(number):
        return free_bytes()
