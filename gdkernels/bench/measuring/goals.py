"""Time to a target: training from several initial weights until a loss or an accuracy is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import ProcessError
from gdkernels.bench.results.rows import Case, Run, Target
from gdkernels.bench.processes.client import workers_of

__all__ = ["Goal", "reach"]

_SECONDS = 2.0, 20.0  # of training for one seed: at least, so that a goal is not missed for lack of time, and at most


@dataclass(frozen=True)
class Goal:
    """What training has to reach, {"loss": L} or {"accuracy": A}, from the initial weights of each seed."""

    case: Case
    task: Task
    goal: dict[str, float]
    seeds: int


def reach(
    goal: Goal, contenders: Sequence[Contender], seconds_left: Callable[[], float], progress: Callable[[str], None]
) -> list[Target]:
    """Return how long everybody trains for `goal`, each in a process of its own."""
    found = []
    for done, contender in enumerate(contenders):
        progress(f"{contender} to its target")
        share = seconds_left() / (len(contenders) - done) / goal.seeds
        target = Target(goal.case, contender, goal.goal)
        try:
            found.append(replace(target, runs=_runs(goal, contender, min(max(share, _SECONDS[0]), _SECONDS[1]))))
        except ProcessError as reason:
            found.append(replace(target, reason=str(reason)))
    return found


def _runs(goal: Goal, contender: Contender, seconds: float) -> tuple[Run, ...]:
    with workers_of([contender]) as (worker,):
        return tuple(
            Run(seed, **worker.train(replace(goal.task, seed=seed, threads=contender.threads), goal.goal, seconds))
            for seed in range(goal.seeds)
        )
