"""A model of a batch: where its arrays are before, in and after a run, and what it has come to so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Job
from gdkernels.backend.arguments import arrays_by_name, keys_of_run
from gdkernels.backend.program import Program, slot_names
from gdkernels_cupy.batches.layout import BatchLayout
from gdkernels_cupy.batches.session import MOST_TOLD, ModelRun
from gdkernels_cupy.cuda.device import check_device
from gdkernels_cupy.graphs.keyed_rows import with_keys

__all__ = ["ModelOfBatch", "bytes_beside"]

_ALIGNED = 64  # numbers between the beginnings of two arrays: whoever reads them expects addresses of new memory


class ModelOfBatch:
    """A model whose state is as before until `leave`: what it becomes has arrays of its own.

    Attributes
    ----------
    epochs
        How many it has to do.
    found
        What `Executable.run_epochs` returns for those that are done.
    """

    def __init__(self, program: Program, job: Job, number: int, dtype: np.dtype[Any]) -> None:
        self.job, self._program, self._number, self._dtype = job, program, number, dtype
        self.epochs, self.found = len(job.orders), list[tuple[float, float | None]]()
        state = job.state
        self._now = {n: self._there(a) for n, a in arrays_by_name(state.parameters, state.slots).items()}
        self._own: dict[str, Any] = {}
        data = {"x": job.x, "y": job.y, "sample_weight": job.sample_weight}
        self._data = {name: self._there(a) for name, a in data.items() if a is not None}
        self._kept: Any = None  # what the addresses of the run under way point to

    def run(
        self,
        epochs: slice,
        names: Iterable[str],
        table: Callable[..., npt.NDArray[np.float64]],
    ) -> ModelRun:
        """Return what a session is told of the next epochs.

        Parameters
        ----------
        names
            Those of the parameters and slots that a step has.
        table
            Returns the numbers of steps.
        """
        job = self.job
        self._own = self._own or self._new(names)
        orders, arrays = np.asarray(job.orders[epochs], np.int64), self._data
        rates, records = job.learning_rates[epochs], orders.shape[1]
        batch, done = min(job.batch_size, records), job.state.step + epochs.start * job.learning_rates.shape[1]
        if self._program.draws:
            assert len(orders) == 1, "each epoch has keys of its own"
            keys = keys_of_run(self._program, replace(job.state, step=done), records, job.batch_size)
            assert keys is not None, "whoever draws has keys"
            arrays, order = with_keys(arrays, orders[0], keys, self._dtype)
            orders = order[None]
        self._kept = arrays
        return ModelRun(
            {name: self._now[name].data.ptr for name in self._own},
            {name: a.data.ptr for name, a in self._own.items()},
            {name: a.data.ptr for name, a in arrays.items()},
            int(arrays["x"].shape[0]),
            orders,
            table(self._program, rates=rates, done=done, records=records, batch=batch),
        )

    def take(self, sums: npt.NDArray[np.float64]) -> None:
        """Go on with what a run has left, whose sums of E and of the norm these are [epochs, 2]."""
        steps = self.job.learning_rates.shape[1]
        norms = [float(norm) / steps if self._program.gradient_norm else None for _, norm in sums]
        self.found += zip((float(error) for error, _ in sums), norms, strict=True)
        self._now = {**self._now, **self._own}

    def leave(self) -> None:
        """Let the state be what the model has become."""
        state, now = self.job.state, self._now
        state.parameters = {name: now[name] for name in state.parameters}
        state.slots = {name: tuple(now[n] for n in slot_names(name, len(each))) for name, each in state.slots.items()}
        state.step += self.job.learning_rates.size

    def _there(self, a: Any) -> Any:
        import cupy

        if isinstance(a, cupy.ndarray):
            check_device(a.device.id, self._number)
        return cupy.ascontiguousarray(a, self._dtype)

    def _new(self, names: Iterable[str]) -> dict[str, Any]:
        """Return arrays for what the model becomes, by name."""
        import cupy

        shapes = {name: self._now[name].shape for name in names}
        starts = np.cumsum([0, *(_aligned(math.prod(shape)) for shape in shapes.values())])
        room = cupy.empty(int(starts[-1]), self._dtype)
        return {
            name: room[at : at + math.prod(shape)].reshape(shape)
            for at, (name, shape) in zip(map(int, starts[:-1]), shapes.items(), strict=True)
        }


def bytes_beside(job: Job, layout: BatchLayout, dtype: np.dtype[Any]) -> int:
    """Return the bytes that a model takes beside its memory in a session: what it becomes, its order, its numbers."""
    arrays = arrays_by_name(job.state.parameters, job.state.slots).values()
    new = dtype.itemsize * sum(_aligned(math.prod(a.shape)) for a in arrays)
    told = 8 * job.learning_rates.size * (layout.full.rows + layout.count)
    return int(new + min(told, MOST_TOLD))


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED
