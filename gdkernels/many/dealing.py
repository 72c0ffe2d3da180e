"""Jobs dealt to the ranks of a group: each does its own, and all get what each job gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from gdkernels.backend import Plan
from gdkernels.errors import GdkernelsError
from gdkernels.groups import Group
from gdkernels.groups.agreement import error_told, guarded, told_of
from gdkernels.system.threads import ThreadBound
from gdkernels.training.history import Epoch, History, Start, Stop, StopReason

__all__ = ["Done", "dealt"]

Arrays = dict[str, np.ndarray[Any, Any]]
Done = tuple[Arrays, History]  # of a job: what it leaves, by name, and its history

_LENGTH = 8  # bytes of the length of a description


def dealt(group: Group, jobs: int, run: Callable[[int], Done]) -> list[Done]:
    """Return what each of some jobs gives, in their order; job k is done by rank k modulo the number of ranks.

    Raises
    ------
    GdkernelsError
        On all ranks, the error of the first job that has one; the others are done first.
    """
    if group.size == 1:
        return [run(k) for k in range(jobs)]
    with guarded(group):
        mine = {k: _tried(run, k) for k in range(group.rank, jobs, group.size)}
        found: list[bytes] = []
        for first in range(0, jobs, group.size):
            found += group.gather_bytes(mine.get(first + group.rank, b""))
    return [_of_bytes(data) for data in found[:jobs]]


def _tried(run: Callable[[int], Done], k: int) -> bytes:
    try:
        return _in_bytes(*run(k))
    except GdkernelsError as error:
        return b"!" + json.dumps(told_of(error)).encode()


def _in_bytes(arrays: Arrays, history: History) -> bytes:
    from safetensors.numpy import save

    told = {
        "plan": history.plan.as_dict(),
        "origin": history.origin,
        "reason": history.reason,
        "stop": history.stop and [history.stop.reason.name, history.stop.sentence],
        "best_epoch": history.best_epoch,
        "memory": history.memory,
        "thread_bound": history.thread_bound and asdict(history.thread_bound),
        "epochs": [vars(epoch) for epoch in history.epochs],
        "starts": [vars(start) for start in history.starts],
    }
    description = json.dumps(told).encode()
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return b"=" + len(description).to_bytes(_LENGTH, "little") + description + save(whole)


def _of_bytes(data: bytes) -> Done:
    from safetensors.numpy import load

    if data[:1] == b"!":
        raise error_told(json.loads(data[1:]))
    stop = 1 + _LENGTH + int.from_bytes(data[1 : 1 + _LENGTH], "little")
    told = json.loads(data[1 + _LENGTH : stop])
    history = History(
        Plan(**told["plan"]),
        told["origin"],
        told["reason"],
        epochs=[Epoch(**epoch) for epoch in told["epochs"]],
        stop=None if told["stop"] is None else Stop(StopReason[told["stop"][0]], told["stop"][1]),
        best_epoch=told["best_epoch"],
        memory=told["memory"],
        thread_bound=None if told["thread_bound"] is None else ThreadBound(**told["thread_bound"]),
        starts=tuple(Start(**start) for start in told["starts"]),
    )
    return load(data[stop:]), history
