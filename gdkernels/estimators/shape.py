"""The network that an estimator's parameters ask for, and what it starts from."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.blocks import Dense, Sequential
from gdkernels.definition.blocks.columns import named
from gdkernels.definition.chain import by_name
from gdkernels.definition.naming import resolve
from gdkernels.errors import shown
from gdkernels.estimators.rules import initial_parameters
from gdkernels.network import Structure
from gdkernels.system.given import items_of

__all__ = [
    "asks_for_blocks",
    "check_hidden",
    "hidden_activations",
    "initial_chain",
    "plain_sizes",
    "structure_of",
]

# What says what the hidden layers are, and stays so beside a `network`.
_INSTEAD = {"hidden_layer_sizes": (100,), "activation": "relu", "residual": False, "norm": None, "dropout": 0.0}


def asks_for_blocks(estimator: Any) -> bool:
    """Return whether the network is made of blocks, which have initial values of their own."""
    around = estimator.residual, estimator.norm is not None, estimator.dropout
    return estimator.network is not None or any(around)


def check_hidden(estimator: Any) -> None:
    """Refuse sizes that cannot be, and two descriptions of the hidden layers.

    Raises
    ------
    ValueError
        It names the parameter.
    """
    if estimator.network is None:
        _hidden_sizes(estimator)
        return
    for name, default in _INSTEAD.items():
        given = getattr(estimator, name)
        same = tuple(given) == default if isinstance(given, list) else given is default or given == default
        if not same:
            raise ValueError(
                f"network says what comes before the output layer, and so does {name}={given!r}: leave {name} at "
                f"{default!r}, or network at None"
            )


def hidden_activations(estimator: Any) -> tuple[Activation, ...]:
    """Return the activation of each hidden layer of `hidden_layer_sizes`."""
    hidden = len(_hidden_sizes(estimator))
    given = estimator.activation
    listed = given if isinstance(given, (list, tuple)) else [given] * hidden
    if len(listed) != hidden:
        raise ValueError(f"{len(listed)} activations given for {hidden} hidden layers")
    return tuple(map(_resolved, listed))


def structure_of(estimator: Any, inputs: int, outputs: int, output: Activation) -> Structure:
    """Return the structure that the parameters ask for, between so many inputs and outputs.

    Raises
    ------
    InputError
        For blocks that do not fit each other or the inputs.
    """
    block = estimator.network
    if block is None:
        sizes = (inputs, *_hidden_sizes(estimator), outputs)
        around = {name: getattr(estimator, name) for name in ("residual", "norm", "dropout")}
        return Structure.of_sizes(sizes, hidden_activations(estimator), output, True, **around)
    names = vars(estimator).get("feature_names_in_")
    block = block if names is None else named(block, list(names))
    # The blocks of a chain and the output layer are named as if they had been written in one.
    hidden = block.blocks if type(block) is Sequential else (block,)
    last = hidden[-1] if hidden else None
    if type(last) is Dense and last.activation is identity and last.units == outputs:
        raise ValueError(
            f"network is everything before the output layer, which the estimator adds; it ends with a linear layer of "
            f"{outputs} unit{'s' * (outputs != 1)}, as many as there are outputs: leave that out"
        )
    return Structure.checked(Sequential(*hidden, Dense(outputs)), inputs, output)


def plain_sizes(estimator: Any, inputs: int, outputs: int) -> tuple[int, ...] | None:
    """Return the sizes of the layers if these are all that the parameters ask for."""
    return None if asks_for_blocks(estimator) else (inputs, *_hidden_sizes(estimator), outputs)


def initial_chain(
    estimator: Any, sizes: tuple[int, ...], random: np.random.RandomState, dtype: npt.DTypeLike
) -> dict[str, Any]:
    """Return the initial parameters of scikit-learn's own networks."""
    hidden = hidden_activations(estimator)
    alone = identity if isinstance(estimator.activation, (list, tuple)) else _resolved(estimator.activation)
    functions = (*hidden, hidden[-1] if hidden else alone)
    return by_name(initial_parameters(sizes, functions, random, dtype))


def _hidden_sizes(estimator: Any) -> list[int]:
    sizes = estimator.hidden_layer_sizes
    found = (sizes,) if isinstance(sizes, Integral) else items_of(sizes)
    if found is None or not all(isinstance(n, Integral) for n in found):
        raise ValueError(f"hidden_layer_sizes must be whole numbers > 0, got {shown(sizes)}.")
    if any(n <= 0 for n in found):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {list(found)}.")
    return [int(n) for n in found]


def _resolved(activation: Any) -> Activation:
    logistic = isinstance(activation, str) and activation == "logistic"
    f: Activation = resolve("activation", "sigmoid" if logistic else activation)
    return f
