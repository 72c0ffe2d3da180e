"""The distance of a backend from the definition in float64: the measure, the reference, and a small self-test."""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, State, storage_dtype
from gdkernels.backend.arguments import arrays_by_name, keys_of_run
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import activations
from gdkernels.definition.chain import chain
from gdkernels.definition.losses import sse
from gdkernels.definition.network import Arrays
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Adam
from gdkernels.errors import BackendError

__all__ = [
    "FLOORS",
    "bound",
    "continue_on_numpy",
    "named_arrays",
    "numpy_namespace",
    "predict_on_numpy",
    "reference",
    "relative_error",
    "roundings",
    "self_test",
    "start",
    "with_rounded_products",
]

# The errors that every backend may have after one step and after about a hundred, and how many times NumPy's own error
# in the same precision. float64 has no such yardstick, because the reference is float64 itself.
FLOORS = {1: (1e-5, 2.0), 100: (1e-4, 3.0)}
_FLOAT64 = 1e-10

# Bits of a float32 that the operands of a product lose, and whether they are cut off rather than rounded. For tf32,
# nothing says which of the two a library does; bfloat16 is stored, and stored rounded.
_CUT_OFF = "tf32, cut off"
_LOST_BITS = {"tf32": (13, False), _CUT_OFF: (13, True), "bfloat16": (16, False)}


def relative_error(a: npt.ArrayLike, a64: npt.ArrayLike) -> float:
    """Return ‖a − a64‖ / ‖a64‖, or ‖a‖ where a64 is zero.

    It is NaN where either is not finite, and infinite where the shapes differ.
    """
    found, wanted = np.asarray(a, dtype=np.float64), np.asarray(a64, dtype=np.float64)
    if found.shape != wanted.shape:
        return math.inf
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return math.nan
    size = float(np.linalg.norm(wanted.ravel()))
    return float(np.linalg.norm((found - wanted).ravel())) / (size or 1.0)


def bound(own: float, precision: str, steps: int) -> float:
    """Return the largest relative error allowed after `steps` steps, 1 or 100.

    Parameters
    ----------
    own
        The relative error that NumPy itself has in this precision.
    """
    if precision == "float64":
        return _FLOAT64
    floor, factor = FLOORS[steps]
    return max(floor, factor * own)


def roundings(precision: str) -> tuple[str, ...]:
    """Return the ways in which a device may round in a precision, as names that stand for it on NumPy.

    What is right has at most about the error of the worst of them.
    """
    return (precision, _CUT_OFF) if precision == "tf32" else (precision,)


def start(program: Program, parameters: Arrays, put: Callable[[Any], Any]) -> State:
    """Return the state before the first step, with arrays that `put` makes from NumPy's; slots are zero."""
    slots = {n: tuple(put(np.zeros_like(parameters[n])) for _ in range(program.slots)) for n in program.trained}
    return State({name: put(a) for name, a in parameters.items()}, slots)


def named_arrays(state: State, to_numpy: Callable[[Any], Any] = np.asarray) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the name and the array of everything that training moves, as ``W0``, ``b0``, ``W0.0`` (a slot), …."""
    for name, array in arrays_by_name(state.parameters, state.slots).items():
        yield name, to_numpy(array)


def reference(
    program: Program,
    parameters: Arrays,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    order: npt.NDArray[np.int64],
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
) -> tuple[float, State]:
    """Run the definition in float64 on NumPy, from the first step.

    Returns
    -------
    tuple
        The sum of E over the batches, and the state after them.
    """
    state = start(program, parameters, lambda a: np.asarray(a, dtype=np.float64))
    loss, _ = continue_on_numpy(program, state, x, y, order, batch_size, learning_rates)
    return loss, state


def continue_on_numpy(
    program: Program,
    state: State,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    order: npt.NDArray[np.int64],
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
    precision: str = "float64",
    sample_weight: npt.NDArray[Any] | None = None,
) -> tuple[float, float | None]:
    """Run the definition on NumPy in `precision` from `state` on, which is updated; return the sum of E, the mean norm.

    In tf32 and bfloat16, the operands of every product are rounded as a matrix unit rounds them: so the error of this
    is what the precision itself costs. Instead of a precision, it takes any of its `roundings`.
    """
    # Does not use DefinitionExecutable, which is compared with this.
    xp = numpy_namespace(precision)
    dtype = storage_dtype(precision)
    x, y = np.asarray(x, dtype), np.asarray(y, dtype)
    weights = None if sample_weight is None else np.asarray(sample_weight, dtype)
    keys = keys_of_run(program, state, len(order), batch_size)
    losses, norms = [], []
    with _unflagged():
        for k, learning_rate in enumerate(learning_rates):
            part = slice(k * batch_size, (k + 1) * batch_size)
            rows = order[part]
            state.step += 1
            loss, norm, state.parameters, state.slots = program.train_step(
                state.parameters,
                state.slots,
                x[rows],
                y[rows],
                learning_rate=float(learning_rate),
                t=float(state.step),
                sample_weight=None if weights is None else weights[rows],
                row_keys=None if keys is None else keys[part],
                xp=xp,
            )
            losses.append(float(loss))
            norms.append(0.0 if norm is None else float(norm))
    return math.fsum(losses), math.fsum(norms) / max(1, len(norms)) if program.gradient_norm else None


def predict_on_numpy(program: Program, parameters: Arrays, x: Any, precision: str = "float64") -> npt.NDArray[Any]:
    """Return the network's output by the definition on NumPy in `precision`."""
    with _unflagged():
        output: npt.NDArray[Any] = program.forward(parameters, x, xp=numpy_namespace(precision))
    return output


