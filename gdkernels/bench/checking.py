"""The proof that the work was done: what was computed, against the definition in float64 from the same start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State, storage_dtype
from gdkernels.backend.verification import bound, continue_on_numpy, numpy_namespace, predict_on_numpy, relative_error
from gdkernels.bench.participants.task import Task
from gdkernels.bench.participants.stages import named
from gdkernels.definition import network
from gdkernels.definition.network import Layer, map_layers

__all__ = ["Proof", "Prover", "judge"]

Arrays = Mapping[str, npt.NDArray[Any]]

# Whose results are compared as what they added to the start: a small learning rate must not hide a wrong gradient
# behind the weights.
_MOVES = ("update", "epoch")

# Where a unit's input is within rounding of relu's corner, float32 may find it on the other side: a few records then
# miss in its gradient, or are added, for one backend and not for another. The error that NumPy has is therefore taken
# with all biases moved up and down by this: a sum of some hundred products of about 1 may be rounded by as much.
_SHIFT = 2.0**-19

# Matrix units round the operands of products, and a unit's input near relu's corner then falls on the other side in so
# many records that results are per cents away from float64, by whom ever. But rounding errs in every direction, and a
# wrong slope in one: so much longer or shorter than the definition's with operands rounded alike may an array be,
# beyond what chance explains. A slope that is off by 1 % makes 0.7 % of it at least in the networks of the sweep, and
# a library that rounds its results too half a per cent at most.
_SCALE = 0.006
_ROUNDING = ("tf32", "bfloat16")

# Steps by which `gdkernels.backend.verification` knows its bounds.
_STEPS = {"forward": 1, "gradient": 1, "update": 1, "epoch": 100}


@dataclass(frozen=True)
class Proof:
    """The relative error of the array that is nearest to its bound, or furthest beyond.

    Attributes
    ----------
    error
        ‖a − a64‖/‖a64‖; for an update or an epoch, of what was added to the parameters. NaN where not finite.
    allowed
        The bound of `gdkernels.backend.verification`: a floor, or a multiple of the error that the definition has on
        NumPy in the same precision.
    array
        Which array it is.
    scale
        In precisions that round operands: by which share the array is longer or shorter than the definition's with
        operands rounded alike and all else in float64, three standard deviations of chance taken off.
    """

    error: float
    allowed: float
    array: str
    scale: float | None = None

    @property
    def holds(self) -> bool:
        return self.error <= self.allowed and (self.scale is None or self.scale <= _SCALE)

    def __str__(self) -> str:
        if self.scale is not None and self.scale > _SCALE:
            return (
                f"{self.array} is {self.scale:.1%} longer or shorter than by the definition with operands rounded "
                f"alike, at most {_SCALE:.1%} is allowed"
            )
        return (
            f"{self.array} is off by {self.error:.1e} from the definition in float64, at most {self.allowed:.1e} is "
            "allowed"
        )

    def as_dict(self) -> dict[str, Any]:
        error = self.error if np.isfinite(self.error) else None
        return asdict(self) | {"error": error}


class Prover:
    """Compares results of one task; what several contenders begin with alike is computed once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._known: dict[tuple[str, str, bytes], list[dict[str, npt.NDArray[np.float64]]]] = {}

    def prove(self, piece: str, precision: str, start: Arrays, results: Arrays) -> Proof:
        """Return how far `results` are from what the definition makes of `start`.

        Parameters
        ----------
        start
            What the work began with: ``W0``, ``b0``, …, and for an epoch the ``order`` of the records.
        results
            What it made of that: ``output``, or an array for each parameter.
        """
        exact, rounded, *own = self._computed(piece, precision, start)
        worst = Proof(0.0, 0.0, "")
        for name, a64 in exact.items():
            found = np.asarray(results[name], np.float64)
            if piece in _MOVES:
                found = found - start[name]
            error = relative_error(found, a64)
            allowed = bound(max(relative_error(o[name], a64) for o in own), precision, steps=_STEPS[piece])
            scale = _scale(found, rounded[name]) if precision in _ROUNDING and error <= allowed else None
            proof = Proof(error, allowed, name, scale)
            if not proof.holds:
                return proof
            if error * worst.allowed >= worst.error * allowed:
                worst = proof
        return worst

    def _computed(self, piece: str, precision: str, start: Arrays) -> list[dict[str, npt.NDArray[np.float64]]]:
        """Return the results in float64, with operands rounded as in `precision`, and two in `precision`."""
        bits = hashlib.sha256()
        for name in sorted(start):
            bits.update(np.ascontiguousarray(start[name]).tobytes())
        key = piece, precision, bits.digest()
        if key not in self._known:
            starts = [_shifted(start, precision, sign) for sign in (1, -1)]
            exact = _computed(self._task, piece, "float64", start)
            rounds = precision in _ROUNDING
            self._known[key] = [
                exact,
                _computed(self._task, piece, precision, start, "float64") if rounds else exact,
                *(_computed(self._task, piece, precision, shifted) for shifted in starts),
            ]
        return self._known[key]


