"""The cases of the conformance suite: programs that cover the definition, their data, and comparing their results."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Plan, State, storage_dtype, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.blocks import (
    Activated,
    Block,
    Columns,
    Dense,
    Dropout,
    Embedding,
    Gated,
    LayerNorm,
    Mean,
    Parameter,
    Periodic,
    PiecewiseLinear,
    Residual,
    Scale,
    Sequential,
)
from gdkernels.definition.blocks.dense import InitialWeights
from gdkernels.definition.chain import chain, layers_in
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = [
    "CASES",
    "Case",
    "Data",
    "Result",
    "chained",
    "compare",
    "data_of",
    "on_backend",
    "on_numpy",
    "on_numpy_once",
    "put_on",
    "state_on",
    "varied",
]


# ---- functions as a user writes them, in no table of built-in ones


def mish(z: Any, *, xp: Any) -> Any:
    """Return z·tanh(softplus(z)) (Misra 2019, arXiv:1908.08681)."""
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def log_cosh(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return Σ_j log cosh(y_j − ŷ_j), scaled per record by the number of outputs."""
    e = prediction - target
    return xp.sum(e + xp.logaddexp(-2.0 * e, 0.0) - math.log(2.0), axis=-1) / prediction.shape[1]


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², w ← w − (η/√t)·g / (√s + ε): two things that no built-in one does, in one rule."""

    learning_rate: float = 1e-2
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: Any, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Any]:
        s = slots[0] + g * g
        return w - (learning_rate / t**0.5) * g / (xp.sqrt(s) + 1e-7), (s,)


@dataclass(frozen=True)
class Bilinear(Block):
    """(a U) ∘ (a V) + a: a block whose two products come back into one."""

    def parameters(self, inputs: int) -> dict[str, Parameter]:
        weights = Parameter((inputs, inputs), InitialWeights())
        return {"U": weights, "V": weights}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return xp.matmul(a, p["U"]) * xp.tanh(xp.matmul(a, p["V"])) + a


@dataclass(frozen=True)
class Tied(Block):
    """tanh(a W) Wᵀ: one parameter in two products."""

    units: int

    def parameters(self, inputs: int) -> dict[str, Parameter]:
        return {"W": Parameter((inputs, self.units), InitialWeights())}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return xp.matmul(xp.tanh(xp.matmul(a, p["W"])), p["W"].T)


@dataclass(frozen=True)
class Noise(Block):
    """a + share·(u − ½)·a with random numbers u in training: a block that draws numbers of its own."""

    share: float

    def constants(self, inputs: int) -> dict[str, Any]:
        return {"unit": np.arange(inputs)}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return a if random is None else a + self.share * (random.uniform(p["unit"], xp=xp) - 0.5) * a


_OF_OBJECTIVE = tuple(field.name for field in fields(Objective))


# ---- the cases


@dataclass(frozen=True)
class Case:
    """A program with the sizes that it is run at.

    Attributes
    ----------
    records, batch_size
        The last batch of an epoch is smaller if the batch size does not divide the records.
    steps
        The least number of steps, in whole epochs.
    """

    program: Program
    records: int = 23
    batch_size: int = 8
    steps: int = 100
    learning_rate: float = 0.02

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the input and of every layer."""
        return self.program.widths


WIDTHS = (5, 7, 6, 3)


def chained(functions: Sequence[Any], widths: Sequence[int] = WIDTHS, *, bias: bool = True, **settings: Any) -> Program:
    """Return the program of dense layers of these widths, an activation for each, with other fields as given."""
    return Program(chain(widths[1:], functions, bias=bias), widths[0], **settings)


