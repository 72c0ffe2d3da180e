"""The contract between gdkernels and a backend, and the executable that runs the definition on any of them.

A plug-in imports `Backend`, `Executable`, `Job`, `Plan` and `State` from here. A `Program` is what an executable runs,
and `verification` measures how far a backend is from the definition in float64. `gdkernels.dispatch` decides which
backend runs, and each backend decides how it compiles.
"""

from gdkernels.backend.contract import CONTRACT, Backend
from gdkernels.backend.executable import Executable, Job
from gdkernels.backend.program import Program
from gdkernels.backend.values import PRECISIONS, Plan, State, host_array, storage_dtype

__all__ = [
    "CONTRACT",
    "PRECISIONS",
    "Backend",
    "Executable",
    "Job",
    "Plan",
    "Program",
    "State",
    "host_array",
    "storage_dtype",
]