def judge(measure: str, task: Task, parameters: Arrays, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """Return the mean "loss" per record, or the "accuracy", by the definition on NumPy in float32."""
    output = predict_on_numpy(task.program(), _layers(task, parameters, "float32"), x, "float32")
    if measure == "accuracy":
        return float(np.mean(output.argmax(axis=1) == y.argmax(axis=1)))
    return float(0.5 * np.sum((output - y) ** 2, dtype=np.float64) / len(x))


def _scale(found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> float:
    """Return by which share `found` is longer or shorter than `wanted` along it, three standard deviations off."""
    size = float(np.vdot(wanted, wanted)) or 1.0
    off = found - wanted
    chance = 3.0 * float(np.sqrt(np.vdot(off, off) / size / off.size))
    return max(0.0, abs(float(np.vdot(off, wanted))) / size - chance)


def _shifted(start: Arrays, precision: str, sign: int) -> Arrays:
    """Return `start` with its biases moved, in float32, by what rounding may move the input of a unit."""
    if precision != "float32":
        return start
    return {name: a + np.float32(sign * _SHIFT) if name.startswith("b") else a for name, a in start.items()}


def _computed(
    task: Task, piece: str, precision: str, start: Arrays, dtype: str | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """Return what is compared of the results of the definition on NumPy in `precision`, as float64 numbers.

    Parameters
    ----------
    dtype
        In which all is computed but the operands of products; None: as is usual in the precision.
    """
    program = task.program()
    dtype = dtype or storage_dtype(precision)
    layers = _layers(task, start, dtype)
    x, y = (a.astype(dtype, copy=False) for a in task.data())
    slots = map_layers(lambda a: tuple(np.zeros_like(a) for _ in range(task.rule().slots)), layers)
    state = State(layers, slots)
    if piece == "forward":
        return {"output": predict_on_numpy(program, layers, x[: task.batch], precision).astype(np.float64)}
    if piece == "gradient":
        _, slopes = network.gradient(
            layers,
            x[: task.batch],
            y[: task.batch],
            activations=program.activations,
            loss=program.loss,  # type: ignore[arg-type]
            xp=numpy_namespace(precision),
        )
        return {name: a.astype(np.float64) for name, a in named(slopes).items()}
    order = np.asarray(start["order"]) if piece == "epoch" else np.arange(min(task.batch, task.records))
    rates = np.full(-(-len(order) // task.batch), task.learning_rate)
    continue_on_numpy(program, state, x, y, order, task.batch, rates, precision)
    return {name: a.astype(np.float64) - start[name] for name, a in named(state.parameters).items()}


def _layers(task: Task, arrays: Arrays, dtype: str) -> tuple[Layer, ...]:
    pairs = [(arrays[f"W{k}"], arrays[f"b{k}"]) for k in range(len(task.sizes) - 1)]
    return tuple(Layer(W.astype(dtype), b.astype(dtype)) for W, b in pairs)
