"""One launch, or a few, for the epochs of many models: what each CTA is told, and what its model becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdkernels.backend import Job
from gdkernels.backend.arguments import arrays_by_name
from gdkernels.backend.program import Program, slot_names
from gdkernels.errors import ScheduleError
from gdkernels_cupy.many.code import ManyCode
from gdkernels_cupy.many.source import JOB, ManySource
from gdkernels_cupy.persistent.executable import launched
from gdkernels_cupy.persistent.launch_device import LaunchDevice, LoadedKernels
from gdkernels_cupy.persistent.shape import FORMATS, padded

__all__ = ["batch_of", "bytes_of_job", "train_together"]

Found = list[tuple[float, float | None]]  # of the epochs of a model

_ALIGNED = 64  # floats between the beginnings of two arrays: whoever reads them expects addresses of new memory
_MOST = 2**31 - 1  # what the kernel counts to


def train_together(code: ManyCode, device: LaunchDevice, jobs: Sequence[tuple[Program, Job]]) -> list[Found]:
    """Do the epochs of models that share their kernel, and update their states; return what `run_epochs` does for each.

    Nothing of any model changes before all are done.

    Raises
    ------
    ScheduleError
        For more steps at once than the kernel counts.
    """
    sources = [code.bind(batch_of(job)) for _, job in jobs]
    assert all(source is sources[0] for source in sources), "a model's kernel does not depend on the others"
    return _Launch(code, device, *sources[0], jobs).found()


def bytes_of_job(source: ManySource, job: Job) -> int:
    """Return the bytes of the device that a model takes in a launch, besides its data."""
    epochs, records = np.shape(job.orders)
    numbers = len(source.step.scalars) + len(source.step.results)
    floats = sum(map(_aligned, source.sizes)) + source.scratch + epochs * records + job.learning_rates.size * numbers
    return int(4 * floats + JOB.itemsize + 16 * len(source.order))


def batch_of(job: Job) -> int:
    """Return how many records a step has, but perhaps the last."""
    return min(job.batch_size, int(np.shape(job.orders)[1]))


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED


class _Launch:
    def __init__(
        self,
        code: ManyCode,
        device: LaunchDevice,
        source: ManySource,
        kernels: LoadedKernels,
        jobs: Sequence[tuple[Program, Job]],
    ) -> None:
        self._code, self._device = code, device
        self._source, self._kernels, self._jobs = source, kernels, jobs
        self._kept: list[Any] = []  # what addresses point to

    def found(self) -> list[Found]:
        device, source, jobs = self._device, self._source, [job for _, job in self._jobs]
        steps = [job.learning_rates.size for job in jobs]
        if max(steps) * max(len(source.step.scalars), len(source.step.results)) > _MOST:
            raise ScheduleError(f"{max(steps)} steps at once are more than the kernel counts")
        told = np.zeros(len(jobs), JOB)
        owned = self._states(told)
        self._data(told)
        scalars = [
            self._code.scalars(source, program, job.state.step, job.learning_rates, job.orders.shape[1], batch_of(job))
            for program, job in self._jobs
        ]
        self._parts(told, "scalars", [table.reshape(-1) for table in scalars])
        self._parts(told, "order", [np.asarray(job.orders).astype(np.int32).reshape(-1) for job in jobs])
        numbers = len(source.step.results)
        results = self._rooms(told, "results", [n * numbers for n in steps])
        if source.scratch:
            self._rooms(told, "scratch", [_aligned(source.scratch)] * len(jobs))
        told["records"] = [job.orders.shape[1] for job in jobs]
        told["batch"], told["steps"] = list(map(batch_of, jobs)), steps
        there = device.put(told.view(np.uint8))

        def launch(number: int, start: int, count: int) -> None:
            arguments = there, start, count
            self._kernels.launch("train_many", len(jobs), source.shared_bytes, arguments, together=False)

        launched(device, max(steps), launch)
        values = device.to_numpy(results).astype(np.float64)
        return [
            self._leave(program, job, arrays, part.reshape(*job.learning_rates.shape, numbers))
            for (program, job), arrays, part in zip(
                self._jobs, owned, np.split(values, np.cumsum([n * numbers for n in steps])[:-1]), strict=True
            )
        ]

    def _states(self, told: Any) -> list[dict[str, Any]]:
        """Make room for what the models become, and return it by name: they are as before until all is done."""
        source, device = self._source, self._device
        whole = sum(map(_aligned, source.sizes))
        offsets = np.cumsum([0, *map(_aligned, source.sizes)])[:-1]
        room = device.zeros(whole * len(told), "float32")
        owned, before = [], np.zeros((len(told), len(source.order)), np.uint64)
        for k, (_, job) in enumerate(self._jobs):
            arrays = arrays_by_name(job.state.parameters, job.state.slots)
            mine = {}
            for m, name in enumerate(source.order):
                given = device.contiguous(arrays[name])
                self._kept.append(given)
                before[k, m] = device.address(given)
                at = whole * k + int(offsets[m])
                mine[name] = room[at : at + source.sizes[m]].reshape(given.shape)
            owned.append(mine)
        own = device.address(room) + 4 * (whole * np.arange(len(told))[:, None] + offsets).astype(np.uint64)
        for name, table in (("before", before), ("state", own)):
            self._parts(told, name, list(np.ascontiguousarray(table, np.uint64)))
        return owned

    def _data(self, told: Any) -> None:
        """Put the data of all models where the kernel reads them; an image of the inputs is made once for each x."""
        device, form = self._device, FORMATS[self._code.precision]
        dtype, columns = "uint16" if form.size == 2 else "float32", padded(self._source.step.task.inputs)
        images: dict[tuple[int, int], Any] = {}
        for k, (_, job) in enumerate(self._jobs):
            x, y = device.contiguous(job.x), device.contiguous(job.y)
            key = device.address(x), int(x.shape[0])
            if key not in images:
                records = int(x.shape[0])
                images[key] = image = device.zeros(records * columns, dtype)
                rows = 32 * self._source.warps
                ctas = min(4 * self._kernels.resident(), -(-records * columns // rows))
                self._kernels.launch("round_inputs", ctas, 0, (x, image, records), together=False)
            told["image"][k], told["x"][k], told["y"][k] = map(device.address, (images[key], x, y))
            self._kept += [x, y]
            if job.sample_weight is not None:
                share = device.contiguous(job.sample_weight)
                self._kept.append(share)
                told["sample_weight"][k] = device.address(share)
        self._kept += images.values()

    def _parts(self, told: Any, name: str, parts: Sequence[Any]) -> None:
        """Copy arrays of the host to the device at once, and note where each has come to lie."""
        there = self._device.put(np.concatenate(parts))
        self._note(told, name, there, [len(part) for part in parts], parts[0].itemsize)

    def _rooms(self, told: Any, name: str, counts: Sequence[int]) -> Any:
        room = self._device.zeros(sum(counts), "float32")
        self._note(told, name, room, counts, 4)
        return room

    def _note(self, told: Any, name: str, room: Any, counts: Sequence[int], size: int) -> None:
        self._kept.append(room)
        starts = np.cumsum([0, *counts])[:-1].astype(np.uint64)
        told[name] = np.uint64(self._device.address(room)) + starts * np.uint64(size)

    @staticmethod
    def _leave(program: Program, job: Job, arrays: dict[str, Any], values: Any) -> Found:
        state = job.state
        state.parameters = {name: arrays.get(name, given) for name, given in state.parameters.items()}
        state.slots = {
            name: tuple(arrays[slot] for slot in slot_names(name, len(each))) for name, each in state.slots.items()
        }
        state.step += job.learning_rates.size
        return [
            (math.fsum(steps[:, 0]), math.fsum(steps[:, 1]) / len(steps) if program.gradient_norm else None)
            for steps in values
        ]
