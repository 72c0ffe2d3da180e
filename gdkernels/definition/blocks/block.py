"""The base of all blocks: a frozen value with parameters by name, and a few lines of `xp`."""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = ["Block", "Initial", "Parameter", "Values", "initial_values", "parameters_of"]

Values = Mapping[str, Any]

# A number for all of it, or a function of the shape and a generator of random numbers.
Initial = float | Callable[[tuple[int, ...], "np.random.Generator"], npt.NDArray[Any]]


class Parameter(NamedTuple):
    """A block's declaration of one of its parameters.

    Attributes
    ----------
    shape
        Two sizes for what `xp.matmul` takes, one for what is added to or multiplied with each record.
    init
        A number for all of it, or a function ``init(shape, generator)`` that returns a float64 NumPy array.
    decays
        Whether penalties and the decay of weights touch it: they do weights, and not biases.
    trains
        Whether training changes it; a block's constants stay as they are.
    """

    shape: tuple[int, ...]
    init: Initial
    decays: bool = True
    trains: bool = True

    def drawn(self, generator: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the initial values."""
        if callable(self.init):
            return np.asarray(self.init(self.shape, generator), np.float64)
        return np.full(self.shape, float(self.init))


class Block(ABC):
    """A part of a network: it takes [records, inputs] to [records, outputs].

    Derive a frozen dataclass from it, and you have a block of your own. Its gradient is derived from `__call__`. It
    runs on every backend, and is fused on those that compile.
    """

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        """Return the parameters by name, for so many inputs: for each a `Parameter`, or a tuple of its fields."""
        return {}

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        """Return arrays by name that `__call__` is given among the parameters, and that training leaves alone."""
        return {}

    def outputs(self, inputs: int) -> int:
        """Return the number of outputs."""
        return inputs

    def widths(self, inputs: int) -> tuple[int, ...]:
        """Return how many numbers a record has in each matrix on the way, the outputs last; memory is judged by it."""
        return (self.outputs(inputs),)

    @abstractmethod
    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        """Return the outputs [records, outputs].

        Parameters
        ----------
        p
            The block's parameters and constants by name.
        a
            The inputs [records, inputs].
        xp
            The array namespace; use its functions and operators alone.
        random
            In training, `random.uniform(unit, xp=xp)` draws numbers from 0 to 1 [records, units], where `unit` is a
            constant 0, 1, …; None in prediction.
        """


def parameters_of(block: Block, inputs: int) -> dict[str, Parameter]:
    """Return what a block says of its parameters, and then of its constants.

    Raises
    ------
    InputError
        For names and shapes that a parameter cannot have.
    """
    found = {name: Parameter(*told) for name, told in block.parameters(inputs).items()}
    for name, array in block.constants(inputs).items():
        values: npt.NDArray[np.float64] = np.asarray(array, np.float64)
        if name in found:
            raise InputError(f"{_name(block)}: {name} is a parameter and a constant")
        found[name] = Parameter(values.shape, partial(_same, values), decays=False, trains=False)
    for name, parameter in found.items():
        whole = all(isinstance(n, (int, np.integer)) and n >= 1 for n in parameter.shape)
        if not (whole and 1 <= len(parameter.shape) <= 2):
            raise InputError(
                f"{_name(block)}: the shape of {name} must be one or two whole numbers of at least 1, "
                f"got {parameter.shape!r}"
            )
        found[name] = parameter._replace(shape=tuple(int(n) for n in parameter.shape))
    return found


def initial_values(
    parameters: Mapping[str, Parameter], generator: np.random.Generator
) -> dict[str, npt.NDArray[np.float64]]:
    """Return initial values by name, drawn one after the other.

    The same generator, in the same state, gives the same bits.
    """
    return {name: parameter.drawn(generator) for name, parameter in parameters.items()}


def _same(values: npt.NDArray[np.float64], shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
    return values


def _name(block: Block) -> str:
    return type(block).__name__
