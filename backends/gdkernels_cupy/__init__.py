"""The CUDA backend: the definition traced and compiled into CUDA graphs, or as it is on CuPy, on NVIDIA GPUs.

This module fulfils the contract of `gdkernels.backend`; `cuda.presence` tells which GPUs can be used and why others
cannot. README.md in this folder explains what runs in which order. Code that knows no CUDA belongs to
`gdkernels.lowering`.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import PRECISIONS, Backend, Executable, Plan, host_array, storage_dtype
from gdkernels.backend.least_squares.products import Products
from gdkernels.backend.program import Program
from gdkernels.errors import BackendError, InputError, ScheduleError, TraceError, keyword
from gdkernels.groups.sharding import Sharding
from gdkernels.system.cached_property import cached_property
from gdkernels_cupy.cuda import trial
from gdkernels_cupy.cuda.errors import as_backend_errors, last_line, mark_used, was_forked
from gdkernels_cupy.cuda.pinned import fits, keep_on_host
from gdkernels_cupy.cuda.presence import (
    INSTALL,
    no_driver_or_device,
    no_matrix_unit,
    tf32_by_environment,
    there_is_a_gpu,
    too_old,
)

__all__ = ["CuPyBackend"]

_log = logging.getLogger("gdkernels")

_SMALL = 1 << 24  # bytes that are not worth a question

# DLPack's own numbers.
_DLPACK_CUDA, _DLPACK_CUDA_MANAGED = 2, 13


class CuPyBackend(Backend):
    """CuPy arrays on NVIDIA GPUs; programs become CUDA graphs. "float32" is true float32, never TF32."""

    name = "cupy"
    priority = 20
    compiles_weighted = compiles_drawing = compiles_moving = trains_together = True
    contract = 2

    def unavailable(self) -> str | None:
        try:
            import cupy
        except ModuleNotFoundError as error:
            if error.name == "cupy":
                return f"CuPy is not installed: {INSTALL}"
            return f"CuPy is installed but lacks {error.name}: pip install {error.name}"
        except ImportError as error:
            return f"CuPy is installed but cannot be imported ({last_line(error)}): uninstall it, then {INSTALL}"
        if was_forked():
            return (
                "this process is a fork of one that used CUDA, where CUDA does not work: start workers with "
                "multiprocessing.get_context('spawn')"
            )
        problem = no_driver_or_device(cupy) or tf32_by_environment()
        if problem is not None or self.devices():
            return problem
        return next(iter(self._problems.values()))

    @cached_property
    def _problems(self) -> dict[str, str]:
        """What is wrong with each GPU that cannot be used; an old card must not hide a good one."""
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        old = {f"cuda:{k}": too_old(cupy, k) for k in range(count)}
        tried = trial.problems(count) if not all(old.values()) else {}
        found = {name: old[name] or tried.get(name) for name in old}
        return {name: problem for name, problem in found.items() if problem}

    def expected(self) -> bool:
        return there_is_a_gpu()

    def devices(self) -> list[str]:
        import cupy

        names = [f"cuda:{k}" for k in range(cupy.cuda.runtime.getDeviceCount())]
        for name, problem in self._problems.items():
            if len(self._problems) < len(names):
                _warn_once(f"{name} is not used: {problem}")
        return [name for name in names if name not in self._problems]

    @property
    def precisions(self) -> tuple[str, ...]:  # type: ignore[override]  # the devices are asked when somebody wants it
        return tuple(p for p in PRECISIONS if self.lacks(p) is None)

    def lacks(self, precision: str) -> str | None:
        if precision == storage_dtype(precision):
            return None
        from gdkernels_cupy.cuda.device import known_problem

        return known_problem() or no_matrix_unit(precision)

    @cached_property
    def xp(self) -> Any:
        import array_api_compat.cupy

        return array_api_compat.cupy

    def asarray(self, x: Any, *, dtype: str, device: str) -> Any:
        where = _number(device)
        with as_backend_errors(device):
            return self._placed(x, dtype, where, device)

    def _placed(self, x: Any, dtype: str, where: int, device: str) -> Any:
        import cupy

        from gdkernels_cupy.cuda.device import check_device, free_bytes

        mark_used()
        if isinstance(x, cupy.ndarray):
            check_device(x.device.id, where)
        elif _is_cuda_dlpack(x):
            check_device(x.__dlpack_device__()[1], where)
            x = cupy.from_dlpack(x)
        else:
            x = host_array(x, dtype)  # converted on the host, so that only what is needed is copied
        with cupy.cuda.Device(where):
            if not isinstance(x, np.ndarray) or x.nbytes <= _SMALL:
                return cupy.asarray(x, dtype=dtype)
            if not fits(x.nbytes, free_bytes()):
                _log.warning(
                    "%.2f GB do not fit on %s beside the work: they stay in the host's memory, and each batch is "
                    "fetched while the one before is worked on",
                    x.nbytes / 1e9,
                    device,
                )
                return keep_on_host(x, where)
            # `cupy.asarray` would copy it to pinned memory first, of up to twice its size, and keep that.
            there = cupy.empty(x.shape, dtype)
            there.set(x)
            cupy.cuda.get_current_stream().synchronize()  # the caller may change `x` from now on
            return there

    def to_numpy(self, x: Any) -> npt.NDArray[Any]:
        import cupy

        with as_backend_errors("the device"):
            host: npt.NDArray[Any] = cupy.asnumpy(x)
        return host

    @contextmanager
    def on_device(self, device: str) -> Iterator[None]:
        import cupy

        with as_backend_errors(device), cupy.cuda.Device(_number(device)):
            yield

    def synchronize(self, device: str) -> None:
        """Wait for what this thread has begun: CUDA refuses to wait for a device while another captures a graph."""
        import cupy

        with self.on_device(device):
            cupy.cuda.get_current_stream().synchronize()

    def memory(self, device: str) -> tuple[int, int] | None:
        import cupy

        from gdkernels_cupy.cuda.device import free_bytes

        with self.on_device(device):
            return free_bytes(), int(cupy.cuda.runtime.memGetInfo()[1])

    def compile(self, program: Program, plan: Plan) -> Executable | None:
        from gdkernels_cupy.choice import ChosenExecutable
        from gdkernels_cupy.cuda.device import problem_of

        number = _number(plan.device)
        with as_backend_errors(plan.device):
            problem = problem_of(number)
        if problem is not None:
            if plan.precision != storage_dtype(plan.precision):
                raise BackendError(
                    f"{plan.precision} needs what is compiled, and nothing is for {plan.device}: {problem}; or choose "
                    "precision='float32'"
                )
            _warn_once(f"nothing is compiled for {plan.device}: {problem}; the definition runs on CuPy")
            return None
        try:
            return ChosenExecutable(program, plan, number, self)
        except (TraceError, ScheduleError) as error:
            if plan.precision != storage_dtype(plan.precision):
                raise BackendError(
                    f"{plan.precision} needs a program that can be compiled, and this one cannot ({error}); "
                    f"choose {keyword('precision', 'float32')}"
                ) from error
            raise

    def compile_products(self, program: Program, plan: Plan) -> Products | None:
        from gdkernels.checking.mode import check_mode
        from gdkernels_cupy.cuda.device import problem_of
        from gdkernels_cupy.graphs.row_products import GraphProducts

        number = _number(plan.device)
        with as_backend_errors(plan.device):
            problem = problem_of(number)
        if problem is not None:
            raise ScheduleError(f"nothing is compiled for {plan.device}: {problem}")
        products = GraphProducts(program, plan, number)
        if check_mode() == "never":
            return products
        from gdkernels.checking.checked_products import CheckedProducts

        return CheckedProducts(program, products, self, "the engine of CUDA graphs")

    def compile_shards(self, program: Program, plan: Plan, sharding: Sharding) -> Executable | None:
        from gdkernels_cupy.cuda.device import problem_of
        from gdkernels_cupy.shards import SharedGraphs

        number = _number(plan.device)
        with as_backend_errors(plan.device):
            if problem_of(number) is not None:
                return None  # `compile` says why
        return SharedGraphs(program, plan, number, sharding, self)

    def why(self, program: Program, plan: Plan, widths: tuple[int, ...]) -> str:
        from gdkernels_cupy.choice import ChosenExecutable

        executable = self.compile(program, plan)
        return executable.why(widths) if isinstance(executable, ChosenExecutable) else ""


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def _number(device: str) -> int:
    match = re.fullmatch(r"cuda:(\d+)", device)
    if match is None:
        raise InputError(f"{device!r} is not a device of the backend 'cupy'; they are called 'cuda:0', 'cuda:1', …")
    return int(match[1])


def _is_cuda_dlpack(x: Any) -> bool:
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in (_DLPACK_CUDA, _DLPACK_CUDA_MANAGED)
