"""The contract between gdkernels and a backend, and the executable that runs the definition on any of them.

A plug-in imports `Backend`, `Executable`, `Plan` and `State` from here. What is to be run is a `Program`; how far a
backend is from the definition in float64 is measured by `verification`. Which backend runs is decided in
`gdkernels.dispatch`, and how one compiles is its own business.
"""

from gdkernels.backend.contract import PRECISIONS, Backend, Executable, Plan, State, host_array, storage_dtype
from gdkernels.backend.program import Program

__all__ = ["PRECISIONS", "Backend", "Executable", "Plan", "Program", "State", "host_array", "storage_dtype"]
