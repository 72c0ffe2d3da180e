"""The user's own functions, compared on all ranks: names do not tell them apart, and what they compute does.

Each is called on a few numbers that are the same on all ranks, by the definition in float64, before anything is
trained. What NumPy does not compute is compared after each epoch, by the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.verification import numpy_namespace
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.network import forward
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.errors import InputError
from gdkernels.groups import Group
from gdkernels.network import Structure
from gdkernels.randomness import RandomNumbers
from gdkernels.training.settings import Settings

__all__ = ["agree_on_functions"]

_CLOSE = 1e-6  # how far results in float64 may differ on different processors
_ROWS, _SIZES = 12, 4  # records; inputs of several sizes, since a function may do something else for large ones
_PLACES = np.array([0.0, 0.5, 1.0, 2.0, 3.5, 10.0, 40.0])  # in epochs

Numbers = npt.NDArray[np.float64]


def agree_on_functions(
    group: Group, fits: Sequence[tuple[Structure, Settings]], names: Sequence[str] | None = None
) -> None:
    """Compare blocks, activations, losses, optimizers and schedules that are not built in.

    All ranks have fits of the same descriptions, so that they have own functions in the same places.

    Parameters
    ----------
    names
        What an error calls each fit; None for a single one.

    Raises
    ------
    InputError
        If the ranks differ; it names what differs and the first rank.
    """
    if group.size == 1:
        return
    known: dict[tuple[int, ...], dict[str, Numbers]] = {}
    own = []
    for structure, settings in fits:
        parts = (structure, settings.objective.loss, settings.optimizer, settings.schedule)
        key = tuple(map(id, parts))  # what a user writes need not be hashable
        known[key] = known[key] if key in known else _numbers(structure, settings)
        own.append(known[key])
    told = [(k, what, numbers) for k, each in enumerate(own) for what, numbers in each.items()]
    if not told:
        return
    everybody = group.gather_numbers(np.concatenate([numbers for *_, numbers in told]))
    same = np.isclose(everybody, everybody[0], rtol=_CLOSE, atol=1e-9, equal_nan=True)
    stops = np.cumsum([len(numbers) for *_, numbers in told])
    for rank in np.flatnonzero(~same.all(axis=1)).tolist():
        k, what, _ = told[int(np.searchsorted(stops, np.flatnonzero(~same[rank])[0], side="right"))]
        of = "" if names is None else f"{names[k]}: "
        raise InputError(
            f"rank {rank} has {of}{what} of the same names as rank 0 that compute something else: give all ranks the "
            "same functions"
        )


def _numbers(structure: Structure, settings: Settings) -> dict[str, Numbers]:
    """Return what the functions that are not built in give, by what they are."""
    told = settings.as_dict()
    found: dict[str, Numbers] = {}
    if _is_own(structure.as_dict()):
        found["blocks or activations"] = _tried(2, lambda: _outputs(structure))
    if _is_own(told["loss"]):
        found["losses"] = _tried(2, lambda: _losses(settings.objective.loss, structure.outputs))
    if _is_own(told.get("optimizer")):
        found["optimizers"] = _tried(2, lambda: _steps(settings.optimizer))
    if _is_own(told.get("schedule")):
        found["schedules"] = _tried(2, lambda: _factors(settings.schedule))
    return found


def _is_own(told: Any) -> bool:
    """Return whether a description names something that is not built in."""
    if isinstance(told, Mapping):
        return bool(told.get("custom")) or any(_is_own(one) for one in told.values())
    return isinstance(told, list | tuple) and any(_is_own(one) for one in told)


def _tried(count: int, results: Callable[[], list[Any]]) -> Numbers:
    """Return two numbers that tell each of so many results from others; NaN where there is none."""
    found = np.full(2 * count, np.nan)
    with suppress(Exception), np.errstate(all="ignore"):
        for k, result in enumerate(results()):
            flat = np.asarray(result, np.float64).ravel()
            angles = np.arange(len(flat))
            found[2 * k : 2 * k + 2] = np.cos(angles) @ flat, np.sin(angles + 1) @ (flat * flat)
    return found


def _outputs(structure: Structure) -> list[Any]:
    """Return the outputs of a network with initial parameters, in prediction and in training."""
    stream, xp = np.random.default_rng(0), numpy_namespace("float64")
    parameters = initial_values(structure.parameters, stream)
    x = stream.standard_normal((_ROWS, structure.inputs)) * 4.0 ** (np.arange(_ROWS)[:, None] % _SIZES - 2)
    for column, categories in structure.codes.items():
        x[:, column] = np.arange(_ROWS) % categories
    random = RandomNumbers(np.arange(_ROWS, dtype=np.int32))
    return [forward(structure.whole, parameters, x, random=drawn, xp=xp) for drawn in (None, random)]


def _losses(loss: Callable[..., Any], outputs: int) -> list[Any]:
    """Return what predictions lose: any, and shares, for targets that are shares, as of classes."""
    stream, xp = np.random.default_rng(0), numpy_namespace("float64")
    target = stream.random((_ROWS, outputs))
    target /= np.sum(target, axis=1, keepdims=True) if outputs > 1 else 1.0
    return [loss(p, target, xp=xp) for p in (4.0 * stream.standard_normal(target.shape), stream.random(target.shape))]


def _steps(optimizer: Optimizer) -> list[Any]:
    """Return where two steps lead, with the numbers that the optimizer tells of itself."""
    stream, xp = np.random.default_rng(0), numpy_namespace("float64")
    w, own = stream.standard_normal(_ROWS), [optimizer.learning_rate, optimizer.weight_decay]
    slots: tuple[Any, ...] = tuple(np.zeros(_ROWS) for _ in range(optimizer.slots))
    reached = []
    for t in (1.0, 2.0):
        w, slots = optimizer.rule(w, stream.standard_normal(_ROWS), slots, learning_rate=0.1, t=t, xp=xp)
        reached.append(np.concatenate([w, *slots, own]))
    return reached


def _factors(schedule: ScheduleFunction) -> list[Any]:
    """Return the factors at some places, at the beginning and after some losses."""
    so_far: tuple[tuple[float, ...], ...] = ((), (1.0, 0.5, 0.6, 0.6, 0.7))
    return [np.broadcast_to(schedule(_PLACES, epochs=50, losses=losses), _PLACES.shape) for losses in so_far]
