"""Time to a target: training from several initial weights until a loss or an accuracy is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gdkernels.bench.measuring.planning import TrainingGoal
from gdkernels.bench.participants.participant import Participant, ParticipantError
from gdkernels.bench.processes.client import processes_of
from gdkernels.bench.results.model import SeedRun, TargetTraining

__all__ = ["reach"]

# The seconds of training for one seed: at least, so that no goal is missed for lack of time, and at most.
_SECONDS = 2.0, 20.0


def reach(
    goal: TrainingGoal,
    participants: Sequence[Participant],
    seconds_left: Callable[[], float],
    progress: Callable[[str], None],
) -> list[TargetTraining]:
    """Return how long each participant trains for `goal`, each in a process of its own."""
    found = []
    for done, participant in enumerate(participants):
        progress(f"{participant} to its target")
        share = seconds_left() / (len(participants) - done) / goal.seeds
        target = TargetTraining(goal.prepared.case, participant, goal.goal)
        try:
            runs = _runs(goal, participant, min(max(share, _SECONDS[0]), _SECONDS[1]))
            found.append(replace(target, runs=runs))
        except ParticipantError as reason:
            found.append(replace(target, reason=str(reason)))
    return found


def _runs(goal: TrainingGoal, participant: Participant, seconds: float) -> tuple[SeedRun, ...]:
    task = replace(goal.prepared.task, threads=participant.threads)
    with processes_of([participant]) as (process,):
        return tuple(process.train(replace(task, seed=seed), goal.goal, seconds) for seed in range(goal.seeds))
