"""The structure of a network: its computation, without its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend.program import Program
from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.blocks import Activated, Block, Dense, Dropout
from gdkernels.definition.blocks.block import Parameter, initial_values, parameters_of
from gdkernels.definition.blocks.checks import check_block
from gdkernels.definition.blocks.describing import block_in_words, describe_block, functions_in
from gdkernels.definition.chain import NO_BATCH_NORM, NORMS, layers_in, stack
from gdkernels.definition.naming import describe, resolve
from gdkernels.definition.network import Arrays
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.errors import InputError, shown
from gdkernels.graph import remembered
from gdkernels.system.cached_property import cached_property, fields_of
from gdkernels.system.given import checked_switch, one_of
from gdkernels.system.ranges import SHARE

__all__ = ["Structure"]

_SURELY_FIT = 1 << 20  # numbers: 16 MB while they are drawn


@dataclass(frozen=True)
class Structure:
    """A block for a number of inputs, and the activation of its outputs.

    Attributes
    ----------
    block
        The network but for the activation of its outputs.
    inputs
        The number of columns of the inputs.
    output
        The activation of the outputs.
    """

    block: Block
    inputs: int
    output: Activation = identity

    def __getstate__(self) -> dict[str, Any]:
        return fields_of(self)

    @classmethod
    def checked(cls, block: Any, inputs: Any, output: str | Activation) -> Structure:
        """Return the structure of a block, names resolved.

        Raises
        ------
        InputError
            For what is no block, for blocks that do not fit each other, and for numbers or names that are not possible.
        """
        check_block("a network", block)
        if isinstance(inputs, bool) or not isinstance(inputs, (int, np.integer)) or inputs < 1:
            raise InputError(f"inputs must be a whole number of at least 1, got {shown(inputs)}")
        structure = cls(block, int(inputs), _of_outputs(output))
        structure.check()
        return structure

    @classmethod
    def of_sizes(
        cls,
        sizes: Sequence[int],
        activation: str | Activation | Sequence[str | Activation],
        output: str | Activation,
        bias: bool,
        *,
        residual: bool = False,
        norm: str | None = None,
        dropout: float = 0.0,
    ) -> Structure:
        """Return the structure of dense layers one after the other, names resolved.

        Parameters
        ----------
        residual, norm, dropout
            As for `gdkernels.MLP`.

        Raises
        ------
        InputError
            For sizes or names that are not possible.
        """
        inputs, *units = _checked_sizes(sizes)
        functions = (*_hidden_activations(activation, len(units) - 1), identity)
        if norm is not None:
            one_of("norm", norm, NORMS, hint=NO_BATCH_NORM)
        bias, residual = checked_switch("bias", bias), checked_switch("residual", residual)
        if residual and not any(m == n for m, n in pairwise(units[:-1])):
            raise InputError(
                "a residual leads past a hidden layer that is as wide as the one before it, such as the second in "
                f"{[inputs, 64, 64, units[-1]]}; there is none in {[inputs, *units]}"
            )
        chosen = _of_outputs(output)
        if not SHARE.has(dropout):
            raise InputError(f"dropout must be {SHARE.wanted}, got {shown(dropout)}")
        return _of_layers((inputs, *units), functions, chosen, bias, residual, norm is not None, Dropout(dropout).rate)

    def check(self) -> None:
        """Raise `InputError` if the block's parameters cannot be, or its blocks do not fit each other."""
        parameters_of(self.block, self.inputs)
        if not isinstance(self.outputs, (int, np.integer)) or self.outputs < 1:
            raise InputError(
                f"{type(self.block).__name__}: outputs must be a whole number of at least 1, got {shown(self.outputs)}"
            )

    # ---- what it is

    @cached_property
    def outputs(self) -> int:
        """The number of columns of the outputs."""
        return self.block.outputs(self.inputs)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The declarations of the block's parameters and constants, by name."""
        return parameters_of(self.block, self.inputs)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes."""
        return self.program().trained

    @cached_property
    def layers(self) -> tuple[Dense, ...] | None:
        """The layers, the last with the activation of the outputs; None where it is no chain of dense layers."""
        return layers_in(self.whole)

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """The activations of a chain's hidden layers; of another network, those of its blocks."""
        if self.layers is not None:
            return tuple(layer.activation for layer in self.layers[:-1])
        return tuple(f for f in functions_in(self.block) if f is not identity)

    @cached_property
    def codes(self) -> Mapping[int, int]:
        """For the inputs that are codes of categories, by their number, how many categories there are."""
        return self.program().codes

    @property
    def whole(self) -> Block:
        """The block with the activation of the outputs."""
        return self.block if self.output is identity else Activated(self.block, self.output)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of a record in each matrix on the way: of a chain, the inputs and each layer's units."""
        return (self.inputs, *self.block.widths(self.inputs))

    @property
    def widest(self) -> int:
        """The most numbers that a layer holds for a record, inputs included."""
        return max(self.sizes)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds in the products of a record's forward pass."""
        return self.program().multiply_adds

    def with_link(self, objective: Objective) -> Structure:
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
        return _with_output(self, link)

    # ---- what is run

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
        if objective is None and optimizer is None and not gradient_norm and not weighted:
            return self._prediction
        raw = objective is not None and objective.link is not identity
        trains = optimizer is not None
        block = self.block if raw else self.whole
        return Program(block, self.inputs, objective if trains else None, optimizer, gradient_norm, weighted)

    @cached_property
    def _prediction(self) -> Program:
        """The program of a prediction: what it finds out about itself is found out once."""
        return Program(self.whole, self.inputs)

    # ---- parameters

    def check_memory(self) -> None:
        """Raise `InputError` if the initial parameters do not fit into memory."""
        if sum(math.prod(p.shape) for p in self.parameters.values()) > _SURELY_FIT:
            from gdkernels.dispatch.footprint import check_initial  # what few networks need

            check_initial(self.program())

    def initial_parameters(self, seed: int, restart: int = 0) -> dict[str, Any]:
        """Return the initial parameters of a `restart`, as NumPy arrays."""
        generator = randomness.generator(seed, "weights", restart)
        return initial_values(self.parameters, generator)

    def constants(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the constants of the blocks, by name: all that training leaves alone."""
        anything = randomness.generator(0, "weights", 0)  # which they do not use
        return {name: told.drawn(anything) for name, told in self.parameters.items() if not told.trains}

    def checked_parameters(
        self, parameters: Mapping[str, Any] | Sequence[Sequence[Any]], like: Arrays
    ) -> Iterator[tuple[str, str, Any]]:
        """Yield the name of each parameter, what messages call it, and its array, after checking the shapes.

        Parameters
        ----------
        parameters
            By name; or of a chain layer by layer.

        Raises
        ------
        InputError
            For the wrong number of layers, wrong names, or wrong shapes.
        """
        if isinstance(parameters, Mapping):
            yield from self._checked_by_name(parameters, like)
            return
        if self.layers is None:
            raise InputError("this network is no chain of layers: set its parameters as a dictionary by name")
        if not isinstance(parameters, Sequence) or not all(isinstance(layer, Sequence) for layer in parameters):
            raise InputError(
                f"parameters must be a dictionary by name, or for each layer its arrays (W, b), got {shown(parameters)}"
            )
        if len(parameters) != len(self.layers):
            raise InputError(f"parameters for {len(parameters)} layers given; the network has {len(self.layers)}")
        for k, given in enumerate(parameters):
            arrays = [a for a in given if a is not None]
            names = [name for name in (f"W{k}", f"b{k}") if name in like]
            shapes, found = [tuple(like[n].shape) for n in names], [tuple(np.shape(a)) for a in arrays]
            if found != shapes:
                raise InputError(f"parameters of layer {k} have the shapes {found}; expected {shapes}")
            yield from ((name, f"layer {k}", a) for name, a in zip(names, arrays, strict=True))

    def _checked_by_name(self, given: Mapping[str, Any], like: Arrays) -> Iterator[tuple[str, str, Any]]:
        if given.keys() != like.keys():
            missing, unknown = sorted(like.keys() - given.keys()), sorted(given.keys() - like.keys())
            told = [f"{', '.join(missing)} missing"] * bool(missing) + [f"{', '.join(unknown)} unknown"] * bool(unknown)
            raise InputError(f"the parameters are not those of the network: {'; '.join(told)}")
        for name, a in like.items():
            if tuple(np.shape(given[name])) != tuple(a.shape):
                raise InputError(f"{name} has the shape {tuple(np.shape(given[name]))}; expected {tuple(a.shape)}")
            yield name, name, given[name]

    # ---- in words

    def as_dict(self) -> dict[str, Any]:
        """Return the description for files, which must agree between a checkpoint and a fit that resumes from it."""
        chain = layers_in(self.block)
        if chain is None or chain[-1].activation is not identity:
            return {"inputs": self.inputs, "block": describe_block(self.block), "output": describe(self.output)}
        return {
            "sizes": list(self.sizes),
            "activations": [describe(layer.activation) for layer in chain[:-1]],
            "output": describe(self.output),
            "bias": chain[0].bias,
        }

    def __str__(self) -> str:
        end = describe(self.output)["name"]
        if self.layers is None:
            return f"{self.inputs} → {block_in_words(self.block)} → {end}"
        hidden = ", ".join(dict.fromkeys(describe(f.activation)["name"] for f in self.layers[:-1])) or "no hidden layer"
        return f"{list(self.sizes)}, {hidden} → {end}"

    def rows(self) -> list[tuple[object, ...]]:
        """Return a row for each layer of a chain: its number, its widths, its activation, how many parameters it has;
        of another network a row for each parameter: its name, its shape, what it is, how many numbers.
        """
        if self.layers is None:
            return [
                (name, " × ".join(f"{n:,}" for n in p.shape), "trained" if p.trains else "constant", f"{_count(p):,}")
                for name, p in self.parameters.items()
            ]
        count = {name: _count(p) for name, p in self.parameters.items()}
        return [
            (
                k,
                f"{inputs:,} → {layer.units:,}",
                describe(layer.activation)["name"],
                f"{count[f'W{k}'] + count.get(f'b{k}', 0):,}",
            )
            for k, (inputs, layer) in enumerate(zip(self.sizes, self.layers, strict=False))
        ]


@remembered(256)  # so that many models of one shape find out once what follows from it
def _of_layers(
    sizes: tuple[int, ...],
    functions: tuple[Activation, ...],
    output: Activation,
    bias: bool,
    residual: bool,
    norm: bool,
    dropout: float,
) -> Structure:
    inputs, *units = sizes
    return Structure(stack(units, functions, bias=bias, residual=residual, norm=norm, dropout=dropout), inputs, output)


@remembered(256)
def _with_output(structure: Structure, output: Activation) -> Structure:
    return replace(structure, output=output)


def _count(parameter: Parameter) -> int:
    return math.prod(parameter.shape)


def _of_outputs(output: Any) -> Activation:
    """Return the activation of the outputs."""
    try:
        found: Activation = resolve("activation", output)
    except InputError as error:
        raise InputError(f"output: {error}") from None
    return found


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        result = tuple(sizes)
    except TypeError:
        result = ()
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in result)
    if len(result) < 2 or not whole:
        raise InputError(
            "sizes must be whole numbers of at least 1: inputs, the units of each hidden layer, outputs; got "
            f"{shown(sizes)}"
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
