"""The values that gdkernels and a backend hand each other: precisions, arrays of the host, plans, states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = ["PRECISIONS", "Plan", "State", "check_unmasked", "host_array", "storage_dtype", "without_history"]

PRECISIONS = ("float64", "float32", "tf32", "bfloat16")


def storage_dtype(precision: str) -> str:
    """Return the dtype in which parameters and data are kept: tf32 and bfloat16 compute on float32 masters."""
    return "float64" if precision == "float64" else "float32"


def host_array(x: Any, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """Return `x` as a NumPy array: a list, or an array in the host's memory of any library that speaks DLPack."""
    if type(x) is np.ndarray:  # as nearly always
        if dtype is None or x.dtype == dtype:
            return x
        if x.dtype.kind in "biuf":
            with np.errstate(over="ignore"):  # what is too large is refused later, with its place
                return x.astype(dtype)
    else:
        x = without_history(x)
        if str(getattr(x, "dtype", None)) == "torch.bfloat16":  # NumPy has no such type; float32 holds all its numbers
            x = x.float()
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            x = np.from_dlpack(x)
    with np.errstate(over="ignore"):
        array = np.asarray(x)
        if array.dtype.kind == "V" and array.dtype.name == "bfloat16":  # JAX's, which NumPy takes for no number
            array = array.astype(np.float32)
        return array if dtype is None else array.astype(dtype, copy=False)


def without_history(x: Any) -> Any:
    """Return a tensor of torch without its history: its values are data, of which no gradient is asked here."""
    return x.detach() if getattr(x, "requires_grad", False) is True else x


def check_unmasked(x: Any, name: str) -> None:
    """Raise `InputError` for an array of which values are masked: what stands behind a mask is no data.

    Raises
    ------
    InputError
        It says where the first of them is.
    """
    if isinstance(x, np.ma.MaskedArray) and (masked := np.ma.getmaskarray(x)).any():
        place = ", ".join(map(str, np.argwhere(masked)[0].tolist()))
        raise InputError(
            f"{name} has {int(masked.sum()):,} masked values, first at [{place}]; fill them in by {name}.filled(…), or "
            "leave those records out"
        )


@dataclass(frozen=True)
class Plan:
    """Every choice that can change the bits of a result: same plan, same versions, same seed, same bits.

    Attributes
    ----------
    backend, device, precision
        The names of the place and of the precision.
    choices
        The choices of the backend itself: threads, tiles, product routes, algorithm numbers.
    """

    backend: str
    device: str
    precision: str
    choices: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
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
        slots = {name: tuple(map(copied, s)) if s else () for name, s in self.slots.items()}
        return replace(self, parameters=parameters, slots=slots)
