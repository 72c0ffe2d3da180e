"""What the backends of a CPU share: NumPy's arrays on the host, its namespace, and the threads of its products."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, host_array
from gdkernels.system.cached_property import cached_property
from gdkernels.system.forks import undivided
from gdkernels_numpy.threads import blas_threads, threads_for

__all__ = ["HostBackend"]


class HostBackend(Backend):
    """NumPy arrays on the host."""

    def devices(self) -> list[str]:
        return ["cpu"]

    @cached_property
    def xp(self) -> Any:
        with undivided:
            import gdkernels_numpy.namespace

        return gdkernels_numpy.namespace

    def asarray(self, x: Any, *, dtype: str, device: str) -> Any:
        return host_array(x, dtype)

    def to_numpy(self, x: Any) -> npt.NDArray[Any]:
        return np.asarray(x)

    def owns(self, x: Any) -> bool:
        return isinstance(x, np.ndarray)

    def for_products(self, flops: int) -> AbstractContextManager[Any]:
        return threads_for(flops)

    def for_layers(self, flops: int, longest: int) -> AbstractContextManager[Any]:
        return threads_for(flops, longest)

    def choices(self) -> dict[str, Any]:
        return {"blas_threads": blas_threads()}
