"""From what a user asks for to what is measured: the cases, the contenders, and why some cannot take part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.participants.participant import PEERS, Contender
from gdkernels.bench.measuring.goals import Goal
from gdkernels.bench.participants.task import Task
from gdkernels.bench.results.rows import Case
from gdkernels.dispatch import registry
from gdkernels.errors import InputError, unknown_name
from gdkernels.tables import Preparation, read

__all__ = ["SWEEP", "case_of", "contenders", "cores", "digits_goal", "goal_of", "prepared"]

# Sizes and batches from where Python's own time decides to where the product does.
SWEEP = (
    ((8, 32, 32, 1), 32),
    ((64, 128, 128, 10), 128),
    ((256, 256, 256, 256, 10), 256),
    ((784, 512, 512, 10), 256),
    ((784, 1024, 1024, 1024, 10), 1024),
)

# An epoch over made-up data: long enough that starting it does not count, short enough for the float64 reference.
_EPOCH_FLOPS = 1e10
_STEPS = (2, 256)

_TARGET_RATE = 0.05
_TARGET_BATCH = 32


def case_of(sizes: Sequence[int], batch: int) -> tuple[Case, Task]:
    """Return the training of a network on made-up data."""
    flops = 6 * batch * sum(m * n for m, n in pairwise(sizes))
    steps = int(min(max(_EPOCH_FLOPS / flops, _STEPS[0]), _STEPS[1]))
    return _described(Task(tuple(sizes), batch, batch * steps), Case.__dataclass_fields__["data"].default)


def prepared(
    data: Sequence[str], target: Sequence[str], hidden: Sequence[int], batch: int, folder: Path
) -> tuple[Case, Task]:
    """Return the training of a network on a table, prepared as `gdkernels train` does; classes are one output each.

    Parameters
    ----------
    folder
        Where the prepared arrays are kept for the contenders.
    """
    table = read(list(data))
    preparation = Preparation.fit(table, target or None)
    x = np.asarray(preparation.transform(table), np.float32)
    y = preparation.transform_targets(table)
    y = np.eye(len(preparation.classes))[y] if preparation.classes is not None else y
    batch = min(batch, len(x))
    # Some peers drop a last batch that is not full.
    records = len(x) // batch * batch
    path = folder / f"{len(list(folder.iterdir()))}.npz"
    np.savez(path, X=x, Y=np.asarray(y.reshape(len(x), -1), np.float32))
    sizes = (x.shape[1], *hidden, 1 if y.ndim == 1 else y.shape[1])
    return _described(Task(sizes, batch, records, source=str(path)), Path(table.source).name)


def digits_goal(folder: Path, seeds: int) -> Goal:
    """Return training on images of digits until nearly all of them are known, or on penguins without scikit-learn."""
    try:
        case, task = prepared(["digits"], [], (128,), _TARGET_BATCH, folder)
    except InputError:
        case, task = prepared(["penguins"], [], (128,), _TARGET_BATCH, folder)
    return goal_of(case, task, {"accuracy": 0.99}, seeds)


def goal_of(case: Case, task: Task, goal: dict[str, float], seeds: int) -> Goal:
    """Return training until `goal` is reached, at a learning rate that gets there."""
    return Goal(replace(case, learning_rate=_TARGET_RATE), replace(task, learning_rate=_TARGET_RATE), goal, seeds)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def contenders(
    backends: Sequence[str] | None,
    devices: Sequence[str] | None,
    precisions: Sequence[str],
    threads: Sequence[int],
    peers: Sequence[str],
) -> tuple[list[Contender], list[tuple[Contender, str]]]:
    """Return who can take part, and who cannot, with the reason.

    Parameters
    ----------
    backends, devices
        None: all that are installed, each on its first device.

    Raises
    ------
    InputError
        For names that there are not, and more threads than cores.
    """
    if max(threads) > cores():
        raise InputError(f"{max(threads)} threads are more than the {cores()} cores that this process may use")
    for peer in peers:
        if peer not in PEERS:
            raise unknown_name("peer", peer, PEERS)
    found = registry.find()
    for name in backends or ():
        if name not in found:
            raise unknown_name("backend", name, found)
    able: list[Contender] = []
    skipped: list[tuple[Contender, str]] = []
    for name in backends or found:
        plugin = found[name]
        for device in devices or plugin.devices[:1] or ("none",):
            for precision, count in product(precisions, threads):
                contender = Contender(name, False, device, precision, count)
                problem = _problem(plugin, device, precision)
                if problem is None:
                    able.append(contender)
                else:
                    skipped.append((contender, problem))
    for name in peers:
        for count in threads:
            contender = Contender(name, True, "cpu", PEERS[name].precision, count)
            able.append(contender)
    return able, skipped


def _problem(found: registry.Found, device: str, precision: str) -> str | None:
    if found.problem is not None or found.backend is None:
        return found.problem
    if device not in found.devices:
        return f"it has no device {device!r}; it has {', '.join(found.devices)}"
    if precision not in found.backend.precisions:
        return f"it cannot do {precision}; it can do {', '.join(found.backend.precisions)}"
    return None


def _described(task: Task, data: Any) -> tuple[Case, Task]:
    case = Case(task.sizes, task.batch, task.records, task.activation, task.optimizer, task.learning_rate, data)
    return case, task
