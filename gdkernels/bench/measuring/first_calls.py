"""What comes before the first result: import, compile or load, and the first step, in fresh processes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import ProcessError
from gdkernels.bench.results.rows import Case, FirstCall
from gdkernels.bench.processes.client import LoadTimes, Worker

__all__ = ["first_calls"]


def first_calls(
    what: tuple[Case, Task],
    contenders: Sequence[Contender],
    seconds_left: Callable[[], float],
    progress: Callable[[str], None],
) -> list[FirstCall]:
    """Return the first calls of everybody who can do the task, as long as there is time."""
    case, task = what
    found = []
    for contender in contenders:
        progress(f"first calls of {contender}")
        if seconds_left() < 0:
            continue
        with tempfile.TemporaryDirectory() as cache:
            try:
                (cold, cold_step), (warm, warm_step) = (_first_call(contender, task, cache) for _ in range(2))
            except ProcessError:
                continue  # its rows say why
        found.append(
            FirstCall(
                case,
                contender,
                import_seconds=warm.import_seconds,  # the second: what was read from the disk is in memory
                compile_seconds=cold.bind_seconds,
                load_seconds=warm.bind_seconds,
                first_step_seconds=cold_step,
                cached_first_step_seconds=warm_step,
            )
        )
    return found


def _first_call(contender: Contender, task: Task, cache: str) -> tuple[LoadTimes, float]:
    """Return what loading took in a new process that has only `cache`, and the seconds of its first step."""
    caches = {"GDKERNELS_CACHE": cache, "CUPY_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    worker = Worker(contender, caches)
    try:
        return worker.load(replace(task, threads=contender.threads)), worker.first_step()
    finally:
        worker.close()
