"""The contract between gdkernels and a backend, which a plug-in fulfils."""

from __future__ import annotations

import functools
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.groups.sharding import Sharding
from gdkernels.system.cached_property import cached_property

if TYPE_CHECKING:
    from gdkernels.backend.least_squares.products import Products

__all__ = ["CONTRACT", "PRECISIONS", "Backend", "Executable", "Job", "Plan", "State", "host_array", "storage_dtype"]

PRECISIONS = ("float64", "float32", "tf32", "bfloat16")
CONTRACT = 2  # 1 had chains of dense layers alone, whose parameters came layer by layer


def storage_dtype(precision: str) -> str:
    """Return the dtype in which parameters and data are kept: tf32 and bfloat16 compute on float32 masters."""
    return "float64" if precision == "float64" else "float32"


def host_array(x: Any, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """Return `x` as a NumPy array: a list, or an array in the host's memory of any library that speaks DLPack."""
    if type(x) is np.ndarray and (dtype is None or x.dtype == dtype):  # as nearly always
        return x
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        x = np.from_dlpack(x)
    with np.errstate(over="ignore"):  # what is too large is refused later, with its place
        return np.asarray(x, dtype=dtype)


@dataclass(frozen=True)
class Plan:
    """Every choice that can change the bits of a result: same plan, same versions, same seed, same bits.

    Attributes
    ----------
    choices
        The choices of the backend itself: threads, tiles, product routes, algorithm numbers.
    """

    backend: str
    device: str
    precision: str
    choices: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "choices": dict(self.choices),
        }

    def unlike(self, other: Plan) -> list[str]:
        """Return in words how this plan differs from another: in its place, or in some of its choices.

        Threads are no difference where the plan says into how many pieces a batch is cut: bits follow from those.
        """
        if (self.backend, self.device) != (other.backend, other.device):
            return [f"{self.backend} on {self.device}"]
        mine, theirs = (json.loads(json.dumps(dict(plan.choices))) for plan in (self, other))
        changes_nothing = {"threads"} if "pieces" in mine else set()
        told = ((name, value) for name, value in mine.items() if name not in changes_nothing)
        return [f"{name} {value}" for name, value in told if name not in theirs or theirs[name] != value]


@dataclass
class State:
    """The state of a training.

    Attributes
    ----------
    parameters
        The network's parameters and constants, by name.
    slots
        For each parameter that is trained, the arrays that the optimizer carries.
    step
        The number of steps done.
    seed
        That of the random numbers that blocks draw in training.
    first
        Where a run has only a part of a batch: the place in the batch of its first record.
    memory
        What a solver keeps from one iteration to the next, by name: arrays of the host, which nobody writes into.
    """

    parameters: dict[str, Any]
    slots: dict[str, tuple[Any, ...]]
    step: int = 0
    seed: int = 0
    first: int = 0
    memory: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def copy(self, xp: Any) -> State:
        """Return a state that shares no array with this one."""

        def copied(a: Any) -> Any:
            # NumPy's own way is the same copy, in a fifth of the time: a step of a small network takes as long.
            return a.copy(order="K") if type(a) is np.ndarray else xp.asarray(a, copy=True)

        parameters = {name: copied(a) for name, a in self.parameters.items()}
        slots = {name: tuple(map(copied, s)) for name, s in self.slots.items()}
        return replace(self, parameters=parameters, slots=slots)


