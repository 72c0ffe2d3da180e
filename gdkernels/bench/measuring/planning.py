"""From the options of a user to a plan: the cases, the participants, and why some cannot take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.bench.participants.networks import CHAIN, NETWORKS
from gdkernels.bench.participants.participant import LIBRARIES, Participant
from gdkernels.bench.participants.stages import PlacedStage
from gdkernels.bench.participants.task import BLOCK_GRID, TrainingTask
from gdkernels.bench.results.model import BenchCase
from gdkernels.dispatch import registry
from gdkernels.errors import InputError, unknown_name
from gdkernels.groups import Group, SerialGroup
from gdkernels.system.machine import cores
from gdkernels.tables import Preparation, read

__all__ = [
    "SWEEP",
    "BenchPlan",
    "LeftOut",
    "PreparedCase",
    "StageGroup",
    "TrainingGoal",
    "case_of",
    "digits_goal",
    "goal_of",
    "participants",
    "prepared",
]

# Sizes, batches and kinds of networks: chains from those where Python's own time decides to those where the product
# does, and then networks of blocks.
SWEEP: tuple[tuple[tuple[int, ...], int, str], ...] = (
    ((8, 32, 32, 1), 32, CHAIN),
    ((64, 128, 128, 10), 128, CHAIN),
    ((256, 256, 256, 256, 10), 256, CHAIN),
    ((784, 512, 512, 10), 256, CHAIN),
    ((784, 1024, 1024, 1024, 10), 1024, CHAIN),
    *((task.sizes, task.batch, task.network) for task in BLOCK_GRID),
)

# An epoch over made-up data: long enough that starting it does not count, short enough for the float64 reference.
_EPOCH_FLOPS = 1e10
_STEPS = (2, 256)

_TARGET_RATE = 0.05
_TARGET_BATCH = 32


@dataclass(frozen=True)
class PreparedCase:
    """A case as the results describe it, and the task that participants are given for it."""

    case: BenchCase
    task: TrainingTask


@dataclass(frozen=True)
class LeftOut:
    """A participant that cannot take part, and why."""

    participant: Participant
    reason: str


@dataclass(frozen=True)
class TrainingGoal:
    """A goal of training, {"loss": L} or {"accuracy": A}, to be reached from the initial weights of each seed."""

    prepared: PreparedCase
    goal: dict[str, float]
    seeds: int


@dataclass(frozen=True)
class StageGroup:
    """One stage of one case, at which the participants that can do it take turns."""

    prepared: PreparedCase
    placed: PlacedStage


@dataclass(frozen=True)
class BenchPlan:
    """Everything that a benchmark measures.

    Attributes
    ----------
    left_out
        Participants that cannot take part.
    repeats
        The number of times that everything is measured, each in new processes. From five on, a row that others may
        compare is measured in further processes, until its time over them is known or the limit is reached.
    seconds
        The time limit of all of it.
    share
        Half of the 95 % interval of a median may be this share of it.
    busy
        The processes that keep cores busy beside a second row of each kind, if there are to be such rows.
    """

    cases: tuple[PreparedCase, ...]
    stages: tuple[str, ...]
    participants: tuple[Participant, ...]
    left_out: tuple[LeftOut, ...] = ()
    repeats: int = 1
    seconds: float = 160.0
    share: float = 0.02
    goal: TrainingGoal | None = None
    busy: int = 0

    @property
    def loads(self) -> tuple[int, ...]:
        """How many processes keep cores busy in the rows of a group."""
        return (0, self.busy) if self.busy else (0,)

    @property
    def placed_stages(self) -> tuple[PlacedStage, ...]:
        """Each stage, with each placement of its data that any participant has."""
        devices = any(p.device != "cpu" for p in self.participants)
        return tuple(
            PlacedStage(stage, placement)
            for stage in self.stages
            for placement in (("resident", "transfers") if devices else ("resident",))
            if (stage, placement) != ("update", "transfers")  # weights stay where they are trained
        )

    @property
    def groups(self) -> tuple[StageGroup, ...]:
        return tuple(StageGroup(case, placed) for case in self.cases for placed in self.placed_stages)


def case_of(sizes: Sequence[int], batch: int, network: str = CHAIN) -> PreparedCase:
    """Return the training of a network on made-up data."""
    task = TrainingTask(tuple(sizes), batch, batch, NETWORKS[network].activation, network=network)
    flops = 6 * batch * task.program().multiply_adds
    steps = int(min(max(_EPOCH_FLOPS / flops, _STEPS[0]), _STEPS[1]))
    return _described(replace(task, records=batch * steps), BenchCase.__dataclass_fields__["data"].default)


def prepared(
    data: Sequence[str],
    target: Sequence[str],
    hidden: Sequence[int],
    batch: int,
    folder: Path,
    network: str = CHAIN,
) -> PreparedCase:
    """Return the training of a network on a table, prepared as `gdkernels train` does; classes are one output each.

    Parameters
    ----------
    folder
        The folder in which participants find the prepared arrays.
    """
    table = read(list(data))
    preparation = Preparation.fit(table, target or None)
    x = np.asarray(preparation.transform(table), np.float32)
    y = preparation.transform_targets(table)
    y = np.eye(len(preparation.classes))[y] if preparation.classes is not None else y
    batch = min(batch, len(x))
    # Some libraries drop a last batch if it is not full.
    records = len(x) // batch * batch
    path = folder / f"{len(list(folder.iterdir()))}.npz"
    np.savez(path, X=x, Y=np.asarray(y.reshape(len(x), -1), np.float32))
    sizes = (x.shape[1], *hidden, 1 if y.ndim == 1 else y.shape[1])
    task = TrainingTask(sizes, batch, records, NETWORKS[network].activation, source=str(path), network=network)
    return _described(task, Path(table.source).name)


def digits_goal(folder: Path, seeds: int) -> TrainingGoal:
    """Return training on images of digits until nearly all of them are known, or on penguins without scikit-learn."""
    try:
        case = prepared(["digits"], [], (128,), _TARGET_BATCH, folder)
    except InputError:
        case = prepared(["penguins"], [], (128,), _TARGET_BATCH, folder)
    return goal_of(case, {"accuracy": 0.99}, seeds)


def goal_of(prepared: PreparedCase, goal: dict[str, float], seeds: int) -> TrainingGoal:
    """Return training until `goal` is reached, at a learning rate that gets there."""
    case = replace(prepared.case, learning_rate=_TARGET_RATE)
    task = replace(prepared.task, learning_rate=_TARGET_RATE)
    return TrainingGoal(PreparedCase(case, task), goal, seeds)


def participants(
    backends: Sequence[str] | None,
    devices: Sequence[str] | None,
    precisions: Sequence[str],
    threads: Sequence[int],
    libraries: Sequence[str],
    group: Group | None = None,
    threads_of_rank: int = 1,
) -> tuple[list[Participant], list[LeftOut]]:
    """Return the participants, and those that cannot take part.

    Parameters
    ----------
    backends, devices
        None: all that are installed, each on its first device.
    group
        Ranks that train together: each backend takes part once more on these, where there are several or one was asked
        for.
    threads_of_rank
        The most threads that one of them may have.

    Raises
    ------
    InputError
        For an unknown name, and for more threads than cores.
    """
    if max(threads) > cores():
        raise InputError(f"{max(threads)} threads are more than the {cores()} cores that this process may use")
    for library in libraries:
        if library not in LIBRARIES:
            raise unknown_name("peer", library, LIBRARIES)
    found = registry.find()
    for name in backends or ():
        if name not in found:
            raise unknown_name("backend", name, found)
    able: list[Participant] = []
    left_out: list[LeftOut] = []
    shared = group is not None and (group.size > 1 or not isinstance(group, SerialGroup))
    for name in backends or found:
        plugin = registry.prepared(found[name])
        for device in devices or plugin.devices[:1] or ("none",):
            for precision, count in product(precisions, threads):
                several = [Participant(name, False, device, precision, count)]
                if group is not None and shared:
                    of_rank = min(count, threads_of_rank)
                    several.append(replace(several[0], group=group.name, ranks=group.size, threads=of_rank))
                problem = _problem(plugin, device, precision)
                if problem is None:
                    able += [one for one in several if one not in able]
                else:
                    left_out += [LeftOut(one, problem) for one in several]
    for name in libraries:
        for count in threads:
            participant = Participant(name, True, "cpu", LIBRARIES[name].precision, count)
            able.append(participant)
    return able, left_out


def _problem(found: registry.Found, device: str, precision: str) -> str | None:
    if found.problem is not None or found.backend is None:
        return found.problem
    if device not in found.devices:
        return f"it has no device {device!r}; it has {', '.join(found.devices)}"
    if precision not in found.backend.precisions:
        return f"it cannot do {precision}; it can do {', '.join(found.backend.precisions)}"
    return None


def _described(task: TrainingTask, data: Any) -> PreparedCase:
    how = task.activation, task.optimizer, task.learning_rate
    return PreparedCase(BenchCase(task.sizes, task.batch, task.records, *how, data, task.network), task)
