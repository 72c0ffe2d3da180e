"""The programs of the conformance suite, with the sizes that they are run at."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

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
    Periodic,
    PiecewiseLinear,
    Residual,
    Scale,
    Sequential,
)
from gdkernels.definition.chain import chain, layers_in
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW, RMSprop
from gdkernels.testing.cases.users_own import Adagrad, Bilinear, Noise, Normed, Tied, log_cosh, mish

__all__ = ["CASES", "Case", "chained", "varied"]

_OF_OBJECTIVE = tuple(field.name for field in fields(Objective))


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
_MOMENTUM = SGD(momentum=0.9)  # its slot after one step is the gradient itself, times the rate


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
    base = chained(
        (activations.tanh, activations.softplus, activations.identity),
        objective=Objective(losses.sse),
        optimizer=_MOMENTUM,
    )
    cases = _cases_of_functions() | _cases_of_settings(base)
    return cases | _weighted(cases) | _cases_of_sizes(base) | _cases_of_blocks(base)


def _cases_of_functions() -> dict[str, Case]:
    """Return a case for each activation with each loss."""
    cases: dict[str, Case] = {}
    for name, f in activations.BY_NAME.items():
        for loss_name, loss in losses.BY_NAME.items():
            takes_logits = losses.link_of(loss) is not activations.identity
            output = activations.identity if takes_logits else f
            program = chained((f, activations.tanh, output), objective=Objective(loss), optimizer=_MOMENTUM)
            # Slow enough that training is not chaotic: in chaos, NumPy's own error would allow any result.
            rate = 0.002 if f is activations.exp else 0.005
            cases[f"{name}-{loss_name}"] = Case(program, learning_rate=rate)
    return cases


def _cases_of_settings(base: Program) -> dict[str, Case]:
    """Return a case for each optimizer and each setting of the objective, and for functions of users."""
    optimizers = {
        "sgd": SGD(),
        "momentum": _MOMENTUM,
        "nesterov": SGD(momentum=0.9, nesterov=True),
        "rmsprop": RMSprop(),
        "adam": Adam(),
        "adamw": AdamW(weight_decay=0.1),
    }
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
    cases = {name: Case(replace(base, optimizer=optimizer)) for name, optimizer in optimizers.items()}
    return cases | {name: Case(varied(base, **changes)) for name, changes in changed.items()}


def _weighted(cases: dict[str, Case]) -> dict[str, Case]:
    """Return some of the cases with weights of records."""
    weighted: dict[str, Case] = {}
    for name in (*losses.BY_NAME, "user's loss", "sum", "everything", "adam"):
        plain = cases.get(name) or cases[f"tanh-{name}"]
        rate = plain.learning_rate / (4 if name == "sum" else 1)  # as steep as its sum, and not chaotic
        weighted[f"weighted {name}"] = replace(plain, program=replace(plain.program, weighted=True), learning_rate=rate)
    return weighted


def _cases_of_sizes(base: Program) -> dict[str, Case]:
    """Return a case for each kind of widths and batches."""

    def layers(f: Any, *widths: int) -> Program:
        return varied(base, activations=(f,) * (len(widths) - 2) + (activations.identity,), widths=widths)

    relu, tanh = activations.relu, activations.tanh
    return {
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
        "computed weights, everything": of(Dense(6, tanh), Normed(4), Dense(3), **everything),
        "tied weights": of(Dense(6, tanh), Tied(4), Dense(3)),
        "dropout": of(Dense(7, relu), Dropout(0.3), Dense(6, tanh), Dropout(0.5), Dense(3)),
        "dropout of the inputs, everything": of(Dropout(0.2), Dense(6, tanh), Dropout(0.2), Dense(3), **everything),
        "dropout in a residual": of(Dense(7), Residual(norm, Dense(7, relu), Dropout(0.5)), Dense(3), weighted=True),
        "user's noise": of(Dense(6, tanh), Noise(0.5), Dense(3)),
        "weighted pre-norm residual": of(Dense(7), Residual(norm, Dense(7, relu)), Dense(3), weighted=True),
    }


CASES = _cases()