class Executable(ABC):
    """A program bound to a backend, a device and a precision.

    Attributes
    ----------
    origin
        "definition" where the definition itself runs on the backend's namespace, "compiled" where its trace does.
    checks_itself
        Whether it compares what is compiled with the definition by itself; if not, gdkernels does where
        ``GDKERNELS_CHECK=always`` asks for it.
    remark
        Why the definition runs on a backend that compiles others, which of several engines runs, or how a model beside
        others does; empty where there is nothing to say.
    """

    origin: str
    plan: Plan
    checks_itself: ClassVar[bool] = False
    remark: str = ""

    @property
    def is_one_of_many(self) -> bool:
        """Whether `run_many` does its jobs beside those of other models, in about the time of one."""
        return False

    @property
    def takes_entries(self) -> bool:
        """Whether x may also be `gdkernels.backend.entries.Entries`, on the host; most executables need not."""
        return False

    @property
    def takes_keyed_orders(self) -> bool:
        """Whether an order may also be `gdkernels.randomness.KeyedOrder`, computed where it is used; few need it."""
        return False

    @abstractmethod
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
        """Do one step for each batch of rows and update `state` in place.

        Parameters
        ----------
        x, y
            Arrays of this backend on the plan's device: [records, inputs] and [records, outputs].
        order
            Row numbers in the order in which they are used; the last batch may be smaller. `numpy.asarray` gives them
            where it is a keyed order, which it is only where `takes_keyed_orders` says so.
        learning_rates
            The rate of each step.
        sample_weight
            An array like x and y, [records]; given where the program is weighted, and only there.

        Returns
        -------
        tuple
            The sum of E over the batches, each measured before its step, and the mean over the steps of the norm of the
            gradient, or None if the program does not ask for it.
        """

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
        """Do what `run` does for one epoch after the other, and return what it returns for each.

        Parameters
        ----------
        orders, learning_rates
            Those of each epoch: [epochs, records] and [epochs, steps]. Keyed orders come one for each epoch.
        """
        weights = () if sample_weight is None else (sample_weight,)
        return [
            self.run(state, x, y, order, batch_size, rates, *weights)
            for order, rates in zip(orders, learning_rates, strict=True)
        ]

    def run_many(self, jobs: Iterable[Job], threads: int = 1) -> Iterator[list[tuple[float, float | None]]]:
        """Do each job as `run_epochs` of its executable does, to the bit; several at a time where that is faster.

        Parameters
        ----------
        jobs
            Their executables have this one's backend, device and precision, and may share memory. No two jobs have the
            same state. A job may be made only when it is asked for, while others run.
        threads
            The most jobs that run at the same time, this thread's included.

        Yields
        ------
        list
            What `run_epochs` returns, for one job after the other in their order; `seconds` of the job are known then.
            Whoever stops before the end must not use the states of those that have not come.
        """
        for job in jobs:
            yield job.run()

    def with_program(self, program: Program) -> Executable | None:
        """Return an executable for a program that differs from this one's in numbers alone, such as the rate and λ.

        It shares the memory of this one, so that one of them runs at a time. None means that there is none.
        """
        return None

    @abstractmethod
    def predict(self, parameters: Arrays, x: Any) -> Any:
        """Return the network's output [records, outputs]."""

    def workspace(self, batch_size: int) -> int:
        """Return the bytes that a step needs beyond data and state; 0 where the namespace allocates as it goes."""
        return 0


@dataclass
class Job:
    """Epochs of one training among many.

    Attributes
    ----------
    executable
        What does them.
    state, x, y, orders, batch_size, learning_rates, sample_weight
        As for `Executable.run_epochs`.
    seconds
        How long they took, once they are done.
    """

    executable: Executable
    state: State
    x: Any
    y: Any
    orders: npt.NDArray[np.int64]
    batch_size: int
    learning_rates: npt.NDArray[np.float64]
    sample_weight: Any = None
    seconds: float = 0.0

    def run(self) -> list[tuple[float, float | None]]:
        """Do it now, and return what `Executable.run_epochs` returns."""
        # A third party's backend need not know the argument: it is passed only if the program asks for it.
        weights = () if self.sample_weight is None else (self.sample_weight,)
        given = self.state, self.x, self.y, self.orders, self.batch_size, self.learning_rates
        began = time.perf_counter()
        found = self.executable.run_epochs(*given, *weights)
        self.seconds = time.perf_counter() - began
        return found


