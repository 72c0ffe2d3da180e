"""Steps over batches that the user gives, one for each as it comes, on the next backend if one fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.dispatch.binding import moved
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError
from gdkernels.groups import Group
from gdkernels.network import BoundNetwork
from gdkernels.training.checkpointing import Middle
from gdkernels.training.prepared_steps import PreparedSteps
from gdkernels.training.record_placer import RecordPlacer
from gdkernels.training.same_on_ranks import same_batches

__all__ = ["steps_over"]


def steps_over(
    batches: Batches,
    middle: Middle,
    rates: npt.NDArray[np.float64],
    *,
    network: BoundNetwork,
    placer: RecordPlacer,
    steps: PreparedSteps,
    group: Group,
    each_step: Callable[[float], None] | None,
    gradient_norm: bool,
) -> None:
    """Do a step for each batch, and add what it returns to `middle`, whose state it changes.

    Parameters
    ----------
    rates
        Those of the steps; the last one serves for all that come after it.
    network, placer, steps, each_step
        Those of the `gdkernels.training.epoch_runner.EpochRunner`.
    group
        The ranks, which have to have the same batches.

    Raises
    ------
    BackendError
        If a backend fails in the middle of a step, or no other comes next.
    InputError
        If ranks have different batches.
    """
    binding = placer.bind(None)
    placer.look_at(*batches.sample[:2])

    def job(records: int) -> Workload:
        return steps.workload(records, 1, gradient_norm=gradient_norm, weighted=batches.weighted)

    def leave(error: BackendError) -> bool:
        """Go to the next backend, if there is one: a batch may come only once, so the epoch does not begin anew."""
        return network.leave(error, batches.sample[0], job)

    def place(*batch: Any, of: str) -> Records:
        while True:
            try:
                return placer.place_records(*batch, of=of)
            except BackendError as error:
                if not leave(error):
                    raise

    def step(part: Records, rate: npt.NDArray[np.float64]) -> tuple[float, float | None]:
        weights = () if part.weights is None else (part.weights,)
        steps.be_ready(part.binding, batches.size, batches, gradient_norm=gradient_norm)
        executable = steps.on(part)
        return executable.run(middle.state, part.x, part.y, np.arange(len(part)), len(part), rate, *weights)

    for k, given in enumerate(same_batches(group, batches.records(place))):
        part, done = given, middle.state.step
        while True:
            now = placer.bind(None)
            if now is not binding:
                middle.state, binding = moved(middle.state, binding, now), now
            part = part if part.binding is now else part.moved(now)
            try:
                error, norm = step(part, rates[min(k, len(rates) - 1)][None])
                break
            except BackendError as failure:
                if middle.state.step != done or not leave(failure):  # a step that is done is not done again
                    raise
        middle.steps, middle.error, middle.norms = k + 1, middle.error + error, middle.norms + (norm or 0.0)
        if each_step:
            each_step(error)