def varied(program: Program, **changes: Any) -> Program:
    """Return a program with other values of its fields, or of its objective's; with the loss None, without one.

    The `activations`, the `widths` and the `bias` of a chain of dense layers can be changed too.
    """
    layers = layers_in(program.block)
    if layers is not None and not changes.keys().isdisjoint(("activations", "widths", "bias")):
        functions = changes.pop("activations", [layer.activation for layer in layers])
        widths = changes.pop("widths", program.widths)
        changes |= {"block": chain(widths[1:], functions, bias=changes.pop("bias", layers[0].bias))}
        changes |= {"inputs": widths[0]}
    of_objective = {name: changes.pop(name) for name in _OF_OBJECTIVE if name in changes}
    if of_objective.get("loss", program.objective) is None:
        changes["objective"] = None
    elif of_objective:
        changes["objective"] = replace(program.objective or Objective(losses.sse), **of_objective)
    return replace(program, **changes)


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    momentum = SGD(momentum=0.9)  # its slot after one step is the gradient itself, times the rate
    for name, f in activations.BY_NAME.items():
        for loss_name, loss in losses.BY_NAME.items():
            takes_logits = losses.link_of(loss) is not activations.identity
            output = activations.identity if takes_logits else f
            program = chained((f, activations.tanh, output), objective=Objective(loss), optimizer=momentum)
            # Slow enough that training is not chaotic: in chaos, NumPy's own error would allow any result.
            rate = 0.002 if f is activations.exp else 0.005
            cases[f"{name}-{loss_name}"] = Case(program, learning_rate=rate)

    base = chained(
        (activations.tanh, activations.softplus, activations.identity),
        objective=Objective(losses.sse),
        optimizer=momentum,
    )
    for name, optimizer in {
        "sgd": SGD(),
        "momentum": momentum,
        "nesterov": SGD(momentum=0.9, nesterov=True),
        "rmsprop": RMSprop(),
        "adam": Adam(),
        "adamw": AdamW(weight_decay=0.1),
    }.items():
        cases[name] = Case(replace(base, optimizer=optimizer))
    changed: dict[str, dict[str, Any]] = {
        "l2": {"l2": 0.05},
        "l2 in the loss": {"l2": 0.2, "l2_in_loss": True},
        "clipping": {"clip_norm": 0.1},
        "clipping that seldom acts": {"clip_norm": 3.0},
        "gradient norm": {"gradient_norm": True},
        "norm of a clipped gradient": {"gradient_norm": True, "clip_norm": 0.1, "l2": 0.05},
        "no bias": {"bias": False},
        "sum": {"reduction": "sum"},
        "everything": {
            "l2": 0.01,
            "l2_in_loss": True,
            "clip_norm": 0.5,
            "gradient_norm": True,
            "bias": False,
            "reduction": "sum",
            "optimizer": AdamW(),
        },
        "user's activation": {"activations": (mish, mish, activations.identity)},
        "user's loss": {"loss": log_cosh},
        "user's optimizer": {"optimizer": Adagrad()},
        "a mixture of activations": {"activations": (activations.relu, activations.gelu, activations.softmax)},
    }
    for name, changes in changed.items():
        cases[name] = Case(varied(base, **changes))
    for name in (*losses.BY_NAME, "user's loss", "sum", "everything", "adam"):
        plain = cases.get(name) or cases[f"tanh-{name}"]
        rate = plain.learning_rate / (4 if name == "sum" else 1)  # as steep as its sum, and not chaotic
        cases[f"weighted {name}"] = replace(plain, program=replace(plain.program, weighted=True), learning_rate=rate)

    def layers(f: Any, *widths: int) -> Program:
        return varied(base, activations=(f,) * (len(widths) - 2) + (activations.identity,), widths=widths)

    relu, tanh = activations.relu, activations.tanh
    cases |= {
        "batch 1": Case(base, records=7, batch_size=1),
        "weighted batch 1": Case(replace(base, weighted=True), records=7, batch_size=1),  # some weigh nothing
        "one record": Case(base, records=1, batch_size=8, steps=20),  # soon it is learnt, and momentum is all noise
        "a batch of all": Case(base, records=8, batch_size=8),
        "a last batch of one": Case(base, records=17, batch_size=8),
        "width 1": Case(layers(tanh, 1, 1, 1, 1)),
        "no hidden layer": Case(layers(relu, 4, 3)),
        "no hidden layer, width 1": Case(layers(relu, 1, 1)),
        "five hidden layers": Case(layers(tanh, 5, 6, 7, 8, 9, 4, 2)),
        # Beyond the sizes of tiles and vectors, and no multiples of them.
        "wide": Case(layers(relu, 67, 131, 65, 3), records=300, batch_size=130, steps=6),
        "weighted wide": Case(
            replace(layers(relu, 67, 131, 65, 3), weighted=True), records=300, batch_size=130, steps=6
        ),
        "narrow in, wide out": Case(layers(relu, 1, 5, 71), records=70, batch_size=33, steps=6),
    }
    return cases | _cases_of_blocks(base)