def _unflagged() -> np.errstate:
    """Return a context without warnings of invalid operations, which are no sign of a wrong number.

    OpenBLAS's products of one or two vectors of five numbers also compute with what lies beside them in memory, and
    leave that out of the result. If it happens to be no number, NumPy says so of the product.
    """
    return np.errstate(invalid="ignore")


def numpy_namespace(precision: str) -> Any:
    """Return the namespace of NumPy, in tf32 and bfloat16 with products whose operands are rounded."""
    import array_api_compat.numpy

    return with_rounded_products(array_api_compat.numpy, precision)


def with_rounded_products(xp: Any, precision: str) -> Any:
    """Return a namespace of NumPy's or CuPy's arrays as a precision computes: in tf32 and bfloat16, products round."""
    return _Rounding(xp, *_LOST_BITS[precision]) if precision in _LOST_BITS else xp


class _Rounding:
    """A namespace whose products round their operands, to the nearest and ties to even, or cut their last bits off."""

    def __init__(self, xp: Any, lost_bits: int, cuts: bool) -> None:
        self._xp = xp
        self._lost_bits, self._cuts = lost_bits, cuts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def matmul(self, a: Any, b: Any) -> Any:
        return self._xp.matmul(self._round(a), self._round(b))

    def _round(self, a: Any) -> Any:
        bits = self._xp.astype(a, self._xp.float32).view(np.uint32)
        if not self._cuts:
            bits = bits + ((bits >> self._lost_bits) & 1) + np.uint32((1 << (self._lost_bits - 1)) - 1)
        rounded = bits & np.uint32(~((1 << self._lost_bits) - 1) & 0xFFFFFFFF)
        return self._xp.where(self._xp.isfinite(a), rounded.view(np.float32), a)


def self_test(backend: Backend, device: str) -> float:
    """Train a small network for an epoch on `device` and return the largest relative error of the parameters' changes.

    Three layers, a last batch that is smaller, Adam; in float32 where the backend can do it.

    Raises
    ------
    BackendError
        If the step cannot be run, or an array is further from float64 than is allowed; it names the array.
    """
    precision = "float32" if "float32" in backend.precisions else backend.precisions[0]
    network = chain((8, 7, 3), (activations.tanh, activations.relu, activations.identity))
    program = Program(network, 5, objective=Objective(sse), optimizer=Adam(1e-2))
    random = np.random.default_rng(1847)  # the year in which Cauchy published gradient descent
    parameters = {
        name: _float32(random, told.shape) / np.float32(told.shape[0] ** 0.5 if len(told.shape) == 2 else 4)
        for name, told in program.parameters.items()
    }
    x, y = _float32(random, (21, program.inputs)), _float32(random, (21, program.outputs))
    order, batch_size, rates = np.arange(20, -1, -1, dtype=np.int64), 8, np.asarray([1e-2, 5e-3, 2e-3])

    wanted_loss, wanted = reference(program, parameters, x, y, order, batch_size, rates)
    own = start(program, parameters, lambda a: np.asarray(a, dtype=storage_dtype(precision)))
    own_loss, _ = continue_on_numpy(program, own, x, y, order, batch_size, rates, precision)

    def put(a: Any) -> Any:
        return backend.asarray(a, dtype=storage_dtype(precision), device=device)

    try:
        state = start(program, parameters, put)
        executable = bind(backend, program, Plan(backend.name, device, precision))
        loss, _ = executable.run(state, put(x), put(y), order, batch_size, rates)
        backend.synchronize(device)
        found = {"the loss": np.asarray(loss)} | dict(named_arrays(state, backend.to_numpy))
    except Exception as error:  # whatever a stranger's backend raises
        raise BackendError(f"a training step on {device} fails: {type(error).__name__}: {error}") from error

    goal = {"the loss": np.asarray(wanted_loss)} | dict(named_arrays(wanted))
    yardstick = {"the loss": np.asarray(own_loss)} | dict(named_arrays(own))
    worst = 0.0
    for name, a64 in goal.items():
        off = relative_error(found[name], a64)
        allowed = bound(relative_error(yardstick[name], a64), precision, steps=1)
        if not off <= allowed:
            raise BackendError(
                f"a training step on {device} is wrong: {name} is off by {off:.1e} in {precision}, "
                f"at most {allowed:.1e} is allowed"
            )
        worst = max(worst, off)
    return worst


def _float32(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return random.standard_normal(shape, dtype=np.float32)
