"""The binding of a model to a backend, a device and a precision, and moving arrays there and back."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State, host_array, storage_dtype
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.gradient_accumulation import AccumulatingExecutable
from gdkernels.backend.program import Program
from gdkernels.backend.values import check_unmasked
from gdkernels.checking.mode import check_mode
from gdkernels.dispatch.estimates import plan_choices
from gdkernels.dispatch.footprint import rows_that_fit
from gdkernels.dispatch.registry import versions
from gdkernels.dispatch.shared_executables import shared
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.cached_property import cached_property
from gdkernels.system.machine import cores

__all__ = ["DLPACK_HOST", "Binding", "all_finite", "moved", "namespace_of"]

_log = logging.getLogger("gdkernels")

# DLPack's own numbers: kDLCPU, kDLCUDAHost.
_DLPACK_CPU = 1
DLPACK_HOST = (_DLPACK_CPU, 3)

_SMALL = 4096  # numbers that are squared and summed in less time than a context takes in which a sum may overflow


@dataclass(frozen=True)
class Binding:
    """The place where a model computes, and the reason.

    Attributes
    ----------
    guessed
        Whether nobody named the backend: then another takes its place where it fails.
    """

    backend: Backend
    device: str
    precision: str
    reason: str
    guessed: bool = False

    @cached_property
    def xp(self) -> Any:
        """The namespace of the arrays, loaded when it is first used."""
        return self.backend.xp

    @cached_property
    def dtype(self) -> str:
        """The type in which arrays are stored."""
        return storage_dtype(self.precision)

    def __str__(self) -> str:
        return f"{self.backend.name} on {self.device} in {self.precision}"

    def why(self, executable: Executable) -> str:
        """Return why steps run here, and why as a definition where others would be compiled."""
        return f"{self.reason}; {executable.remark}" if executable.remark else self.reason

    def executable(
        self,
        program: Program,
        work: Workload | None = None,
        choices: Mapping[str, Any] | None = None,
        *,
        by_pieces: bool = False,
    ) -> Executable:
        """Return `program` compiled by the backend, or its definition on the backend's namespace.

        On the host, a batch of `work` that does not fit into memory is split; devices of their own look after their
        memory themselves.

        Parameters
        ----------
        work
            The job. On a calibrated machine, the plan has the best number of threads for it.
        choices
            The choices of a plan to repeat.
        by_pieces
            Whether the caller computes with a few records of a batch at a time anyway, so that every batch fits.

        Raises
        ------
        InputError
            If not even a single record fits.
        """
        if choices is None and work is not None:
            choices = plan_choices(self.backend, self.device, self.precision, work, versions())
        own = {k: v for k, v in (choices or {}).items() if k != "rows_at_a_time"}
        plan = Plan(self.backend.name, self.device, self.precision, own)
        others = shared()
        made = (
            self._made(program, plan)
            if others is None
            else others.of(self, program, own, lambda: self._made(program, plan))
        )
        if work is None or by_pieces or not self.on_host:
            return made
        rows = (choices or {}).get("rows_at_a_time")
        if rows is None:
            rows = rows_that_fit(work, self.precision, compiled=made.origin == "compiled", workspace=made.workspace)
        if rows >= work.batch:
            return made
        _log.warning(
            "a batch of %s does not fit into memory: its gradient is summed over parts of at most %s",
            f"{work.batch:,}",
            f"{rows:,}",
        )
        return AccumulatingExecutable(self.backend, program, plan, rows)

    def _made(self, program: Program, plan: Plan) -> Executable:
        made = bind(self.backend, program, plan)
        if check_mode() == "always" and made.origin == "compiled" and not made.checks_itself:
            from gdkernels.checking.checked_executable import CheckedExecutable  # rarely needed, and much to load

            made = CheckedExecutable(self.backend, program, plan, made, f"what {self.backend.name} compiles")
        return made

    @cached_property
    def on_host(self) -> bool:
        """Whether arrays are in the host's memory."""
        return self.device == "cpu"

    def same_place(self, other: "Binding") -> bool:
        """Return whether arrays of this binding are those of another."""
        mine, theirs = ((b.backend.name, b.device, b.precision) for b in (self, other))
        return mine == theirs

    def choices_of(self, plan: Plan | None) -> Mapping[str, Any] | None:
        """Return the choices of a plan, perhaps from a file, that can be repeated here, or None.

        A plan that says into how many pieces a batch is cut gets as many threads as are allowed now: its bits do not
        depend on them. Others keep their threads, but more than there are cores would wait for each other.
        """
        if plan is None or (plan.backend, plan.device) != (self.backend.name, self.device):
            return None
        threads, rows = (plan.choices.get(name, 1) for name in ("threads", "rows_at_a_time"))
        if not (isinstance(threads, int) and isinstance(rows, int) and rows >= 1):
            return None
        allowed = self.backend.threads(self.device)
        if "pieces" in plan.choices and allowed:
            return {**plan.choices, "threads": min(threads, max(allowed))}
        return plan.choices if threads <= max([cores(), *allowed]) else None

    def place(self, value: Any, name: str) -> Any:
        """Return `value` as an array of numbers on the device, in the precision.

        Parameters
        ----------
        value
            An array of the backend, a NumPy array, anything with DLPack or ``__array__``, or nested lists.
        name
            Its name in messages.

        Raises
        ------
        InputError
            For text, ragged lists, or an array on a device that this backend does not reach.
        """
        if type(value) is not np.ndarray:
            if isinstance(value, (str, os.PathLike)):
                raise InputError(
                    f"{name} is the path {shown(value)}, where numbers belong: np.load reads arrays, gdkernels.Stored "
                    "trains on NPY files of any size, and gdkernels.TabularPredictor on tables"
                )
            _check_whole(value, name)
        array = value if self.backend.owns(value) else self._from_elsewhere(value, name)
        numeric = ("bool", "integral", "real floating")
        host = isinstance(array, np.ndarray)
        if not (array.dtype.kind in "biuf" if host else self.xp.isdtype(array.dtype, numeric)):
            raise InputError(f"{name} holds {array.dtype} values, not real numbers; encode text and categories first")
        return self.backend.asarray(array, dtype=self.dtype, device=self.device)

    def zeros_like(self, a: Any) -> Any:
        """Return zeros in the shape of an array of the backend."""
        return np.zeros_like(a) if type(a) is np.ndarray else self.xp.zeros_like(a)

    def _from_elsewhere(self, value: Any, name: str) -> Any:
        device_type = value.__dlpack_device__()[0] if hasattr(value, "__dlpack_device__") else _DLPACK_CPU
        if device_type in DLPACK_HOST:
            try:
                return host_array(value)
            except (BufferError, RuntimeError, TypeError, ValueError) as error:
                raise InputError(f"{name} ({type(value).__name__}) cannot be read as an array: {error}") from error
        if self.device.startswith("cuda"):
            return self.xp.from_dlpack(value)
        raise InputError(
            f"{name} is on {getattr(value, 'device', 'another device')} and would have to be copied to the host for "
            f"backend {self.backend.name!r}; copy it yourself, or choose a backend on its device"
        )

    def give_back(self, result: Any, like: Any) -> Any:
        """Return `result`, an array of the backend, in the namespace and on the device of `like`."""
        if self.backend.owns(like):
            return result
        host = self.backend.to_numpy(result)
        xp = namespace_of(like)
        return host if xp is None else xp.asarray(host, device=like.device)

    def to_numpy(self, a: Any) -> npt.NDArray[Any]:
        return self.backend.to_numpy(a)

    def check_finite(self, a: Any, name: str, names: Sequence[str] | None = None, given: Any = None) -> None:
        """Raise `InputError` that names the first entry of `a` [rows, columns] that is not finite, if there is one.

        Parameters
        ----------
        names
            Those of the columns, where they came with a frame.
        given
            What `a` was placed from: a number that is only too large for the precision is not called infinite.
        """
        if all_finite(a, xp=self.xp):
            return
        host = self.to_numpy(a)
        rows, places = np.nonzero(~np.isfinite(host))
        if rows.size:
            value, row, column = host[rows[0], places[0]], rows[0], places[0]
            where = f"row {row}, column {column}"
            if names is not None and len(names) == host.shape[1]:
                where = f"record {row + 1:,}, column {names[column]!r}"
            original = _entry(given, host.shape, row, column)
            if original is not None and np.isfinite(original):
                raise InputError(
                    f"{name} holds {original:g} in {where}, and {self.dtype} ends at {np.finfo(self.dtype).max:.2g}; "
                    f"scale the data, or choose {keyword('precision', 'float64')}"
                )
            what = "has no value" if names is not None and np.isnan(value) else f"holds {value}"
            raise InputError(
                f"{name} {what} in {where}"
                f"{f', and {rows.size - 1} more values that are not finite' if rows.size > 1 else ''}; "
                "remove or fill them first"
            )


