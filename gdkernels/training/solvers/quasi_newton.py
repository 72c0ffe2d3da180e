"""L-BFGS on a network: the loss and the gradient of all records by the backend's own step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gdkernels.backend import Executable
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.objective import Objective
from gdkernels.definition.solvers import LBFGS
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.network import BoundNetwork
from gdkernels.training.settings import Settings
from gdkernels.training.solvers.lbfgs import Evaluated, lbfgs_iteration
from gdkernels.training.solvers.method import penalties_of, rounded
from gdkernels.training.solvers.outcome import Memory, Outcome, Vector
from gdkernels.training.solvers.value import Gradient, ValueAndGradient, check_draws_nothing

__all__ = ["QuasiNewton"]


class QuasiNewton:
    """Iterations of L-BFGS on a network.

    Parameters
    ----------
    network, settings
        As a trainer has them.
    solver
        How to solve.
    """

    workspace = 0  # that of a step, which is estimated from its graph

    def __init__(self, network: BoundNetwork, settings: Settings, solver: LBFGS) -> None:
        self._network, self._settings, self._solver = network, settings, solver
        self._executable: Executable | None = None
        self._for: tuple[Any, ...] | None = None
        self._last: tuple[Any, Evaluated] | None = None  # the data, and the point where the last iteration ended

    @property
    def executable(self) -> Executable:
        assert self._executable is not None
        return self._executable

    def prepare(self, binding: Binding, workload: Workload, choices: Mapping[str, Any] | None) -> Executable:
        check_draws_nothing(workload.program, "L-BFGS")
        wanted = _what_runs(binding, workload)
        if self._executable is None or self._for != wanted or choices is not None:
            self._executable, self._for = binding.executable(workload.program, workload, choices), wanted
        return self._executable

    def take(self, executable: Executable, binding: Binding, workload: Workload) -> None:
        self._executable, self._for = executable, _what_runs(binding, workload)

    def forget(self) -> None:
        self._executable = self._for = self._last = None

    def rest(self) -> None:
        """Keep everything: there is one vector, and what is known there."""

    def iterate(self, binding: Binding, data: Records | Windows, vector: Vector, memory: Memory) -> Outcome:
        network, objective = self._network, self._settings.objective
        program = network.structure.program(gradient_sum(objective), Gradient(), weighted=data.weighted)
        constants = {n: a for n, a in network.parameters.items() if n not in program.trained}
        summed = ValueAndGradient(program, binding, constants, self.executable)
        whole = data.total_weight
        penalties = penalties_of(program, objective, whole)

        def evaluate(wanted: Vector) -> Evaluated:
            point = rounded(wanted, binding.dtype)
            error, gradient = 0.0, penalties * point
            for part in data.parts():
                found, slope = summed(point, part)
                error, gradient = error + found, gradient + slope
            penalty = 0.5 * float(np.sum(penalties * point * point))
            told = error + penalty if objective.l2_in_loss else error
            return Evaluated(point, (error + penalty) / whole, gradient / whole, told)

        last = self._last
        known = last is not None and last[0] is data and np.array_equal(last[1].vector, vector)
        here = last[1] if known and last is not None else evaluate(vector)
        outcome, there = lbfgs_iteration(self._solver, evaluate, here, memory)
        self._last = data, there
        return outcome


def gradient_sum(objective: Objective) -> Objective:
    """Return the objective whose gradient is that of E: penalties are added where there is one vector."""
    return replace(objective, l2=0.0, l2_in_loss=False, clip_norm=None, reduction="sum")


def _what_runs(binding: Binding, workload: Workload) -> tuple[Any, ...]:
    """Return what an executable is made for: with another batch, its sums may be others."""
    return binding, workload.program, workload.batch
