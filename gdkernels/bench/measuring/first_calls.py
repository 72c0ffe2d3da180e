"""First calls: import, compile or load, and the first step, in fresh processes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gdkernels.bench.measuring.planning import PreparedCase
from gdkernels.bench.participants.participant import Participant, ParticipantError
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.client import LoadTimes, ParticipantProcess
from gdkernels.bench.results.model import FirstCall

__all__ = ["first_calls"]


def first_calls(
    prepared: PreparedCase,
    participants: Sequence[Participant],
    seconds_left: Callable[[], float],
    progress: Callable[[str], None],
) -> list[FirstCall]:
    """Return the first calls of every participant that can do the task, as long as there is time."""
    found = []
    for participant in participants:
        progress(f"first calls of {participant}")
        if seconds_left() < 0 or participant.group is not None:  # ranks are started by a launcher, and once
            continue
        task = replace(prepared.task, threads=participant.threads)
        with tempfile.TemporaryDirectory() as cache:
            try:
                cold, warm = (_started(participant, task, cache) for _ in range(2))
            except ParticipantError:
                continue  # its rows say why
        found.append(
            FirstCall(
                prepared.case,
                participant,
                import_seconds=warm.load.import_seconds,  # the second has the files of the libraries in memory
                compile_seconds=cold.load.bind_seconds,
                load_seconds=warm.load.bind_seconds,
                first_step_seconds=cold.first_step,
                cached_first_step_seconds=warm.first_step,
            )
        )
    return found


@dataclass(frozen=True)
class _Started:
    """The seconds of loading and of the first step, in a new process."""

    load: LoadTimes
    first_step: float


def _started(participant: Participant, task: TrainingTask, cache: str) -> _Started:
    """Start a process whose caches are all in the folder `cache`."""
    caches = {"GDKERNELS_CACHE": cache, "CUPY_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    process = ParticipantProcess(participant, caches)
    try:
        return _Started(process.load(task), process.first_step())
    finally:
        process.close()
