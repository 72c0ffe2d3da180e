"""What a solver's way of training provides, besides its formulas: where it computes, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from gdkernels.backend import Executable
from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.training.solvers.outcome import Memory, Outcome, Vector

__all__ = ["Method", "penalties_of", "rounded"]


class Method(Protocol):
    """A way of training by iterations over all records."""

    @property
    def executable(self) -> Executable:
        """What runs it, once it was prepared: its plan, and where it came from."""

    @property
    def workspace(self) -> int:
        """The bytes that an iteration takes beyond data and state; 0 leaves it to an estimate."""

    def prepare(self, binding: Binding, workload: Workload, choices: Mapping[str, Any] | None) -> Executable:
        """Return what runs it; what cannot be is refused here, before any work."""

    def take(self, executable: Executable, binding: Binding, workload: Workload) -> None:
        """Use what somebody else has made there, with its choices, until `forget`."""

    def forget(self) -> None:
        """Let go of all that belongs to a place."""

    def rest(self) -> None:
        """Let other fits have the memory that the next iteration can fill anew."""

    def iterate(self, binding: Binding, data: Records | Windows, vector: Vector, memory: Memory) -> Outcome:
        """Return what an iteration leads to."""


def penalties_of(program: Program, objective: Objective, total_weight: float) -> Vector:
    """Return the penalty on each number of the parameters that are trained, in the unit of E."""
    share = float(objective.l2)
    if objective.reduction == "mean" and not objective.l2_in_loss:
        share *= total_weight
    each = [
        np.full(int(np.prod(program.shapes[name])), share if name in program.decaying else 0.0)
        for name in program.trained
    ]
    return np.concatenate(each) if each else np.zeros(0)


def rounded(vector: Vector, dtype: str) -> Vector:
    """Return the nearest point that parameters of a dtype can be at."""
    return vector if dtype == "float64" else vector.astype(dtype).astype(np.float64)
