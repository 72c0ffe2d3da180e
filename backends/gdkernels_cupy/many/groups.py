"""Jobs of many models in groups: those that one call can do, as many at a time as memory is there for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from gdkernels.backend import Job
from gdkernels_cupy.cuda.errors import DeviceMemoryError, as_backend_errors

__all__ = ["PLAN_MANY", "Found", "ModelBeside", "in_groups"]

PLAN_MANY = "many"  # what plans call models that train beside others: a format

_SHARE = 0.9  # of the free memory: between epochs, predictions need some

_log = logging.getLogger("gdkernels")

Found = list[tuple[float, float | None]]  # what `run_epochs` returns


class ModelBeside(Protocol):
    """An executable that does its jobs beside those of others."""

    def kernel_of(self, job: Job) -> Hashable:
        """Return what jobs have in common that one call can do."""

    def together(self, jobs: Sequence[tuple[Any, Job]]) -> list[Found]:
        """Do jobs of executables like this one; nothing of any model changes before all are done."""

    def bytes_for(self, job: Job) -> tuple[int, int]:
        """Return the bytes of the device that a job takes besides its data, and those that jobs with its x share."""

    def held(self) -> int:
        """Return the bytes that calls before have left in use for the next one."""


Numbered = tuple[int, ModelBeside, Job]


def in_groups(jobs: Sequence[tuple[ModelBeside, Job]], device: str, free: Callable[[], int]) -> list[Found | None]:
    """Do jobs, and return what `run_epochs` does for each; None for one whose memory is not there.

    Parameters
    ----------
    free
        Tells the bytes that are free on the device.
    """
    found: dict[int, Found] = {}
    groups: dict[Hashable, list[Numbered]] = {}
    for k, (own, job) in enumerate(jobs):
        whole = replace(job, orders=np.stack([np.asarray(order) for order in job.orders]))
        groups.setdefault(own.kernel_of(whole), []).append((k, own, whole))
    for group in groups.values():
        for part in _that_fit(group, free):
            found |= _done(part, device)
            for k, _, job in part:
                jobs[k][1].seconds = job.seconds
    return [found.get(k) for k in range(len(jobs))]


def _done(part: Sequence[Numbered], device: str) -> dict[int, Found]:
    """Return what jobs give, by number: fewer at a time where memory is short after all, and none that never fits."""
    try:
        with as_backend_errors(device):
            results = part[0][1].together([(own, job) for _, own, job in part])
        return dict(zip((k for k, _, _ in part), results, strict=True))
    except DeviceMemoryError as error:
        if len(part) == 1:
            _log.warning("a model does not train beside others: %s", error)
            return {}
    half = len(part) // 2
    return _done(part[:half], device) | _done(part[half:], device)


def _that_fit(group: Sequence[Numbered], free: Callable[[], int]) -> Iterator[Sequence[Numbered]]:
    """Yield as many jobs at a time as there is memory for, at least one."""
    start = 0
    while start < len(group):
        need, images, stop, most = 0, set[int](), start, _SHARE * (free() + group[start][1].held())
        while stop < len(group):
            _, own, job = group[stop]
            more, image = own.bytes_for(job)
            need += more + (0 if id(job.x) in images else image)
            if need > most and stop > start:
                break
            images.add(id(job.x))
            stop += 1
        yield group[start:stop]
        start = stop
