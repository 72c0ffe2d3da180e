"""Jobs to time: the same training, from the same bits, on every candidate that can do it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from gdkernels import randomness
from gdkernels.backend import Plan, storage_dtype
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.verification import start
from gdkernels.definition.blocks.block import initial_values
from gdkernels.dispatch import registry
from gdkernels.dispatch.calibration import Candidate
from gdkernels.dispatch.workload import Workload

__all__ = ["CalibrationJob", "candidates"]

_RATE = 1e-6  # so small that no job diverges, however often it runs


def candidates(precision: str) -> list[Candidate]:
    """Return every place where a job can run here, the highest priority first, with every number of threads to try."""
    found = map(registry.prepared, registry.find().values())
    able = [f for f in found if f.backend and not f.problem and precision in f.backend.precisions]
    return [
        Candidate(f.name, device, threads)
        for f in able
        for device in f.devices
        for threads in (f.backend.threads(device) if f.backend else ()) or (None,)
    ]


class CalibrationJob:
    """A training job with its data and initial parameters on the host.

    Attributes
    ----------
    plans
        The plan of each candidate's last run.
    """

    def __init__(self, work: Workload, precision: str) -> None:
        self.work, self.precision = work, precision
        self.plans: dict[Candidate, Plan] = {}
        rng = randomness.generator(0, "jobs")
        self._parameters = initial_values(work.program.parameters, rng)
        dtype = storage_dtype(precision)
        self._x = rng.standard_normal((work.records, work.program.inputs)).astype(dtype)
        self._y = rng.standard_normal((work.records, work.program.outputs)).astype(dtype)
        self._order = rng.permutation(work.records)

    def timer(self, candidate: Candidate) -> Callable[[], float]:
        """Return a function that runs the job on a candidate, without the transfers, and returns the seconds."""
        backend = registry.get(candidate.backend)
        choices = {} if candidate.threads is None else {"threads": candidate.threads}
        plan = Plan(candidate.backend, candidate.device, self.precision, choices)
        dtype, device, work = storage_dtype(self.precision), candidate.device, self.work
        with backend.on_device(device):
            executable = bind(backend, work.program, plan)
            x, y = (backend.asarray(a, dtype=dtype, device=device) for a in (self._x, self._y))
            begun = start(work.program, self._parameters, lambda a: backend.asarray(a, dtype=dtype, device=device))
            state = begun.copy(backend.xp)
        rates = np.full(-(-work.records // work.batch), _RATE)

        def run() -> float:
            with backend.on_device(device):
                began = time.perf_counter()
                for _ in range(work.epochs):
                    executable.run(state, x, y, self._order, work.batch, rates)
                backend.synchronize(device)
                seconds = time.perf_counter() - began
            self.plans[candidate] = executable.plan
            return seconds

        return run

    def transfer_timer(self, candidate: Candidate) -> Callable[[], float]:
        """Return a function that moves the data to the candidate's device, and returns the seconds."""
        backend, dtype = registry.get(candidate.backend), storage_dtype(self.precision)

        def run() -> float:
            with backend.on_device(candidate.device):
                began = time.perf_counter()
                for a in (self._x, self._y):
                    backend.asarray(a, dtype=dtype, device=candidate.device)
                backend.synchronize(candidate.device)
                return time.perf_counter() - began

        return run
