"""A backend for arrays on a device that no other reaches: the definition on the arrays' own namespace and device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, host_array
from gdkernels.backend.values import without_history
from gdkernels.dispatch import choosing
from gdkernels.dispatch.binding import DLPACK_HOST, namespace_of
from gdkernels.dispatch.choosing import Choice
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import GdkernelsError

__all__ = ["NativeBackend", "choose_for", "on_host", "to_host"]


class NativeBackend(Backend):
    """The namespace and the device of an array: a GPU that only its own library drives, or the strict test namespace.

    Parameters
    ----------
    like
        An array of that namespace, on that device.
    """

    name = "array-api"

    def __init__(self, like: Any) -> None:
        self._namespace, self._device = namespace_of(like), like.device

    def unavailable(self) -> str | None:
        return None

    def devices(self) -> list[str]:
        return [str(self._device)]

    @property
    def xp(self) -> Any:
        return self._namespace

    def asarray(self, x: Any, *, dtype: str, device: str) -> Any:
        wanted = getattr(self.xp, dtype)
        x = without_history(x)
        if not self.owns(x):
            return self.xp.asarray(host_array(x, dtype), device=self._device, copy=True)
        import array_api_compat

        return array_api_compat.to_device(self.xp.astype(x, wanted, copy=False), self._device)

    def to_numpy(self, x: Any) -> npt.NDArray[Any]:
        return to_host(x)


def to_host(x: Any) -> npt.NDArray[Any]:
    """Return a NumPy copy of an array of any library, from any device."""
    import array_api_compat

    try:
        return np.from_dlpack(x).copy()
    except (BufferError, RuntimeError, TypeError, ValueError):  # the host cannot read it where it is
        return np.asarray(array_api_compat.to_device(x, "cpu"))


def choose_for(
    X: Any,
    backend: str | Backend,
    device: str | None,
    precision: str,
    work: Workload | None = None,
    planned: Plan | None = None,
    failed: Mapping[str, str] | None = None,
) -> Choice:
    """Return the choice of `choosing.choose`, or X's own namespace if the user named no backend and none reaches X.

    Arrays that are on a device already are not moved for the sake of an estimate: there, priority decides. If the user
    named no backend, the place of the plan `planned` comes first, if it is available.
    """
    named = (
        backend != "auto"
        or device is not None
        or any(os.environ.get(name) for name in ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE"))
    )
    if planned is not None and not named:
        with suppress(GdkernelsError):
            choice = choosing.choose(planned.backend, planned.device, precision)
            if _reaches(choice, X):
                return replace(choice, reason="where the checkpoint was written", guessed=True)
    choice = choosing.choose(backend, device, precision, work if on_host(X) else None, failed or {})
    if named or _reaches(choice, X):
        return choice
    return Choice(NativeBackend(X), str(X.device), f"the data is on {X.device}, which no other backend reaches")


def on_host(X: Any) -> bool:
    """Return whether X is where every backend reaches it."""
    return namespace_of(X) is None or X.__dlpack_device__()[0] in DLPACK_HOST


def _reaches(choice: Choice, X: Any) -> bool:
    if namespace_of(X) is None or choice.backend.owns(X):
        return True
    if not on_host(X):
        return choice.device.startswith("cuda")
    try:
        host_array(X[:0, ...])
    except (BufferError, RuntimeError, TypeError, ValueError):  # a device that DLPack has no number for
        return False
    return True