def _entry(given: Any, shape: tuple[int, ...], row: int, column: int) -> float | None:
    """Return a number of what an array of this shape was placed from; None where that cannot be looked at."""
    try:
        return float(np.asarray(given, np.float64).reshape(shape)[row, column])
    except Exception:  # an array of another library, which may raise anything
        return None


def all_finite(*arrays: Any, xp: Any) -> bool:
    """Return whether all entries of `arrays` are finite; if they are, in one pass and without temporary arrays."""
    # The sum of squares holds any infinity and NaN as well; if it overflows, the rest decides.
    for a in arrays:
        if not (type(a) is np.ndarray and a.size <= _SMALL and math.isfinite(np.vdot(a, a))):
            break
    else:
        return True
    with np.errstate(all="ignore"):
        # Infinities and NaN survive in a sum, but a sum that overflows proves nothing.
        if np.isfinite(sum(float(xp.sum(a)) for a in arrays)):
            return True
        return all(bool(xp.all(xp.isfinite(a))) for a in arrays)


def namespace_of(value: Any) -> Any:
    """Return the Array API namespace of `value`, or None for NumPy arrays, lists and frames."""
    import array_api_compat

    if isinstance(value, (np.ndarray, np.generic)) or not array_api_compat.is_array_api_obj(value):
        return None
    return array_api_compat.array_namespace(value)


def _check_whole(value: Any, name: str) -> None:
    """Raise `InputError` for what does not hold a number in each place."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise InputError(f"{name} is a sparse matrix, which MLPClassifier and MLPRegressor take: pass {name}.toarray()")
    if "sparse" in str(getattr(value, "layout", "")):
        raise InputError(f"{name} is a sparse tensor of torch; pass {name}.to_dense()")
    check_unmasked(value, name)


def moved(state: State, old: Binding, new: Binding) -> State:
    """Return a state of one binding as one of another; it comes over the host."""

    def there(a: Any) -> Any:
        return new.place(old.to_numpy(a), "parameters")

    slots = {name: tuple(map(there, arrays)) for name, arrays in state.slots.items()}
    return replace(state, parameters={name: there(a) for name, a in state.parameters.items()}, slots=slots)
