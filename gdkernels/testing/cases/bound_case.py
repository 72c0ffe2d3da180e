"""A case bound to a backend: its executable, its data there, and short runs that the suite compares."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, State, storage_dtype, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.testing.cases.programs import CASES, Case
from gdkernels.testing.cases.runs import Data, arrays_of, compare, data_of, numpy_state, put_on, state_on

__all__ = ["BoundCase", "assert_same_bits", "check_run", "predict_on_numpy"]


class BoundCase:
    """A case on a device of a backend, in a precision.

    Attributes
    ----------
    executable, x, y
        What runs it, and its records.
    """

    def __init__(self, backend: Backend, device: str, precision: str, case: Case) -> None:
        self._backend, self._device, self._precision, self._case = backend, device, precision, case
        put = put_on(backend, device, precision)
        self.executable = bind(backend, case.program, Plan(backend.name, device, precision))
        self.x, self.y = put(data_of(case).x), put(data_of(case).y)

    def state(self) -> State:
        """Return a state as it is before the first step."""
        return state_on(self._backend, self._device, self._precision, self._case.program, data_of(self._case))

    def one_epoch(self) -> tuple[State, Any]:
        """Return a state after three steps, and what they returned."""
        state = self.state()
        return state, self.executable.run(state, self.x, self.y, np.arange(20), 8, np.linspace(0.02, 0.01, 3))


def check_run(
    backend: Backend,
    device: str,
    order: npt.NDArray[np.int64],
    batch_size: int,
    arrange: Callable[[Any], Any] = np.asarray,
) -> None:
    """Compare a run over some records, in host arrays as `arrange` lays them out, with the definition."""
    case = CASES["adam"]
    data = data_of(case)
    rates = np.linspace(0.03, 0.01, -(-len(order) // batch_size))
    for precision in backend.precisions:
        dtype = storage_dtype(precision)
        x, y = (backend.asarray(arrange(a.astype(dtype)), dtype=dtype, device=device) for a in (data.x, data.y))
        state = state_on(backend, device, precision, case.program, data)
        executable = bind(backend, case.program, Plan(backend.name, device, precision))
        loss, _ = executable.run(state, x, y, order, batch_size, rates)
        found = [arrays_of(loss, state, backend.to_numpy)]
        own = [[_run_on_numpy(case, p, order, batch_size, rates)] for p in verification.roundings(precision)]
        compare(found, own, [_run_on_numpy(case, "float64", order, batch_size, rates)], precision)


def _run_on_numpy(case: Case, precision: str, order: Any, batch_size: int, rates: Any) -> dict[str, Any]:
    data, state = data_of(case), numpy_state(case, precision)
    loss, _ = verification.continue_on_numpy(case.program, state, data.x, data.y, order, batch_size, rates, precision)
    return arrays_of(loss, state, np.asarray)


def predict_on_numpy(program: Program, data: Data, precision: str) -> npt.NDArray[Any]:
    """Return what the definition predicts for the records of a case."""
    dtype = storage_dtype(precision)
    parameters = {name: np.asarray(a, dtype=dtype) for name, a in data.parameters.items()}
    return verification.predict_on_numpy(program, parameters, np.asarray(data.x, dtype=dtype), precision)


def assert_same_bits(backend: Backend, one: State, other: State) -> None:
    """Fail where two states differ, and name the array."""
    wanted = dict(verification.named_arrays(other, backend.to_numpy))
    for name, array in verification.named_arrays(one, backend.to_numpy):
        assert array.tobytes() == wanted[name].tobytes(), f"{name} differs in its bits"
