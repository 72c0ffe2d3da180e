"""The structure of a network: its computation, without its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from gdkernels import randomness
from gdkernels.backend.program import Program
from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.initialisation import initial_parameters
from gdkernels.definition.naming import describe, resolve
from gdkernels.definition.network import Layer, Layers
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.footprint import check_initial
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError

__all__ = ["DenseChain", "named_arrays"]


@dataclass(frozen=True)
class DenseChain:
    """Dense layers, one after the other.

    Attributes
    ----------
    sizes
        The number of inputs, of the units of each hidden layer, and of outputs.
    activations
        A function for each hidden layer.
    output
        The activation of the last layer.
    bias
        Whether layers have biases.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    output: Activation = identity
    bias: bool = True

    @classmethod
    def checked(
        cls,
        sizes: Sequence[int],
        activation: str | Activation | Sequence[str | Activation],
        output: str | Activation,
        bias: bool,
    ) -> DenseChain:
        """Return the structure, names resolved.

        Raises
        ------
        InputError
            For sizes or names that are not possible.
        """
        checked = _checked_sizes(sizes)
        hidden = _hidden_activations(activation, len(checked) - 2)
        return cls(checked, hidden, resolve("activation", output), bool(bias))

    @property
    def inputs(self) -> int:
        """The number of columns of the inputs."""
        return self.sizes[0]

    @property
    def outputs(self) -> int:
        """The number of columns of the outputs."""
        return self.sizes[-1]

    @property
    def widest(self) -> int:
        """The most numbers that a layer holds for a record, inputs included."""
        return max(self.sizes)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds in the products of a record's forward pass."""
        return sum(m * n for m, n in pairwise(self.sizes))

    def with_link(self, objective: Objective) -> DenseChain:
        """Return the structure whose output is the link of the objective's loss, if that has one.

        Raises
        ------
        InputError
            If the network has another output already.
        """
        link = objective.link
        if link is identity or self.output == link:
            return self
        if self.output is not identity:
            raise InputError(
                f"the loss {describe(objective.loss)['name']!r} takes logits and sets the output to "
                f"{describe(link)['name']!r}, but the network's output is {describe(self.output)['name']!r}; "
                "leave it at 'identity'"
            )
        return replace(self, output=link)

    def program(
        self,
        objective: Objective | None = None,
        optimizer: Optimizer | None = None,
        *,
        gradient_norm: bool = False,
        weighted: bool = False,
    ) -> Program:
        """Return the program of a training step, or without an optimizer that of a prediction.

        With an objective, the output of the program is the input of the loss: logits if the loss has a link.
        """
        raw = objective is not None and objective.link is not identity
        functions = (*self.activations, identity if raw else self.output)
        trains = optimizer is not None
        return Program(functions, self.bias, objective if trains else None, optimizer, gradient_norm, weighted)

    def workload(self, program: Program, batch_size: int, records: int, epochs: int = 1) -> Workload:
        """Return the workload of running a program of this structure on so many records."""
        return Workload(program, self.sizes, batch_size, records, epochs)

    def check_memory(self) -> None:
        """Raise `InputError` if the initial parameters do not fit into memory."""
        check_initial(self.sizes, self.bias)

    def initial_parameters(self, seed: int, restart: int = 0) -> tuple[Layer, ...]:
        """Return the initial parameters of a `restart`, as NumPy arrays."""
        generator = randomness.generator(seed, "weights", restart)
        return initial_parameters(self.sizes, (*self.activations, self.output), self.bias, generator)

    def checked_parameters(self, parameters: Sequence[Sequence[Any]], like: Layers) -> Iterator[tuple[str, list[Any]]]:
        """Yield the name of each layer in messages, and its arrays, after checking their shapes against `like`.

        Raises
        ------
        InputError
            For the wrong number of layers, or wrong shapes.
        """
        if len(parameters) != len(like):
            raise InputError(f"parameters for {len(parameters)} layers given; the network has {len(like)}")
        for k, (given, now) in enumerate(zip(parameters, like, strict=True)):
            arrays = [a for a in given if a is not None]
            shapes = [tuple(a.shape) for a in now if a is not None]
            found = [tuple(np.shape(a)) for a in arrays]
            if found != shapes:
                raise InputError(f"parameters of layer {k} have the shapes {found}; expected {shapes}")
            yield f"layer {k}", arrays

    def as_dict(self) -> dict[str, Any]:
        """Return the description for files, which must agree between a checkpoint and a fit that resumes from it."""
        return {
            "sizes": list(self.sizes),
            "activations": [describe(f) for f in self.activations],
            "output": describe(self.output),
            "bias": self.bias,
        }

    def __str__(self) -> str:
        hidden = ", ".join(dict.fromkeys(describe(f)["name"] for f in self.activations)) or "no hidden layer"
        return f"{list(self.sizes)}, {hidden} → {describe(self.output)['name']}"

    def rows(self, parameters: Layers) -> list[tuple[object, ...]]:
        """Return a row for each layer: its number, its widths, its activation, and how many parameters it has."""
        return [
            (
                k,
                f"{layer.W.shape[0]:,} → {layer.W.shape[1]:,}",
                describe(f)["name"],
                f"{sum(math.prod(a.shape) for a in layer if a is not None):,}",
            )
            for k, (layer, f) in enumerate(zip(parameters, (*self.activations, self.output), strict=True))
        ]


def named_arrays(layers: Layers) -> Mapping[str, Any]:
    """Return parameters by name: ``W0``, ``b0``, ``W1``, …."""
    pairs = ((f"{kind}{k}", a) for k, layer in enumerate(layers) for kind, a in zip("Wb", layer, strict=True))
    return {name: a for name, a in pairs if a is not None}


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        result = tuple(sizes)
    except TypeError:
        result = ()
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in result)
    if len(result) < 2 or not whole:
        raise InputError(
            f"sizes must be whole numbers of at least 1: inputs, the units of each hidden layer, outputs; got {sizes!r}"
        )
    return tuple(int(n) for n in result)


def _hidden_activations(
    activation: str | Activation | Sequence[str | Activation], hidden: int
) -> tuple[Activation, ...]:
    if isinstance(activation, (list, tuple)):
        if len(activation) != hidden:
            raise InputError(f"{len(activation)} activations given for {hidden} hidden layers")
        return tuple(resolve("activation", f) for f in activation)
    return (resolve("activation", activation),) * hidden
