"""The cases of the conformance suite: programs that cover the definition, their data, and comparing their results.

Code here knows how to run a program on any backend, and what is near enough. What a backend must do besides, the suite
beside this folder asks for.
"""

from gdkernels.testing.cases.programs import CASES, Case, chained, varied
from gdkernels.testing.cases.runs import (
    Data,
    Result,
    all_runs,
    arrays_of,
    compare,
    data_of,
    numpy_state,
    on_backend,
    on_numpy,
    on_numpy_once,
    put_on,
    state_on,
)
from gdkernels.testing.cases.users_own import Adagrad, Bilinear, Noise, Normed, Tied, log_cosh, mish

__all__ = [
    "CASES",
    "Adagrad",
    "Bilinear",
    "Case",
    "Data",
    "Noise",
    "Normed",
    "Result",
    "Tied",
    "all_runs",
    "arrays_of",
    "chained",
    "compare",
    "data_of",
    "log_cosh",
    "mish",
    "numpy_state",
    "on_backend",
    "on_numpy",
    "on_numpy_once",
    "put_on",
    "state_on",
    "varied",
]
