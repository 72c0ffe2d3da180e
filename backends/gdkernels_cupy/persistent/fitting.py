"""The search for a persistent kernel that fits a network and a device: the sources in the order of trying."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

from gdkernels.backend.program import Program
from gdkernels.errors import ScheduleError, TraceError
from gdkernels.lowering.task import ScheduledTask, schedule_prediction, schedule_training
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from gdkernels_cupy.persistent.shape import FORMATS, WIDEST, OperandFormat
from gdkernels_cupy.persistent.source import KernelSource, write_source
from gdkernels_cupy.persistent.trials import Variant

__all__ = [
    "PLAN_RECOMPUTES",
    "PLAN_RELOADS",
    "PLAN_SPILLED",
    "applies",
    "fitting",
    "sources_of",
    "tasks_of",
    "unfit",
    "variants",
]

PLAN_SPILLED = "parked"  # what plans call the gradients that are spilled: a format
PLAN_RECOMPUTES = "recomputed"
PLAN_RELOADS = "reloaded"

Source = TypeVar("Source", bound=Variant)

_WARPS = (8, 4)  # in a CTA, in the order in which they are tried
_OLDEST = 80  # compute capability with these matrix instructions and asynchronous copies


def applies(program: Program, widths: Sequence[int], precision: str, properties: DeviceProperties) -> str | None:
    """Return why the persistent kernel cannot run this, or None if it can.

    Parameters
    ----------
    widths
        Of the input and of every layer.
    """
    if program.draws:
        return "its blocks draw random numbers"
    reason = unfit(widths, precision, properties)
    if reason is None:
        try:
            step, prediction = tasks_of(program)
            next(fitting(step, prediction, precision, properties.shared_bytes, {}))
        except (TraceError, ScheduleError) as error:
            return str(error)
    return reason


def sources_of(program: Program, precision: str, shared_bytes: int) -> Iterator[KernelSource]:
    """Yield the sources that fit a device with so much shared memory a CTA, in the order in which they are tried.

    Raises
    ------
    TraceError, ScheduleError
        Where none does.
    """
    yield from fitting(*tasks_of(program), precision, shared_bytes, {})


def unfit(widths: Sequence[int], precision: str, properties: DeviceProperties) -> str | None:
    """Return why no kernel is for such a network, precision or device; None where one may be."""
    if precision not in FORMATS:
        *others, last = FORMATS
        return f"it computes in {', '.join(others)} and {last}, not in {precision}"
    if max(widths) > WIDEST:
        return f"a layer has {max(widths)} units, at most {WIDEST} stay on the chip"
    if properties.capability < _OLDEST:
        return f"it needs compute capability {_OLDEST / 10}, the device has {properties.capability / 10}"
    return None


def tasks_of(program: Program) -> tuple[ScheduledTask | None, ScheduledTask]:
    """Return the step of a program, if it has one, and its prediction, as they are scheduled for this engine."""
    step = schedule_training(program, CUDA_FUNCTIONS) if program.optimizer is not None else None
    prediction = schedule_prediction(program, CUDA_FUNCTIONS)
    prediction.refuse_moves("it")
    prediction.refuse_values("it")
    return step, prediction


def fitting(
    step: ScheduledTask | None,
    prediction: ScheduledTask,
    precision: str,
    shared_bytes: int,
    wished: Mapping[str, Any],
) -> Iterator[KernelSource]:
    """Yield the sources that fit, best ones first: with few gradients that leave the registers between tiles.

    Among those, with many warps in a CTA. Of each, first with more than one step of a gradient unrolled and with the
    left operand of a product in registers, then without both; where that is more than compilers keep in registers, in
    the other order. Where none of all these fits, what the way back needs is computed again rather than kept.

    Parameters
    ----------
    wished
        Which of them a plan names, as ``parked`` (the gradients that are spilled), ``recomputed``, ``reloaded``,
        ``warps`` and ``at_once``.

    Raises
    ------
    ScheduleError
        Where none fits; it says why, for each number of warps, of the one that needs the fewest registers.
    """

    def make(form: OperandFormat, warps: int, **how: Any) -> KernelSource:
        return write_source(step, prediction, prediction.sizes, form, warps, shared_bytes, **how)

    yield from variants(step, precision, wished, make)


def variants(
    step: ScheduledTask | None,
    precision: str,
    wished: Mapping[str, Any],
    make: Callable[..., Source],
    warps_in_turn: Sequence[int] = _WARPS,
) -> Iterator[Source]:
    """Yield what `make` makes of each variant, in the order of `fitting`; it raises `ScheduleError` where one is none.

    Raises
    ------
    ScheduleError
        As for `fitting`.
    """
    reasons: dict[int, str] = {}
    form = FORMATS[precision]
    gradients = 0 if step is None else sum(a.left is not None for a in step.schedule.accumulations)
    parts = range(gradients + 1)
    spilled, shapes = _values(wished, PLAN_SPILLED, parts), _values(wished, "warps", warps_in_turn)
    for recomputes in _values(wished, PLAN_RECOMPUTES, (False, True)):
        found = False
        for spilled_gradients, warps in product(spilled, shapes):
            how = {"spilled_gradients": spilled_gradients, "recomputes": recomputes}
            most = wished.get("at_once", 1 if spilled_gradients else form.at_once[warps])

            def made(at_once: int, reloads: bool, warps: int = warps, how: dict[str, Any] = how) -> Source:
                return make(replace(form, at_once={warps: at_once}), warps, reloads=reloads, **how)

            try:
                much = made(most, False)
            except ScheduleError as error:
                reasons[warps] = str(error)
                continue
            for at_once, reloads in _ways(much, wished, how, form):
                try:
                    yield much if (at_once, reloads) == (most, False) else made(at_once, reloads)
                    found = True
                except ScheduleError as error:  # reloading may take more of the chip
                    reasons[warps] = str(error)
        if found:
            return
    raise ScheduleError("; ".join(dict.fromkeys(reasons.values())))


def _ways(
    source: Variant, wished: Mapping[str, Any], how: Mapping[str, Any], form: OperandFormat
) -> list[tuple[int, bool]]:
    """Return steps that are unrolled, and whether left operands are reloaded, in the order of trying.

    They compute the same, to the bit. `source` is what none is reloaded in, with as many steps as may be.
    """
    most, few = source.at_once, wished.get("at_once", 1)
    step = source.step
    if PLAN_RELOADS in wished:
        return [(most, wished[PLAN_RELOADS])]
    if step is None or form.in_parts:  # nothing can be reloaded, or all is
        return [(most, False), (few, False)]
    if how["recomputes"] or step.is_crowded:
        return [(most, True), (most, False), (few, False)]
    return [(most, False), (few, True), (few, False)]


def _values(wished: Mapping[str, Any], name: str, usual: Iterable[int]) -> Iterable[int]:
    return (wished[name],) if name in wished else usual