class Backend(ABC):
    """A plug-in that puts arrays on a device family; `compile` makes it fast.

    Attributes
    ----------
    name, priority
        The name that users give; among the backends that can run, the highest priority is the default.
    precisions
        What it can do here of "float64", "float32", "tf32" and "bfloat16".
    compiles_weighted, compiles_drawing, compiles_moving
        Whether `compile` takes programs that are weighted, that draw random numbers, and that pick columns, join them
        or look up rows of tables; if not, gdkernels runs their definition.
    trains_together
        Whether its executables do jobs of many models in about the time of one, where the choice "many" of a plan asks
        for it: models that are looked at in between then wait for each other after each epoch.
    contract
        The version of this contract that `compile` is written for; the present one is `CONTRACT`. Say it where you
        have a `compile` of your own.
    """

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    precisions: ClassVar[tuple[str, ...]] = ("float64", "float32")
    compiles_weighted: ClassVar[bool] = False
    compiles_drawing: ClassVar[bool] = False
    compiles_moving: ClassVar[bool] = False
    trains_together: ClassVar[bool] = False
    contract: ClassVar[int] = 1

    def __getstate__(self) -> dict[str, Any]:
        # A copy computes anew what it found out, such as the namespace, which is a module and cannot be copied.
        found = (cached_property, functools.cached_property)
        return {
            name: value for name, value in vars(self).items() if not isinstance(getattr(type(self), name, 0), found)
        }

    @abstractmethod
    def unavailable(self) -> str | None:
        """Return why it cannot run here, with the command that would fix it; None if it can."""

    def prepare(self) -> str | None:
        """Load what programs need; return why that fails, with what would fix it, or None.

        It is asked of a backend that was chosen or named: what it loads is not for those that only compare backends.
        """
        return None

    @abstractmethod
    def devices(self) -> list[str]:
        """Return the names of its devices, the default first; only asked when it can run."""

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The Array API namespace, loaded when first used."""

    @abstractmethod
    def asarray(self, x: Any, *, dtype: str, device: str) -> Any:
        """Return `x` with `dtype` on `device`: an array of this backend, or what `host_array` takes."""

    @abstractmethod
    def to_numpy(self, x: Any) -> npt.NDArray[Any]:
        """Return an array of this backend as a NumPy array on the host."""

    def owns(self, x: Any) -> bool:
        """Return whether `x` is an array of this backend's namespace."""
        import array_api_compat

        return array_api_compat.is_array_api_obj(x) and array_api_compat.array_namespace(x) is self.xp

    def expected(self) -> bool:
        """Return whether its hardware seems to be there, so that being unable to use it deserves a warning."""
        return False

    def lacks(self, precision: str) -> str | None:
        """Return why a precision that it can do elsewhere is not among `precisions` here, or None."""
        return None

    def on_device(self, device: str) -> AbstractContextManager[Any]:
        """Return a context in which the namespace works on `device`, for libraries with a current device."""
        return nullcontext()

    def threads(self, device: str) -> tuple[int, ...]:
        """Return the numbers of threads that a plan may choose; none if the number does not matter."""
        return ()

    def for_products(self, flops: int) -> AbstractContextManager[Any]:
        """Return a context for work whose largest product takes so many FLOPs, for libraries that start threads."""
        return nullcontext()

    def choices(self) -> Mapping[str, Any]:
        """Return the choices that the bits of a definition on the namespace depend on; its plan then holds them."""
        return {}

    def synchronize(self, device: str) -> None:
        """Wait until all work on `device` is done."""

    def memory(self, device: str) -> tuple[int, int] | None:
        """Return the free and the total bytes of `device`, or None where that is unknown."""
        return None

    def compile(self, program: Program, plan: Plan) -> Executable | None:
        """Return an executable for `program`, or None to run the definition on the namespace.

        Raises
        ------
        TraceError, ScheduleError
            If the program cannot be compiled: its definition runs then, and the user is told the reason.
        """
        return None

    def compile_products(self, program: Program, plan: Plan) -> Products | None:
        """Return what adds up the products of the Jacobian's rows for solvers, or None for the definition.

        Raises
        ------
        TraceError, ScheduleError
            As for `compile`.
        """
        return None

    def compile_shards(self, program: Program, plan: Plan, sharding: Sharding) -> Executable | None:
        """Return a `gdkernels.backend.sharded_executable.Sharded` of this rank's shards, or None for what sums theirs.

        The default computes the gradient of each shard by `compile`, and the step by the definition.
        """
        return None

    def why(self, program: Program, plan: Plan, widths: tuple[int, ...]) -> str:
        """Return in words how the backend runs networks of these widths, and why; "" if it has only one way."""
        return ""
