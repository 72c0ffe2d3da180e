"""Participants in processes of their own, which take turns at a case of the grid."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import checkout
from benchmarks.gpu import deadline
from benchmarks.gpu.cases import GPUCase
from benchmarks.gpu.participants import REFERENCE, participant_of
from gdkernels.backend.verification import relative_error
from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.errors import BackendError

__all__ = ["compare"]

_ROUNDS, _SECONDS = 7, 0.25
# For all rounds; for a participant; for an answer where nobody has set an end.
_ROUNDS_SECONDS, _AT_LEAST, _LONGEST = 15.0, 8.0, 600.0

Movements = dict[str, npt.NDArray[np.float64]]


def compare(case: GPUCase, names: Sequence[str], *, rounds: int = _ROUNDS, seconds: float = _SECONDS) -> dict[str, Any]:
    """Return for each participant the seconds of a step in each round, and its error against float64.

    The error is ‖Δ − Δ64‖/‖Δ64‖, the largest over the parameters. Δ is what the first steps added to a parameter, and
    Δ64 what the definition in float64 adds, on the same device. Who is not ready in time is left out, and rounds end
    before the time of the item does.
    """
    wanted = _reference(case.task)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    patience = _Patience(len(names))
    processes = {name: _process(name, case.precision, patience) for name in names}
    try:
        for name, process in processes.items():
            patience.next()
            began = time.perf_counter()
            try:
                moved = _moved(process, case.task)
                error = max(relative_error(moved[array], wanted[array]) for array in wanted)
                found[name] = {"error": error, "first seconds": time.perf_counter() - began, "seconds of a step": []}
                process.steps_seconds(seconds)  # a library may compile anew for so many steps
            except ParticipantError as reason:
                found[name]["skipped"] = str(reason)
        racing = [name for name in names if "skipped" not in found[name]]
        patience.next()
        for _ in range(rounds):
            if deadline.left() < 2 * seconds * len(racing):
                break
            for name in racing:
                found[name]["seconds of a step"].append(processes[name].steps_seconds(seconds))
        for name in racing:
            if found[name]["seconds of a step"]:
                found[name]["median"] = statistics.median(found[name]["seconds of a step"])
            found[name]["choices"] = processes[name].plan() or {}
    finally:
        for process in processes.values():
            process.close()
    return {"flops of a step": case.flops, "contenders": found}  # the names in the file are a format


class _Patience:
    """The seconds for an answer of the participant whose turn it is: all but what those who follow need at least.

    Parameters
    ----------
    participants
        How many are to come; after them come the rounds.
    """

    def __init__(self, participants: int) -> None:
        self._to_come, self._until = participants, math.inf

    def next(self) -> None:
        """Note that it is the next one's turn, or that the rounds begin."""
        self._until = math.inf
        if self._to_come:
            self._to_come -= 1
            self._until = time.monotonic() + deadline.left() - _ROUNDS_SECONDS - _AT_LEAST * self._to_come

    def __call__(self) -> float:
        return max(1.0, min(self._until - time.monotonic(), deadline.left(), _LONGEST))


def _process(name: str, precision: str, patience: Callable[[], float]) -> ParticipantProcess:
    variables = {**checkout.environment(), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    server = "benchmarks.gpu.server"
    return ParticipantProcess(participant_of(name, precision), variables, server=server, patience=patience)


def _reference(task: TrainingTask) -> Movements:
    process = _process(REFERENCE, "float64", _Patience(0))
    try:
        return _moved(process, task)
    except ParticipantError as reason:
        raise BackendError(f"there is no reference to compare with: {reason}") from reason
    finally:
        process.close()


def _moved(process: ParticipantProcess, task: TrainingTask) -> Movements:
    """Load a task, and return what the first steps added to each parameter."""
    process.load(task)
    begun, parameters = task.parameters(), process.first_steps(task.checked_records()).parameters
    return {name: parameters[name].astype(np.float64) - a for name, a in begun.items()}
