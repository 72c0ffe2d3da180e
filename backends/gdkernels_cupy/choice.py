"""The choice of an engine for a program: the persistent kernel for narrow networks, CUDA graphs for others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Job, Plan, State
from gdkernels.backend.arguments import check_run
from gdkernels.backend.program import Program
from gdkernels.checking.check import Call, SelfCheck
from gdkernels.checking.mode import check_mode
from gdkernels.checking.ways import KnownProblems, Way, Ways
from gdkernels.definition.network import Arrays
from gdkernels.errors import BackendError, ScheduleError
from gdkernels.randomness import KeyedOrder
from gdkernels.system.cached_property import cached_property
from gdkernels_cupy.beside import BesideOthers, SharedBeside, is_beside_others
from gdkernels_cupy.cuda.device import check_device, free_bytes
from gdkernels_cupy.cuda.errors import DeviceFailedError, DeviceMemoryError, as_backend_errors
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.many.groups import Found, ModelBeside, in_groups
from gdkernels_cupy.persistent.cuda import CudaLaunchDevice, properties_of
from gdkernels_cupy.persistent.executable import PLAN_KERNEL, PersistentExecutable
from gdkernels_cupy.persistent.fitting import applies
from gdkernels_cupy.persistent.proof import proven_on, unproven
from gdkernels_cupy.persistent.shape import FORMATS, WIDEST

__all__ = ["ChosenExecutable", "persistent_runs", "ways_of"]

_log = logging.getLogger("gdkernels")

_MOST_MODELS = 4096  # in a launch: their orders and numbers are in the host's memory at the same time
_MOST_RECORDS = 2**31 - 1  # which the persistent kernel numbers

_DEFINITION = "definition"  # what plans call it

# Environment variables by which NVIDIA's libraries multiply otherwise.
_CHANGE_PRODUCTS = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATION_STRATEGY")


@dataclass
class SharedWays:
    """What executables share whose programs differ in numbers alone.

    Attributes
    ----------
    beside
        What trains such models beside each other.
    problems
        What the ways were found to do wrong.
    """

    graphs: CudaGraphExecutable
    plain_graphs: CudaGraphExecutable | None = None
    persistent: dict[tuple[int, ...], PersistentExecutable | str] = field(default_factory=dict)
    beside: SharedBeside = field(default_factory=SharedBeside)
    problems: KnownProblems = field(default_factory=dict)


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

    def __init__(
        self, program: Program, plan: Plan, number: int, backend: Backend, shared: SharedWays | None = None
    ) -> None:
        self._program, self._wished, self._number, self._backend = program, plan, number, backend
        self._shared = shared or SharedWays(CudaGraphExecutable(program, plan, number))
        self._graphs = with_numbers_of(program, self._shared.graphs)
        self._last: Executable = self._graphs
        self._by_widths: dict[tuple[int, ...], tuple[Executable, str]] = {}
        self._search = ways_of(backend, program, plan, self._shared.problems)
        self._beside = BesideOthers(
            program, plan, number, self._graphs, lambda: CudaLaunchDevice(number), self._shared.beside
        )

    def with_program(self, program: Program) -> ChosenExecutable | None:
        if program.without_numbers != self._program.without_numbers:
            return None
        return ChosenExecutable(program, self._wished, self._number, self._backend, self._shared)

    @property
    def passed_over(self) -> dict[str, str]:
        """The reasons against the ways that are not used, by their names."""
        return self._search.passed_over

    @property
    def remark(self) -> str:  # type: ignore[override]
        """What runs a network that is narrow enough for the persistent kernel, or one of many models, and why."""
        widths = self._program.widths
        if max(widths) > WIDEST and not self._beside.wanted:
            return ""
        try:
            return self.why(widths)
        except BackendError:  # the run will say so
            return ""

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
            self._last = self._way(Call(state, x, y, order, batch_size, learning_rates, sample_weight))
            given: Any = order if self._last.takes_keyed_orders else np.asarray(order)
            try:
                return self._last.run(state, x, y, given, batch_size, learning_rates, sample_weight)
            except DeviceMemoryError as error:
                if not (isinstance(self._last, PersistentExecutable) or is_beside_others(self._last)):
                    raise
                _log.warning("CUDA graphs run this epoch: %s", error)
            self._last = self._graphs
            return self._last.run(state, x, y, given, batch_size, learning_rates, sample_weight)

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
        job = Job(self, state, x, y, orders, batch_size, learning_rates, sample_weight)
        found = _together([job], self._number)[0] if self._beside.wanted else None
        return super().run_epochs(*_given(job)) if found is None else found

    def run_many(self, jobs: Iterable[Job], threads: int = 1) -> Iterator[Found]:
        """As the contract says: models beside others in one launch or batch, what is left one after the other."""
        while chunk := list(islice(jobs := iter(jobs), _MOST_MODELS)):
            for job, found in zip(chunk, _together(chunk, self._number), strict=True):
                yield job.run() if found is None else found

    def beside_for(self, job: Job) -> ModelBeside | None:
        """Return what trains the model of a job beside others, if that is how it runs."""
        if not self._beside.wanted:
            return None
        with as_backend_errors(self._device):
            order, rates = job.orders[0], job.learning_rates[0]
            found = self._way(Call(job.state, job.x, job.y, order, job.batch_size, rates, job.sample_weight))
        if not is_beside_others(found):
            return None
        self._last = found
        return cast("ModelBeside", found)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        with as_backend_errors(self._device):
            if check_mode() == "never" or not x.shape[0]:
                return self._graphs.predict(parameters, x)
            return self._search.prediction(self._compiled_ways(), parameters, x)

    def workspace(self, batch_size: int) -> int:
        return self._last.workspace(batch_size)

    def why(self, widths: tuple[int, ...]) -> str:
        """Return in words what runs networks of these widths, and why."""
        how = self._chosen
        if self._beside.wanted:
            return self._beside.why(self.passed_over, self._last, lambda: how(widths)[1])
        return how(widths)[1]

    # ---- ways, the fastest first

    @property
    def _device(self) -> str:
        return f"cuda:{self._number}"

    @property
    def is_one_of_many(self) -> bool:
        return self._beside.is_there

    def _way(self, call: Call) -> Executable:
        """Return the first way that does what the definition does; arguments that do not fit are refused.

        Raises
        ------
        BackendError
            Where none does.
        """
        if check_mode() != "never":
            arguments = call.x, call.y, call.order, call.batch, call.rates, call.sample_weight
            check_run(self._program, call.state.parameters, *arguments)
            check_device(call.x.device.id, self._number)
            check_device(call.y.device.id, self._number)
        call = replace(call, batch=min(call.batch, len(call.order)))
        if self._wished.choices.get("kernel") == _DEFINITION:
            return self._search.definition([])
        return self._search.believed(self._ways(self._program.widths, call), call, is_on_host(call.x))

    def _ways(self, widths: tuple[int, ...], call: Call) -> Iterator[Way]:
        # The persistent kernel keeps rounded inputs on the device: not those that do not fit there.
        fits = not is_on_host(call.x) and len(call.x) <= _MOST_RECORDS
        if fits:
            yield from self._beside.ways(call.batch)
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
        if self._shared.plain_graphs is None:
            choices = {**self._wished.choices, "kernel": "graphs", "epilogues": ()}
            plan = replace(self._wished, choices=choices)
            self._shared.plain_graphs = CudaGraphExecutable(self._program, plan, self._number)
        return with_numbers_of(self._program, self._shared.plain_graphs)

    def _chosen(self, widths: tuple[int, ...]) -> tuple[Executable, str]:
        if widths not in self._by_widths:
            known = self._shared.persistent
            if widths not in known:
                known[widths] = self._persistent(widths)
            found = known[widths]
            if isinstance(found, str):
                self._by_widths[widths] = self._graphs, found
            else:
                why = _why_persistent(self._wished.precision, self._number)
                self._by_widths[widths] = with_numbers_of(self._program, found), why
        return self._by_widths[widths]

    def _persistent(self, widths: tuple[int, ...]) -> PersistentExecutable | str:
        """Return the persistent kernel for networks of these widths, or why CUDA graphs run them."""
        try:
            wished = self._wished.choices.get("kernel", PLAN_KERNEL)
            if wished != PLAN_KERNEL:
                raise ScheduleError(f"the plan asks for {wished}")
            precision = self._wished.precision
            reason = applies(self._program, widths, precision, properties_of(self._number))
            reason = reason or unproven(precision, self._number)
            if reason is not None:
                raise ScheduleError(reason)
            with as_backend_errors(self._device):
                persistent = PersistentExecutable(self._program, self._wished, CudaLaunchDevice(self._number))
                persistent.bind(widths)
            return persistent
        except (DeviceFailedError, DeviceMemoryError):
            raise
        except (ScheduleError, BackendError) as reason:
            why = f"CUDA graphs run it, not the persistent kernel: {reason}"
            level = logging.WARNING if self._wished.choices.get("kernel") == PLAN_KERNEL else logging.INFO
            _log.log(level, "%s: %s", "-".join(map(str, widths)), why)
            return why


def _together(jobs: Sequence[Job], number: int) -> list[Found | None]:
    """Do the jobs whose models train beside others, and return for each what `run_epochs` does; None for the rest."""
    chosen = [job.executable for job in jobs]
    beside = [
        one.beside_for(job) if isinstance(one, ChosenExecutable) else None
        for one, job in zip(chosen, jobs, strict=True)
    ]
    mine = [(one, job) for one, job in zip(beside, jobs, strict=True) if one is not None]
    found = iter(in_groups(mine, f"cuda:{number}", lambda: _free_on(number)))
    return [None if one is None else next(found) for one in beside]


def _given(job: Job) -> tuple[Any, ...]:
    return job.state, job.x, job.y, job.orders, job.batch_size, job.learning_rates, job.sample_weight


Shared = TypeVar("Shared", bound=Executable)


def with_numbers_of(program: Program, executable: Shared) -> Shared:
    """Return an executable for a program that differs from its own in numbers alone."""
    found = executable.with_program(program)
    assert found is not None, "they differ in numbers alone"
    return cast("Shared", found)


def _why_persistent(precision: str, number: int) -> str:
    how = f", measured on such a device on {proven_on(number)}" if FORMATS[precision].in_parts else ""
    return f"the persistent kernel runs it{how}"


def ways_of(backend: Backend, program: Program, plan: Plan, known: KnownProblems | None = None) -> Ways:
    """Return the search for a way that computes a program rightly, of which the definition is the last."""
    check = SelfCheck(backend, program, plan, short=(DeviceMemoryError,), variables=_CHANGE_PRODUCTS)
    fatal = DeviceFailedError, DeviceMemoryError
    return Ways(check, backend, program, plan, last={"kernel": _DEFINITION}, fatal=fatal, known=known)


def persistent_runs(program: Program, plan: Plan, number: int) -> bool:
    """Return whether the persistent kernel is for such programs; whether it fits is another question."""
    wished = plan.choices.get("kernel", PLAN_KERNEL) == PLAN_KERNEL
    reason = applies(program, program.widths, plan.precision, properties_of(number))
    return wished and (reason or unproven(plan.precision, number)) is None


def _by_graphs(name: str, graphs: CudaGraphExecutable) -> Way:
    return Way(name, graphs, (graphs,), identity=graphs.identity)


def _free_on(number: int) -> int:
    import cupy

    with cupy.cuda.Device(number):
        return free_bytes()
