"""Two steps of the definition in float64 on a few of your rows, and the error that the precision itself makes there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State, storage_dtype
from gdkernels.backend.arguments import arrays_by_name, keys_of_run
from gdkernels.backend.program import Program
from gdkernels.backend.verification import bound, with_rounded_products
from gdkernels.definition.network import Arrays
from gdkernels.randomness import KeyedOrder

__all__ = [
    "STEPS",
    "Computed",
    "SampledRows",
    "drawn_parameters",
    "is_finite",
    "movement",
    "prediction_of",
    "problem_of",
    "relative_norm",
    "rows_to_check",
    "steps_of",
]

STEPS = 2
_FLOPS, _LEAST, _MOST = 1e9, 2, 640  # of a reference step; rows

_EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}

# What is smaller is compared with this instead: near it, what a processor flushes to zero is no small part any more.
_NOTHING = {"float32": 1e-32, "float64": 1e-300}


def rows_to_check(widths: tuple[int, ...]) -> int:
    """Return how many rows the definition can do quickly on a host."""
    flops = 6 * sum(m * n for m, n in pairwise(widths))
    return int(min(max(_FLOPS / flops, _LEAST), _MOST))


@dataclass(frozen=True)
class SampledRows:
    """The rows of the checked steps.

    A batch may have more rows than the definition can do quickly. Rows then come again and again, and the definition
    takes each of them once, weighted by how often it comes; not where blocks draw numbers, others for each place.

    Attributes
    ----------
    x, y, sample_weight
        The rows, once each.
    order
        The numbers of the caller's rows, for both steps.
    counts
        The number of times that each row is in each step: [steps, rows].
    """

    x: Any
    y: Any
    sample_weight: Any
    order: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        order: npt.NDArray[np.int64] | KeyedOrder,
        batch: int,
        rows: int,
        take: Callable[[npt.NDArray[np.int64]], tuple[Any, Any, Any]],
    ) -> SampledRows:
        """Return the first `rows` rows of `order`, in steps of `batch`; `take` returns x, y and weights of rows."""
        numbers = np.asarray(order[:rows], np.int64)
        at = np.resize(np.arange(len(numbers)), STEPS * batch)
        counts = np.stack([np.bincount(part, minlength=len(numbers)) for part in at.reshape(STEPS, batch)])
        x, y, sample_weight = take(numbers)
        return cls(x, y, sample_weight, numbers[at], counts)

    def step(self, k: int, *, one_by_one: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which rows a step takes and how often: each once, or each time that it comes."""
        counts = self.counts[k]
        if not one_by_one:
            return np.flatnonzero(counts), counts[counts > 0]
        batch = int(counts.sum())
        at = np.resize(np.arange(len(counts)), STEPS * batch)
        return at[k * batch : (k + 1) * batch], np.ones(batch, np.int64)


@dataclass(frozen=True)
class Computed:
    """The results of two steps: E and the norm by their names, and what they added to each array."""

    numbers: Mapping[str, float]
    moved: Mapping[str, Any]


def steps_of(
    program: Program, state: State, sample: SampledRows, rates: npt.NDArray[np.float64], precision: str, xp: Any
) -> Computed:
    """Run the definition from a state, and leave that as it is.

    Parameters
    ----------
    state, sample
        With arrays of `xp`.
    precision
        The precision of the computation, or one of its roundings: if it rounds the operands of products, so does this.
    """
    real = _converting(precision, xp)
    parameters = {name: real(a) for name, a in state.parameters.items()}
    slots = {name: tuple(map(real, moved)) for name, moved in state.slots.items()}
    before = arrays_by_name(parameters, slots)
    x, y = real(sample.x), real(sample.y)
    own = None if sample.sample_weight is None else real(sample.sample_weight)
    error, norms = 0.0, 0.0
    with np.errstate(all="ignore"):
        batch = int(sample.counts[0].sum())
        keys = keys_of_run(program, state, STEPS * batch, batch)
        for k in range(STEPS):
            rows, counts = sample.step(k, one_by_one=program.draws)
            used, often = xp.asarray(rows), xp.asarray(counts.astype(storage_dtype(precision)))
            weight = often if own is None else often * xp.take(own, used, axis=0)
            again = bool((counts > 1).any()) or program.weighted
            found, norm, parameters, slots = replace(program, weighted=again).train_step(
                parameters,
                slots,
                xp.take(x, used, axis=0),
                xp.take(y, used, axis=0),
                learning_rate=float(rates[k]),
                t=float(state.step + 1 + k),
                sample_weight=weight if again else None,
                row_keys=None if keys is None else xp.asarray(keys[k * batch : (k + 1) * batch]),
                xp=with_rounded_products(xp, precision),
            )
            error += float(found)
            norms += 0.0 if norm is None else float(norm)
    numbers = {"the loss": error} | ({"the norm": norms / STEPS} if program.gradient_norm else {})
    after = arrays_by_name(parameters, slots)
    return Computed(numbers, {name: after[name] - before[name] for name in before})


