"""The data of a case, its runs on a backend and on NumPy, and comparing what came of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, State, storage_dtype, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.testing.cases.programs import Case

__all__ = [
    "Data",
    "Result",
    "all_runs",
    "arrays_of",
    "compare",
    "data_of",
    "numpy_state",
    "on_backend",
    "on_numpy",
    "on_numpy_once",
    "put_on",
    "state_on",
]

# The NumPy arrays to compare, and the moments of comparing, each with the number of steps that the bound is for.
Result = list[dict[str, npt.NDArray[Any]]]
MOMENTS = {"after one step": 1, "after one epoch": 100, "at the end": 100}


@dataclass(frozen=True)
class Data:
    """Inputs of a case, in float32 so that every precision starts from the same bits."""

    parameters: dict[str, npt.NDArray[Any]]
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    sample_weight: npt.NDArray[np.float32] | None
    # (order, learning rates) of each run: the first step alone, the rest of the first epoch, then whole epochs
    runs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = field(default_factory=list)

    @property
    def first_epoch(self) -> int:
        """The number of runs in the first epoch."""
        return 1 if len(self.runs[0][0]) == len(self.x) else 2


@cache
def data_of(case: Case) -> Data:
    random = np.random.default_rng(sum(case.widths) + case.records)

    def draw(*shape: int) -> npt.NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32)

    parameters = {
        name: draw(*told.shape) / np.float32(told.shape[0] ** 0.5 if len(told.shape) == 2 else 4)
        if told.trains
        else told.drawn(random).astype(np.float32)
        for name, told in case.program.parameters.items()
    }
    x, y = draw(case.records, case.program.inputs), draw(case.records, case.program.outputs)
    for k, categories in case.program.codes.items():
        x[:, k] = random.integers(0, categories, case.records)
    assert case.program.objective is not None
    loss = case.program.objective.loss
    if loss is losses.poisson:
        y = np.floor(np.exp(y))  # counts, zeros among them
    elif loss is losses.cross_entropy:
        y = (y == y.max(axis=1, keepdims=True)).astype(np.float32)
    elif loss is losses.binary_cross_entropy:
        y = (y > 0).astype(np.float32)
    weights = None
    if case.program.weighted:  # zeros among them
        weights = np.floor(random.uniform(0.0, 4.0, case.records)).astype(np.float32) / np.float32(2)
    data = Data(parameters, x, y, weights)
    for array in (*parameters.values(), x, y, *(() if weights is None else (weights,))):
        array.flags.writeable = False  # all who take the case share them
    done = 0
    while done < case.steps:
        order = random.permutation(case.records)
        pieces = [order] if done else [order[: case.batch_size], order[case.batch_size :]]
        for piece in pieces:
            if len(piece):
                steps = -(-len(piece) // case.batch_size)
                # Each step has another rate, so that a backend has to use them one by one.
                data.runs.append((piece, case.learning_rate * random.uniform(0.5, 1.0, steps)))
                done += steps
    return data


def all_runs(
    data: Data, state: State, run: Callable[..., Any], to_numpy: Callable[[Any], Any], *, epochs: int | None = None
) -> Result:
    """Do the runs of all epochs, or of the first, and return what is compared at each of `MOMENTS`."""
    results: Result = []
    total = 0.0
    moments = (1, data.first_epoch, len(data.runs))
    count = len(data.runs) if epochs is None else data.first_epoch + epochs - 1
    for k, (order, rates) in enumerate(data.runs[:count], start=1):
        loss, norm = run(state, order, rates)
        total += loss
        norms = {} if norm is None else {"the norm": np.asarray(norm)}
        results += [norms | arrays_of(total, state, to_numpy)] * moments.count(k)
    return results


def arrays_of(loss: float, state: State, to_numpy: Callable[[Any], Any]) -> dict[str, npt.NDArray[Any]]:
    # Copies: a compiled step goes on writing into the state's own arrays.
    arrays = {name: np.array(a) for name, a in verification.named_arrays(state, to_numpy)}
    return {"the loss": np.asarray(loss)} | arrays


def numpy_state(case: Case, precision: str) -> State:
    dtype = storage_dtype(precision)
    return verification.start(case.program, data_of(case).parameters, lambda a: np.array(a, dtype=dtype))


def on_numpy(case: Case, precision: str, epochs: int | None = None) -> Result:
    data = data_of(case)
    state = numpy_state(case, precision)

    def run(state: State, order: Any, rates: Any) -> Any:
        return verification.continue_on_numpy(
            case.program,
            state,
            data.x,
            data.y,
            order,
            case.batch_size,
            rates,
            precision=precision,
            sample_weight=data.sample_weight,
        )

    return all_runs(data, state, run, np.asarray, epochs=epochs)


# Shared by all the backends of a test session.
on_numpy_once = cache(on_numpy)


def put_on(backend: Backend, device: str, precision: str) -> Callable[[Any], Any]:
    def put(a: Any) -> Any:
        array = backend.asarray(np.array(a), dtype=storage_dtype(precision), device=device)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # so that writing to inputs fails where it happens
        return array

    return put


def state_on(backend: Backend, device: str, precision: str, program: Program, data: Data) -> State:
    def put(a: Any) -> Any:
        return backend.asarray(np.array(a), dtype=storage_dtype(precision), device=device)

    return verification.start(program, data.parameters, put)


def on_backend(backend: Backend, device: str, precision: str, case: Case, epochs: int | None = None) -> Result:
    data = data_of(case)
    put = put_on(backend, device, precision)
    x, y = put(data.x), put(data.y)
    # A third party's backend need not know the argument: it is passed only if the program asks for it.
    weights = () if data.sample_weight is None else (put(data.sample_weight),)
    executable = bind(backend, case.program, Plan(backend.name, device, precision))

    def run(state: State, order: Any, rates: Any) -> Any:
        return executable.run(state, x, y, order, case.batch_size, rates, *weights)

    state = state_on(backend, device, precision, case.program, data)
    return all_runs(data, state, run, backend.to_numpy, epochs=epochs)


def compare(found: Result, own: Sequence[Result], wanted: Result, precision: str) -> None:
    """Compare with float64; `own` are the definition's results in the precision, by each of its roundings."""
    assert found
    for (when, steps), a, yardsticks, a64 in zip(MOMENTS.items(), found, zip(*own, strict=True), wanted, strict=False):
        assert list(a) == list(a64), f"{when} there are {list(a)}, there should be {list(a64)}"
        for name in a64:
            error = verification.relative_error(a[name], a64[name])
            usual = max(verification.relative_error(yardstick[name], a64[name]) for yardstick in yardsticks)
            allowed = verification.bound(usual, precision, steps)
            assert error <= allowed, (
                f"in {precision}, {when}, {name} is off by {error:.1e}; at most {allowed:.1e} is allowed"
            )
