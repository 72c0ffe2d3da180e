"""The check that the work was done: results beside those of the definition in float64, from the same start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import storage_dtype
from gdkernels.backend.program import Program
from gdkernels.backend.verification import (
    bound,
    continue_on_numpy,
    numpy_namespace,
    predict_on_numpy,
    relative_error,
    roundings,
)
from gdkernels.backend.verification import start as state_before
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition import network

__all__ = ["Checker", "DefinitionCheck", "evaluate"]

Arrays = Mapping[str, npt.NDArray[Any]]

# Results of these stages are compared by what they added to the start, because a small learning rate would hide a wrong
# gradient behind the weights.
_MOVES = ("update", "epoch")

# Where a unit's input is within rounding of relu's corner, float32 may find it on the other side: its gradient then has
# a few records more or less by one backend than by another. NumPy's own error is therefore the larger of two, with all
# biases moved up and down by this: rounding may move a sum of some hundred products of about 1 by as much.
_SHIFT = 2.0**-19

# Matrix units round the operands of products. A unit's input near relu's corner then falls on the other side in so many
# records that all results are per cents away from float64. But rounding errs in every direction, and a wrong slope in
# one. So an array may differ in length by this share from the definition's with operands rounded alike, beyond what
# chance explains. In the networks of the sweep, a slope that is off by 1 % makes at least 0.7 %; a library that rounds
# its results too makes at most half a per cent.
_SCALE = 0.006
# What is nearer to float64 than this cannot have a wrong slope. The definition with rounded operands may itself be
# longer than float64 by more than `_SCALE`, and a stage that does not round them is right all the same.
_EXACT = 0.1 * _SCALE
_ROUNDING = ("tf32", "bfloat16")

# The number of steps that the bound of `gdkernels.backend.verification` depends on.
_STEPS = {"forward": 1, "gradient": 1, "update": 1, "epoch": 100}


@dataclass(frozen=True)
class DefinitionCheck:
    """The relative error of the array that is nearest to its bound, or furthest beyond it.

    Attributes
    ----------
    error
        ‖a − a64‖/‖a64‖; for an update or an epoch, of what was added to the parameters. NaN where not finite.
    allowed
        The bound of `gdkernels.backend.verification`: a floor, or a multiple of the error that the definition has on
        NumPy in the same precision.
    array
        The name of the array.
    scale
        In precisions that round operands: the share by which the array is longer or shorter than the definition's with
        operands rounded alike and all else in float64, less three standard deviations of chance.
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


@dataclass(frozen=True)
class Expected:
    """The results of the definition from one start.

    Attributes
    ----------
    exact
        In float64.
    rounded
        With operands rounded as the precision does, and all else in float64: for each of its roundings, if it has any.
    own
        In the precision itself, by each of its roundings.
    """

    exact: Arrays
    rounded: Sequence[Arrays]
    own: Sequence[Arrays]


class Checker:
    """Compares results of one task with the definition, which runs once for all participants that start alike."""

    def __init__(self, task: TrainingTask) -> None:
        self._task = task
        self._known: dict[tuple[str, str, bytes], Expected] = {}

    def check(self, stage: str, precision: str, start: Arrays, results: Arrays) -> DefinitionCheck:
        """Return how far `results` are from those of the definition, from the same `start`.

        Parameters
        ----------
        start
            The parameters ``W0``, ``b0``, …, and for an epoch the ``order`` of the records, and the ``step`` that it
            begins with where blocks draw random numbers: the definition then draws the same.
        results
            The ``output``, or an array for each parameter.
        """
        expected = self._computed(stage, precision, start)
        worst = DefinitionCheck(0.0, 0.0, "")
        for name, a64 in expected.exact.items():
            found = np.asarray(results[name], np.float64)
            if stage in _MOVES:
                found = found - start[name]
            error = relative_error(found, a64)
            usual = max(relative_error(own[name], a64) for own in expected.own)
            allowed = bound(usual, precision, steps=_STEPS[stage])
            rounds = precision in _ROUNDING and _EXACT < error <= allowed
            scale = min(_scale(found, alike[name]) for alike in expected.rounded) if rounds else None
            check = DefinitionCheck(error, allowed, name, scale)
            if not check.holds:
                return check
            if error * worst.allowed >= worst.error * allowed:
                worst = check
        return worst

    def _computed(self, stage: str, precision: str, start: Arrays) -> Expected:
        bits = hashlib.sha256()
        for name in sorted(start):
            bits.update(np.ascontiguousarray(start[name]).tobytes())
        key = stage, precision, bits.digest()
        if key not in self._known:
            program = self._task.program()
            starts = [_shifted(program, start, sign) for sign in (1, -1)] if precision == "float32" else [start]
            ways = roundings(precision)
            self._known[key] = Expected(
                _computed(self._task, stage, "float64", start),
                [_computed(self._task, stage, way, start, "float64") for way in ways if precision in _ROUNDING],
                [_computed(self._task, stage, way, shifted) for way in ways for shifted in starts],
            )
        return self._known[key]