def prediction_of(program: Program, parameters: Arrays, x: Any, precision: str, xp: Any) -> Any:
    """Return the network's output by the definition, computed in `precision`."""
    real = _converting(precision, xp)
    return program.forward(
        {name: real(a) for name, a in parameters.items()}, real(x), xp=with_rounded_products(xp, precision)
    )


def _converting(precision: str, xp: Any) -> Callable[[Any], Any]:
    dtype = getattr(xp, storage_dtype(precision))
    return lambda a: xp.astype(a, dtype, copy=True)


def relative_norm(a: Any, wanted: Any, precision: str, xp: Any) -> float:
    """Return ‖a − wanted‖ / ‖wanted‖, for numbers that the precision can tell from 0."""
    return _norm(xp.astype(a, xp.float64) - wanted, xp) / _size(wanted, precision, xp)


def problem_of(
    found: Computed,
    wanted: Computed,
    own: Callable[[], Sequence[Computed]],
    before: Mapping[str, Any],
    precision: str,
    xp: Any,
) -> str | None:
    """Return which result is further from `wanted`, the steps in float64, than the precision explains; or None.

    Parameters
    ----------
    own
        Returns the definition's steps in that precision, by each of its roundings; not asked where `found` is so near
        that they do not matter.
    before
        The arrays before the steps: storing them rounds.
    """
    with np.errstate(all="ignore"):
        off = _distances(found, wanted, precision, xp)
        rounding = {
            name: 2 * STEPS * _EPSILON[storage_dtype(precision)] * _norm(before[name], xp) / _size(a, precision, xp)
            for name, a in wanted.moved.items()
        }
        usual = dict.fromkeys(off, 0.0)
        wrong = _too_far(off, usual, rounding, precision)
        if wrong and precision != "float64":  # which is compared with itself
            distances = [_distances(one, wanted, precision, xp) for one in own()]
            usual = {name: max(each[name] for each in distances) for name in off}
            wrong = _too_far(off, usual, rounding, precision)
    if not wrong:
        return None
    name, distance, allowed = max(wrong, key=lambda w: (w[1] != w[1], w[1] / w[2]))
    what = name if name in wanted.numbers else f"what is added to {name}"
    return f"{what} is off by {distance:.1e} after {STEPS} steps, at most {allowed:.1e} is allowed"


def _distances(found: Computed, wanted: Computed, precision: str, xp: Any) -> dict[str, float]:
    """Return the distance of each array from the wanted one, as a share of that."""
    numbers = {name: _off_number(found.numbers[name], value, precision) for name, value in wanted.numbers.items()}
    moved = {
        name: _norm(found.moved[name] - array, xp) / _size(array, precision, xp) for name, array in wanted.moved.items()
    }
    return numbers | moved


def _too_far(
    off: Mapping[str, float], usual: Mapping[str, float], rounding: Mapping[str, float], precision: str
) -> list[tuple[str, float, float]]:
    """Return the name of an array that is too far from the wanted one, its distance, and the limit."""
    allowed = {name: bound(usual[name], precision, 100) + rounding.get(name, 0.0) for name in off}
    return [(name, off[name], allowed[name]) for name in off if not off[name] <= allowed[name]]


def _off_number(a: float, b: float, precision: str) -> float:
    return abs(a - b) / max(abs(b), _NOTHING[storage_dtype(precision)])


def _size(wanted: Any, precision: str, xp: Any) -> float:
    least: float = _NOTHING[storage_dtype(precision)] * math.prod(wanted.shape) ** 0.5
    return max(_norm(wanted, xp), least)


def _norm(a: Any, xp: Any) -> float:
    a = xp.astype(a, xp.float64)
    return float(xp.sqrt(xp.sum(a * a)))


def is_finite(computed: Computed, xp: Any) -> bool:
    """Return whether everything is finite."""
    with np.errstate(all="ignore"):
        return all(map(np.isfinite, computed.numbers.values())) and all(
            bool(xp.all(xp.isfinite(a))) for a in computed.moved.values()
        )


def movement(computed: Computed, before: Mapping[str, Any], xp: Any) -> float:
    """Return how far the weights moved, as a share of what they are."""
    names = [name for name in before if "." not in name and len(before[name].shape) == 2]
    moved, size = (sum(_norm(arrays[n], xp) ** 2 for n in names) for arrays in (computed.moved, before))
    return float((moved / size) ** 0.5) if size else 0.0


def drawn_parameters(
    program: Program, parameters: Arrays, put: Callable[[npt.NDArray[np.float32]], Any]
) -> dict[str, Any]:
    """Return parameters of the same shapes, as they are at the start of a training; constants stay."""
    random = np.random.default_rng(0)

    def draw(a: Any) -> Any:
        scale = a.shape[0] ** 0.5 if len(a.shape) == 2 else 4.0
        return put((random.standard_normal(tuple(a.shape)) / scale).astype(np.float32))

    return {name: draw(a) if name in program.trained else a for name, a in parameters.items()}
