"""The first minutes on a device: does it do what its twins do, and the same each time?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks import checkout
from gdkernels.backend import PRECISIONS, Plan, storage_dtype
from gdkernels.backend.verification import named_arrays, relative_error, start
from gdkernels.testing.cases import CASES, data_of

__all__ = [
    "TOOLS",
    "a_step",
    "environment",
    "epilogues_believed",
    "persistent_kernel",
    "repeats",
    "sanitized",
    "step_against_interpreter",
]


def epilogues_believed() -> dict[str, Any]:
    """Return, by precision, which epilogues of cuBLAS do what the list says: NaN, zeros, α ≠ 1 and β = 1 included.

    If none does in some precision, that is an AssertionError: cuBLAS itself does not work, or the products are wrong.
    """
    from gdkernels_cupy.graphs.probe import probed

    found = {precision: probed(0, precision) for precision in PRECISIONS}
    missing = [precision for precision, (right, losing) in found.items() if not right + losing]
    if missing:
        raise AssertionError(f"cuBLAS does nothing rightly in {', '.join(missing)}; of the others: {found}")
    return {
        precision: {"right": list(right), "but for NaN": list(losing)} for precision, (right, losing) in found.items()
    }


def persistent_kernel() -> dict[str, str]:
    """Return, by precision, whether the kernel for narrow networks does a few steps right, or the problem."""
    from gdkernels_cupy import CuPyBackend
    from gdkernels_cupy.choice import ChosenExecutable

    case, data, backend, found = CASES["relu-sse"], data_of(CASES["relu-sse"]), CuPyBackend(), {}
    for precision in ("tf32", "bfloat16"):
        executable = backend.compile(case.program, Plan("cupy", "cuda:0", precision))
        assert isinstance(executable, ChosenExecutable), "it was not compiled"

        def put(a: Any, precision: str = precision) -> Any:
            return backend.asarray(np.asarray(a), dtype=storage_dtype(precision), device="cuda:0")

        rates = np.full(-(-len(data.x) // case.batch_size), case.learning_rate)
        with environment(GDKERNELS_CHECK="always"):
            state = start(case.program, data.parameters, put)
            executable.run(state, put(data.x), put(data.y), np.arange(len(data.x)), case.batch_size, rates)
        wrong = executable.passed_over.get("the persistent kernel")
        used = executable.plan.choices.get("kernel") == "narrow"
        found[precision] = "right" if used else wrong or executable.why(case.widths)
    return found


_TIMES = 1000  # runs whose bits are compared

TOOLS = ("memcheck", "racecheck", "synccheck")  # of compute-sanitizer


def sanitized(tool: str, name: str, precision: str, kernel: str) -> str:
    """Return what compute-sanitizer says of a step: it sees accesses and races that a step gets away with.

    Parameters
    ----------
    tool
        One of `TOOLS`.
    kernel
        "graphs" or "narrow", as plans call them; "many", which is narrow with a CTA for each model, or "batches".
    """
    program = shutil.which("compute-sanitizer")
    if program is None:
        return "compute-sanitizer is not installed"
    step = f"from benchmarks.gpu.first import a_step as s; s({name!r}, {precision!r}, {kernel!r})"
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", step]
    # A kernel takes so much longer here that those who wait for each other must not give up.
    variables = os.environ | checkout.environment() | {"GDKERNELS_PATIENT_BARRIERS": "1", "GDKERNELS_CHECK": "never"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise AssertionError((done.stdout + done.stderr)[-2000:])
    return "no errors"


def a_step(name: str, precision: str, kernel: str) -> dict[str, Any]:
    """Do an epoch of a conformance case by one of the kernels, and a prediction; return what the plan chose."""
    from gdkernels_cupy import CuPyBackend

    case, data, backend = CASES[name], data_of(CASES[name]), CuPyBackend()
    choices: dict[str, Any] = {"kernel": "narrow" if kernel == "many" else kernel}
    choices |= {"many": True} if kernel in ("many", "batches") else {}
    executable = backend.compile(case.program, Plan("cupy", "cuda:0", precision, choices))
    assert executable is not None, "it was not compiled"

    def put(a: Any) -> Any:
        return backend.asarray(np.asarray(a), dtype=storage_dtype(precision), device="cuda:0")

    state, x, y = start(case.program, data.parameters, put), put(data.x), put(data.y)
    rates = np.full(-(-len(data.x) // case.batch_size), case.learning_rate)
    executable.run(state, x, y, np.arange(len(data.x)), case.batch_size, rates)
    executable.predict(state.parameters, x)
    backend.synchronize("cuda:0")
    assert {**executable.plan.choices, **choices} == executable.plan.choices, "another kernel ran"
    return dict(executable.plan.choices)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Have these variables in the environment meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def step_against_interpreter(name: str, precision: str) -> dict[str, float]:
    """Return how far a step of a conformance case is from the same list run by NumPy, array by array."""
    from gdkernels_cupy import CuPyBackend
    from gdkernels_cupy.graphs.interpret import Interpreter
    from gdkernels_cupy.graphs.lower import lower
    from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS

    from gdkernels.lowering.scalars import scalar_table
    from gdkernels.lowering.task import schedule_training

    case, data, backend = CASES[name], data_of(CASES[name]), CuPyBackend()
    dtype = storage_dtype(precision)
    executable = backend.compile(case.program, Plan("cupy", "cuda:0", precision, {"kernel": "graphs"}))
    assert executable is not None, "it was not compiled"

    def put(a: Any) -> Any:
        return backend.asarray(np.asarray(a), dtype=dtype, device="cuda:0")

    state = start(case.program, data.parameters, put)
    order = data.runs[0][0]
    loss, _ = executable.run(state, put(data.x), put(data.y), order, case.batch_size, np.full(1, case.learning_rate))

    task = schedule_training(case.program, CUDA_FUNCTIONS)
    sizes = task.sizes_with(len(order))
    epilogues = executable.plan.choices["epilogues"]
    interpreter = Interpreter(lower(task, sizes, precision, (len(order),), epilogues), precision)
    before = start(case.program, data.parameters, lambda a: np.asarray(a, dtype))
    interpreter.load(dict(named_arrays(before)))
    known = {**sizes, "learning_rate": case.learning_rate, "t": 1, **case.program.numbers}
    scalars = scalar_table(interpreter.op_list.scalars, {n: float(v) for n, v in known.items()}, 1)[0]
    interpreter.step({"x": data.x.astype(dtype), "y": data.y.astype(dtype)}, order, scalars)
    wanted = interpreter.store()
    found = dict(named_arrays(state, backend.to_numpy))
    return {"the loss": abs(loss / interpreter.sums[0] - 1)} | {
        n: relative_error(found[n], wanted[n].reshape(found[n].shape)) for n in wanted
    }


def repeats(name: str, precision: str) -> int:
    """Return how many of many runs from one start end in other bits than the first: 0 is right."""
    from gdkernels_cupy import CuPyBackend

    case, data, backend = CASES[name], data_of(CASES[name]), CuPyBackend()
    executable = backend.compile(case.program, Plan("cupy", "cuda:0", precision))
    assert executable is not None, "it was not compiled"

    def put(a: Any) -> Any:
        return backend.asarray(np.asarray(a), dtype=storage_dtype(precision), device="cuda:0")

    x, y = put(data.x), put(data.y)
    rates = np.full(-(-len(data.x) // case.batch_size), case.learning_rate)
    seen: list[bytes] = []
    for _ in range(_TIMES):
        state = start(case.program, data.parameters, put)
        loss, _ = executable.run(state, x, y, np.arange(len(data.x)), case.batch_size, rates)
        arrays = [a.tobytes() for _, a in named_arrays(state, backend.to_numpy)]
        seen.append(np.float64(loss).tobytes() + b"".join(arrays))
    return sum(bits != seen[0] for bits in seen)
