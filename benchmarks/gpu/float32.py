"""The proof of the persistent kernel for float32: what has to hold on a device before anybody's float32 runs there.

Nothing specifies how a matrix unit sums, so every figure is compared with float64 beside NumPy's own error in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.typical import TYPICAL, network
from gdkernels.backend import Plan, State
from gdkernels.backend.program import Program
from gdkernels.backend.verification import (
    bound,
    continue_on_numpy,
    named_arrays,
    predict_on_numpy,
    relative_error,
    start,
)
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.testing.cases import CASES

__all__ = ["BEYOND", "NETWORKS", "agrees", "beyond", "same_bits"]

_RECORDS, _BATCH = 20_000, 8_192  # several tiles for each CTA, and a last batch that is smaller
_TIMES = 1000


def _typical(name: str) -> Program:
    return TYPICAL[name][0]


# Every kind of layer, of loss and of update, and widths that are no multiple of anything.
NETWORKS: dict[str, Program] = {
    "64 wide": network(activations.relu, (64,) * 4, SGD(momentum=0.9)),
    "sine": _typical("2-64-64-3, sine, Adam"),
    "classes": _typical("30-64-32-10, silu, Adam, classes"),
    "a mixture of activations": CASES["a mixture of activations"].program,
    "everything": CASES["weighted everything"].program,
}


class Float32Problem:
    """A network with random parameters and records, as a step of it is done on a device and on NumPy."""

    def __init__(self, program: Program, records: int, batch: int) -> None:
        random = np.random.default_rng([*program.widths, records])
        self.program, self.batch = program, min(batch, records)
        self.x = random.standard_normal((records, program.inputs), dtype=np.float32)
        self.y = abs(random.standard_normal((records, program.outputs), dtype=np.float32))
        self.y /= self.y.sum(axis=1, keepdims=True)  # that of classes and of counts, too
        self.weight = random.uniform(0.5, 2.0, records).astype(np.float32) if program.weighted else None
        self.order = random.permutation(records)
        self.rates = np.full(-(-records // self.batch), 1e-3)
        self.parameters: dict[str, npt.NDArray[Any]] = {
            name: random.standard_normal(told.shape, dtype=np.float32)
            / np.float32(told.shape[0] ** 0.5 if len(told.shape) == 2 else 4)
            for name, told in program.parameters.items()
        }

    def runner(self, device: Any) -> Callable[[], dict[str, npt.NDArray[Any]]]:
        """Return what does the run by the persistent kernel, each time from the same start."""
        from gdkernels_cupy import CuPyBackend
        from gdkernels_cupy.persistent.executable import PersistentExecutable

        backend = CuPyBackend()
        executable = PersistentExecutable(self.program, Plan("cupy", "cuda:0", "float32"), device)

        def put(a: npt.NDArray[Any]) -> Any:
            return backend.asarray(a, dtype="float32", device="cuda:0")

        x, y = put(self.x), put(self.y)
        weight = None if self.weight is None else put(self.weight)

        def run() -> dict[str, npt.NDArray[Any]]:
            state = start(self.program, self.parameters, put)
            loss, norm = executable.run(state, x, y, self.order, self.batch, self.rates, weight)
            output = backend.to_numpy(executable.predict(state.parameters, x))
            return _results(loss, norm, state, output, backend.to_numpy)

        return run

    def on_numpy(self, precision: str) -> dict[str, npt.NDArray[Any]]:
        """Return the results of the definition in a precision."""
        state = start(self.program, self.parameters, lambda a: np.asarray(a, precision))
        data = self.x, self.y, self.order, self.batch, self.rates, precision, self.weight
        with np.errstate(all="ignore"):
            loss, norm = continue_on_numpy(self.program, state, *data)
            output = predict_on_numpy(self.program, state.parameters, self.x, precision)
        return _results(loss, norm, state, output, np.asarray)


def _results(
    loss: float, norm: float | None, state: State, output: Any, to_numpy: Callable[[Any], npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    numbers = {"the loss": loss} | ({} if norm is None else {"the norm": norm})
    return {k: np.asarray(v) for k, v in numbers.items()} | dict(named_arrays(state, to_numpy)) | {"output": output}


def agrees(name: str) -> dict[str, float]:
    """Return the largest error of a network's results, and NumPy's; if one is too far, that is an AssertionError."""
    problem = Float32Problem(NETWORKS[name], _RECORDS, _BATCH)
    wanted, own, found = problem.on_numpy("float64"), problem.on_numpy("float32"), problem.runner(_device())()
    usual = {key: relative_error(own[key], a) for key, a in wanted.items()}
    off = {key: relative_error(found[key], a) for key, a in wanted.items()}
    wrong = {key: e for key, e in off.items() if not e <= bound(usual[key], "float32", 1)}
    if wrong:
        raise AssertionError(f"these are further from float64 than float32 explains: {wrong}")
    return {"largest error": max(off.values()), "NumPy's": max(usual.values())}


def same_bits() -> str:
    """Return how many runs ended in the same bits; if one did not, that is an AssertionError."""
    times = _TIMES
    run = Float32Problem(NETWORKS["64 wide"], 2_000, 700).runner(_device())
    first = _bits(run())
    other = sum(_bits(run()) != first for _ in range(times - 1))
    if other:
        raise AssertionError(f"{other} of {times} runs end in other bits")
    return f"{times} runs"


def _bits(found: dict[str, npt.NDArray[Any]]) -> bytes:
    return b"".join(a.tobytes() for a in found.values())


# Beyond the range of tf32: the factors of the inputs and of the weights, and what one input and one weight become.
BEYOND: dict[str, tuple[float, float, float | None, float | None]] = {
    "tiny inputs": (2.0**-110, 1.0, None, None),
    "tiny inputs and large weights": (2.0**-112, 2.0**40, None, None),
    "tiny products": (2.0**-60, 2.0**-55, None, None),
    "near the largest number": (2.0**30, 2.0**56, None, None),
    "an infinite input": (1.0, 1.0, np.inf, None),
    "an input that is no number": (1.0, 1.0, np.nan, None),
    "an infinite weight": (1.0, 1.0, None, -np.inf),
    "the largest number": (1.0, 1.0, float(np.finfo(np.float32).max), None),
}


def beyond(name: str) -> str:
    """Return that results beyond the range of tf32 are those of float32; if not, that is an AssertionError."""
    inputs, weights, value, weight = BEYOND[name]
    problem = Float32Problem(network(activations.identity, (64, 64), SGD(momentum=0.9)), 200, 200)
    problem.x *= np.float32(inputs)
    problem.y *= np.float32(inputs * weights)
    problem.parameters = {k: a * np.float32(weights if a.ndim == 2 else 0.0) for k, a in problem.parameters.items()}
    if value is not None:
        problem.x[problem.order[3], 1] = value
    if weight is not None:
        next(iter(problem.parameters.values()))[2, 3] = weight
    wanted, found = problem.on_numpy("float32"), problem.runner(_device())()
    for key, a in wanted.items():
        _same_but_for_rounding(key, np.asarray(a, np.float64), np.asarray(found[key], np.float64))
    return "as in float32"


def _same_but_for_rounding(name: str, wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        raise AssertionError(f"{name} is infinite or NaN in other places than in float32")
    off = relative_error(found[finite], wanted[finite])
    if not off <= bound(0.0, "float32", 1):
        raise AssertionError(f"{name} is off by {off:.1e} from float32")


def _device() -> Any:
    from gdkernels_cupy.persistent.cuda import CudaLaunchDevice

    return CudaLaunchDevice(0)
