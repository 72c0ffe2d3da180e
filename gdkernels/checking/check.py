"""The self-check: a way runs two steps twice, and is compared with the definition, before it is used."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State, storage_dtype
from gdkernels.backend.arguments import arrays_by_name
from gdkernels.backend.program import Program
from gdkernels.backend.verification import bound, roundings
from gdkernels.checking.mode import check_mode
from gdkernels.checking.reference import (
    STEPS,
    Computed,
    SampledRows,
    drawn_parameters,
    is_finite,
    movement,
    prediction_of,
    problem_of,
    relative_norm,
    rows_to_check,
    steps_of,
)
from gdkernels.definition.network import Arrays
from gdkernels.randomness import KeyedOrder
from gdkernels.system.kept import keep, kept

__all__ = ["Call", "SelfCheck"]

_log = logging.getLogger("gdkernels")

_LARGE = 2_000_000  # parameters above which the definition runs on the device
_STILL, _MOVING = 1e-4, 1e-3  # of the weights: what moves less hides in what storing them rounds


@dataclass(frozen=True)
class Call:
    """The work for a way: the arguments of `Executable.run`."""

    state: State
    x: Any
    y: Any
    order: npt.NDArray[np.int64] | KeyedOrder
    batch: int
    rates: npt.NDArray[np.float64]
    sample_weight: Any = None


class SelfCheck:
    """Compares ways of computing a program on a device with the definition.

    Parameters
    ----------
    short
        The error that is raised if copies do not fit.
    variables
        Environment variables that the libraries below read, and that change results.
    """

    def __init__(
        self,
        backend: Backend,
        program: Program,
        plan: Plan,
        *,
        short: tuple[type[Exception], ...] = (MemoryError,),
        variables: Sequence[str] = (),
    ) -> None:
        self._backend, self._program, self._plan = backend, program, plan
        self._short, self._variables = short, variables

    def problem(self, ways: Sequence[Executable], identity: Callable[[], Any] | None, call: Call) -> str | None:
        """Return how a way differs from the definition; None if it does not, or if nothing could be checked.

        Parameters
        ----------
        ways
            Executables of one kernel, which may share out its work differently; each runs twice.
        identity
            Called after the first run: returns what JSON can hold, and all that the result depends on. None keeps
            nothing of what is found.
        call
            What is to be run afterwards; nothing of it changes.
        """
        if check_mode() == "never":
            return None
        try:
            with self._backend.on_device(self._plan.device):
                return self._checked(ways, identity, call)
        except self._short as error:
            _log.warning("nothing was checked on %s: copies for it do not fit (%s)", self._plan.device, error)
            return None

    def _checked(self, ways: Sequence[Executable], identity: Callable[[], Any] | None, call: Call) -> str | None:
        sample = self._sample(call)
        call = replace(call, rates=call.rates[0] * np.asarray([1.0, 0.5]))
        first: tuple[State, Computed] | None = self._run(ways[0], call, sample)
        shape = [call.batch, list(self._program.widths)]
        key = json.dumps([identity(), self._surroundings(), *shape]) if identity is not None else ""
        known = kept("check", key) if key and check_mode() != "always" else None
        if isinstance(known, dict) and isinstance(known.get("problem", 0), str | None):
            remembered: str | None = known["problem"]
            return remembered
        xp = self._namespace(call.state.parameters)
        wanted = self._reference(call, sample, "float64", xp)
        if not is_finite(wanted, xp):
            drawn = self._drawn(call, sample)
            wanted = self._reference(*drawn, "float64", xp)
            if not is_finite(wanted, xp):
                _log.warning("nothing was checked on %s: the definition gives no finite numbers", self._plan.device)
                return None
            (call, sample), first = drawn, None
        moved = movement(wanted, self._before(call, xp), xp)
        if moved < _STILL:
            rates = call.rates * (_MOVING / moved) if moved > 0 else np.asarray([_MOVING, _MOVING / 2])
            call, first = replace(call, rates=rates), None
            wanted = self._reference(call, sample, "float64", xp)
        problem = self._compared(ways, call, sample, first, wanted, xp)
        if key:
            keep("check", key, {"problem": problem})
        return problem

    def _compared(
        self,
        ways: Sequence[Executable],
        call: Call,
        sample: SampledRows,
        first: tuple[State, Computed] | None,
        wanted: Computed,
        xp: Any,
    ) -> str | None:
        before, precision = self._before(call, xp), self._plan.precision
        own = cache(lambda: [self._reference(call, sample, p, xp) for p in roundings(precision)])
        for way in ways:
            runs = [first or self._run(way, call, sample), self._run(way, call, sample)]
            first = None
            arrays = [self._named(state, xp) for state, _ in runs]
            for name in arrays[0]:
                if not _same(arrays[0][name], arrays[1][name], xp):
                    return f"two runs from the same start differ in {name}"
            if runs[0][1].numbers != runs[1][1].numbers and not any(map(np.isnan, runs[0][1].numbers.values())):
                return "two runs from the same start differ in the loss"
            found = Computed(
                runs[0][1].numbers, {n: xp.astype(a, xp.float64) - before[n] for n, a in arrays[0].items()}
            )
            problem = problem_of(found, wanted, own, before, precision, xp)
            if problem is not None:
                return problem
        return None

    # ---- the two sides

    def _sample(self, call: Call) -> SampledRows:
        rows = rows_to_check(self._program.widths)
        xp = self._backend.xp

        def take(numbers: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
            at = self._backend.asarray(numbers, dtype="int64", device=self._plan.device)
            return tuple(None if a is None else xp.take(a, at, axis=0) for a in (call.x, call.y, call.sample_weight))  # type: ignore[return-value]

        return SampledRows.of(call.order, call.batch, rows, take)

    def _run(self, way: Executable, call: Call, sample: SampledRows) -> tuple[State, Computed]:
        state = call.state.copy(self._backend.xp)
        error, norm = way.run(state, call.x, call.y, sample.order, call.batch, call.rates, call.sample_weight)
        return state, Computed({"the loss": error} | ({} if norm is None else {"the norm": norm}), {})

    def _reference(self, call: Call, sample: SampledRows, precision: str, xp: Any) -> Computed:
        def there(a: Any) -> Any:
            return None if a is None else self._as(a, xp)

        state = replace(
            call.state,
            parameters={name: there(a) for name, a in call.state.parameters.items()},
            slots={name: tuple(map(there, moved)) for name, moved in call.state.slots.items()},
        )
        given = replace(sample, x=there(sample.x), y=there(sample.y), sample_weight=there(sample.sample_weight))
        return steps_of(self._program, state, given, call.rates, precision, xp)

    def _drawn(self, call: Call, sample: SampledRows) -> tuple[Call, SampledRows]:
        """Return the same work on random data and parameters; codes, and targets that are numbers, stay."""
        random, xp = np.random.default_rng(0), self._backend.xp

        def put(a: Any) -> Any:
            return self._backend.asarray(a, dtype=storage_dtype(self._plan.precision), device=self._plan.device)

        numbers = random.standard_normal(tuple(sample.x.shape)).astype(np.float32)
        for k in self._program.codes:  # codes stay
            numbers[:, k] = self._backend.to_numpy(sample.x[:, k])
        x = put(numbers)
        y = put(abs(random.standard_normal(tuple(sample.y.shape))).astype(np.float32))
        y = sample.y if bool(xp.all(xp.isfinite(sample.y))) else y
        weight = None if sample.sample_weight is None else put(np.ones(len(sample.counts[0]), np.float32))
        parameters = drawn_parameters(self._program, call.state.parameters, put)
        slots = {
            name: tuple(put(np.zeros(tuple(a.shape), np.float32)) for a in moved)
            for name, moved in call.state.slots.items()
        }
        order = np.resize(np.arange(len(sample.counts[0])), STEPS * call.batch)
        rates = np.asarray([_MOVING, _MOVING / 2])
        state = State(parameters, slots, 0)
        again = Call(state, x, y, order, call.batch, rates, weight)
        return again, SampledRows(x, y, weight, order, sample.counts)

    # ---- where the definition runs

    def _namespace(self, parameters: Arrays) -> Any:
        size = sum(math.prod(a.shape) for a in parameters.values())
        if size > _LARGE:
            return self._backend.xp
        import array_api_compat.numpy

        return array_api_compat.numpy

    def _as(self, a: Any, xp: Any) -> Any:
        """Return an array of the backend's as one of `xp`: on the host that of NumPy, on the device as it is."""
        import array_api_compat.numpy

        return self._backend.to_numpy(a) if xp is array_api_compat.numpy else a

    def _named(self, state: State, xp: Any) -> dict[str, Any]:
        return {n: self._as(a, xp) for n, a in arrays_by_name(state.parameters, state.slots).items()}

    def _before(self, call: Call, xp: Any) -> dict[str, Any]:
        return {n: xp.astype(a, xp.float64) for n, a in self._named(call.state, xp).items()}

    def _surroundings(self) -> list[Any]:
        return [self._plan.precision, {name: os.environ.get(name, "") for name in self._variables}]

    # ---- predictions

    def wrong_prediction(self, parameters: Arrays, x: Any, output: Any) -> str | None:
        """Return the problem of some rows of a prediction, or None."""
        rows = np.unique(np.linspace(0, x.shape[0] - 1, rows_to_check(self._program.widths)).astype(np.int64))
        xp, precision = self._namespace(parameters), self._plan.precision
        with self._backend.on_device(self._plan.device), np.errstate(all="ignore"):
            at = self._backend.asarray(rows, dtype="int64", device=self._plan.device)
            given, found = (self._as(self._backend.xp.take(a, at, axis=0), xp) for a in (x, output))
            layers = {name: self._as(a, xp) for name, a in parameters.items()}
            wanted = prediction_of(self._program, layers, given, "float64", xp)
            own = [prediction_of(self._program, layers, given, p, xp) for p in roundings(precision)]
            if not bool(xp.all(xp.isfinite(wanted))):
                return None  # a network that gives no finite numbers cannot be compared
            off, *usual = (relative_norm(a, wanted, precision, xp) for a in (found, *own))
        allowed = bound(max(usual), precision, 100)
        return None if off <= allowed else f"its predictions are off by {off:.1e}, at most {allowed:.1e} is allowed"


def _same(a: Any, b: Any, xp: Any) -> bool:
    return bool(xp.all((a == b) | (xp.isnan(a) & xp.isnan(b))))