def evaluate(measure: str, task: TrainingTask, parameters: Arrays, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """Return the mean "loss" per record, or the "accuracy", by the definition on NumPy in float32."""
    program = task.program()
    weights = {name: parameters[name].astype(np.float32) for name in program.parameters}
    output = predict_on_numpy(program, weights, x, "float32")
    if measure == "accuracy":
        return float(np.mean(output.argmax(axis=1) == y.argmax(axis=1)))
    return float(0.5 * np.sum((output - y) ** 2, dtype=np.float64) / len(x))


def _scale(found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> float:
    """Return the share by which `found` is longer or shorter than `wanted` along it, less three standard deviations."""
    size = float(np.vdot(wanted, wanted)) or 1.0
    off = found - wanted
    chance = 3.0 * float(np.sqrt(np.vdot(off, off) / size / off.size))
    return max(0.0, abs(float(np.vdot(off, wanted))) / size - chance)


def _shifted(program: Program, start: Arrays, sign: int) -> Arrays:
    """Return `start` with its biases moved as far as rounding to float32 may move the input of a unit."""
    biases = {name for name in program.trained if name not in program.decaying}
    return {name: a + np.float32(sign * _SHIFT) if name in biases else a for name, a in start.items()}


def _computed(
    task: TrainingTask, stage: str, precision: str, start: Arrays, dtype: str | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the results of the definition on NumPy in `precision`, as they are compared, as float64 numbers.

    Parameters
    ----------
    dtype
        The type of everything but the operands of products; None is the usual one of the precision.
    """
    program = task.program()
    dtype = dtype or storage_dtype(precision)
    parameters = {name: start[name].astype(dtype) for name in program.parameters}
    x, y = (a.astype(dtype, copy=False) for a in task.data())
    state = state_before(program, parameters, np.array)
    if stage == "forward":
        return {"output": predict_on_numpy(program, parameters, x[: task.batch], precision).astype(np.float64)}
    xp = numpy_namespace(precision)
    if stage in ("gradient", "update"):
        assert program.objective is not None
        _, slopes = network.gradient(
            program.block,
            parameters,
            x[: task.batch],
            y[: task.batch],
            trained=program.trained,
            loss=program.objective.loss,
            xp=xp,
        )
        if stage == "gradient":
            return {name: a.astype(np.float64) for name, a in slopes.items()}
        moved, _ = network.update(
            parameters,
            slopes,
            state.slots,
            decaying=program.decaying,
            optimizer=task.rule(),
            learning_rate=task.learning_rate,
            t=1.0,
            xp=xp,
        )
        return {name: a.astype(np.float64) - start[name] for name, a in moved.items()}
    state.seed, state.step = task.seed, int(start.get("step", 0))
    order = np.asarray(start["order"])
    rates = np.full(-(-len(order) // task.batch), task.learning_rate)
    continue_on_numpy(program, state, x, y, order, task.batch, rates, precision)
    return {name: a.astype(np.float64) - start[name] for name, a in state.parameters.items()}
