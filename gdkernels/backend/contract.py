"""The contract between gdkernels and a backend, which a plug-in fulfils."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from gdkernels.backend.executable import Executable
from gdkernels.backend.program import Program
from gdkernels.backend.values import Plan
from gdkernels.system.cached_property import cached_property

if TYPE_CHECKING:
    from gdkernels.backend.least_squares.products import Products
    from gdkernels.groups.sharding import Sharding

__all__ = ["CONTRACT", "Backend"]

CONTRACT = 2  # 1 had chains of dense layers alone, whose parameters came layer by layer


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

    def for_layers(self, flops: int, longest: int) -> AbstractContextManager[Any]:
        """Return a context for products of matrices, none of them longer than `longest`, and for nothing else."""
        return self.for_products(flops)

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