def _cases_of_blocks(base: Program) -> dict[str, Case]:
    def of(*blocks: Block, inputs: int = 5, **changes: Any) -> Case:
        return Case(varied(replace(base, block=Sequential(*blocks), inputs=inputs), **changes), learning_rate=0.005)

    tanh, relu = activations.tanh, activations.relu
    norm, skip, skip_of_one = LayerNorm(), Residual(Dense(7, tanh)), Residual(Dense(1, tanh))
    everything: dict[str, Any] = {
        "clip_norm": 0.5,
        "gradient_norm": True,
        "l2": 0.01,
        "l2_in_loss": True,
        "optimizer": AdamW(),
    }
    return {
        "residual": of(Dense(7, relu), skip, Residual(Dense(9, tanh), Dense(7)), Dense(3)),
        "residual of the inputs": of(Residual(Dense(5, tanh)), Dense(3)),
        "layer norm": of(Dense(7), Activated(norm, relu), norm, Dense(3)),
        "layer norm of the inputs": of(LayerNorm(affine=False), Dense(6, tanh), Dense(3)),
        "pre-norm residual": of(Dense(7), Residual(norm, Dense(9, relu), Dense(7)), norm, Dense(3)),
        "pre-norm residual, everything": of(Dense(7), Residual(norm, Dense(7, relu)), norm, Dense(3), **everything),
        "gated": of(Gated(7), Gated(6, activations.silu), Dense(3)),
        "scale": of(Scale(), Dense(7, tanh), Scale(0.5), Dense(3)),
        "periodic": of(Periodic(3, 0.3), Dense(7, tanh), Dense(3)),
        "piecewise linear": of(PiecewiseLinear(((-1.0, 0.0, 0.5, 2.0),) * 4 + ((0.0, 1.0),)), Dense(7, tanh), Dense(3)),
        "embeddings": of(
            Columns([(0, Embedding(4, 3)), (-1, Embedding(9, 1)), ((1, 0), Dense(2, tanh))], rest="passthrough"),
            Dense(6, tanh),
            Dense(3),
        ),
        "embeddings, everything": of(Embedding((4, 9, 30, 2, 3), (3, 1, 17, 2, 5)), Dense(6), Dense(3), **everything),
        "columns inside": of(
            Dense(7, tanh), Columns({range(3): Dense(4, relu), (6, 3): Gated(2)}, rest="passthrough"), Dense(3)
        ),
        "mean": of(Mean(Sequential(Dense(7, tanh), Dense(3)), Dense(3))),
        "biases with one gradient": of(Dense(7, tanh), Mean(Dense(3), Dense(3)), **everything),
        "widths that are equal": of(Dense(5, tanh), Dense(5, relu), Dense(5), **everything),
        "blocks of one unit": of(Dense(1, tanh), skip_of_one, Dense(1), inputs=1, **everything),
        "user's block": of(Dense(6, tanh), Bilinear(), Dense(3)),
        "user's block, everything": of(Dense(6, tanh), Bilinear(), Dense(3), **everything),
        "tied weights": of(Dense(6, tanh), Tied(4), Dense(3)),
        "dropout": of(Dense(7, relu), Dropout(0.3), Dense(6, tanh), Dropout(0.5), Dense(3)),
        "dropout of the inputs, everything": of(Dropout(0.2), Dense(6, tanh), Dropout(0.2), Dense(3), **everything),
        "dropout in a residual": of(Dense(7), Residual(norm, Dense(7, relu), Dropout(0.5)), Dense(3), weighted=True),
        "user's noise": of(Dense(6, tanh), Noise(0.5), Dense(3)),
        "weighted pre-norm residual": of(Dense(7), Residual(norm, Dense(7, relu)), Dense(3), weighted=True),
    }


CASES = _cases()

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


def compare(found: Result, own: Result, wanted: Result, precision: str) -> None:
    assert found
    for (when, steps), a, yardstick, a64 in zip(MOMENTS.items(), found, own, wanted, strict=False):
        assert list(a) == list(a64), f"{when} there are {list(a)}, there should be {list(a64)}"
        for name in a64:
            error = verification.relative_error(a[name], a64[name])
            allowed = verification.bound(verification.relative_error(yardstick[name], a64[name]), precision, steps)
            assert error <= allowed, (
                f"in {precision}, {when}, {name} is off by {error:.1e}; at most {allowed:.1e} is allowed"
            )
