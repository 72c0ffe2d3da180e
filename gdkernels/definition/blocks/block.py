"""The base of all blocks: a frozen value with parameters by name, and a few lines of `xp`."""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks.names import check_name
from gdkernels.errors import InputError, shown

__all__ = [
    "Block",
    "Initial",
    "Parameter",
    "Values",
    "declared_constants",
    "declared_parameters",
    "initial_values",
    "parameters_of",
]

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


def declared_parameters(block: Block, inputs: int) -> dict[str, Parameter]:
    """Return what a block declares of its parameters, by name.

    Raises
    ------
    InputError
        For what no parameter can be; the message names the class of the block.
    """
    found = {}
    for name, told in _by_name(block, block.parameters(inputs), "parameters").items():
        if not isinstance(told, tuple):
            raise InputError(f"{_name(block)}: {name} must be a blocks.Parameter(shape, init), got {shown(told)}")
        parameter = Parameter(*told)
        if not (callable(parameter.init) or isinstance(parameter.init, Real)):
            raise InputError(
                f"{_name(block)}: the init of {name} must be a number, or a function of the shape and a generator, "
                f"got {shown(parameter.init)}"
            )
        found[name] = parameter._replace(shape=_checked_shape(block, name, parameter.shape))
    return found


def declared_constants(block: Block, inputs: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the constants that a block declares, by name.

    Raises
    ------
    InputError
        For what no constant can be; the message names the class of the block.
    """
    found = {}
    for name, told in _by_name(block, block.constants(inputs), "constants").items():
        try:
            array: npt.NDArray[np.float64] = np.asarray(told, np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"{_name(block)}: the constant {name} must be an array of numbers, got {shown(told)}"
            ) from None
        _checked_shape(block, name, array.shape)
        found[name] = array
    return found


def parameters_of(block: Block, inputs: int) -> dict[str, Parameter]:
    """Return what a block says of its parameters, and then of its constants.

    Raises
    ------
    InputError
        For names, shapes and initial values that a parameter cannot have.
    """
    found = declared_parameters(block, inputs)
    for name, values in declared_constants(block, inputs).items():
        if name in found:
            raise InputError(f"{_name(block)}: {name} is a parameter and a constant")
        found[name] = Parameter(values.shape, partial(_same, values), decays=False, trains=False)
    return found


def initial_values(
    parameters: Mapping[str, Parameter], generator: np.random.Generator
) -> dict[str, npt.NDArray[np.float64]]:
    """Return initial values by name, drawn one after the other.

    The same generator, in the same state, gives the same bits.

    Raises
    ------
    InputError
        If a function returns another shape than it was asked for, or values that are not finite.
    """
    found = {}
    for name, parameter in parameters.items():
        values = parameter.drawn(generator)
        if values.shape != parameter.shape:
            raise InputError(
                f"the init of {name} returned the shape {values.shape}; it is asked for {parameter.shape}: "
                "init(shape, generator)"
            )
        if not np.isfinite(values).all():
            raise InputError(f"the initial values of {name} are not finite; see its init")
        found[name] = values
    return found


def _by_name(block: Block, told: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise InputError(f"{_name(block)}: {what}() must return a mapping by name, got {shown(told)}")
    for name in told:
        check_name(name, _name(block))
    return told


def _checked_shape(block: Block, name: str, shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    whole = all(isinstance(n, (int, np.integer)) and n >= 1 for n in sizes)
    if not (whole and 1 <= len(sizes) <= 2):
        raise InputError(
            f"{_name(block)}: the shape of {name} must be one or two whole numbers of at least 1, such as (1,) for a "
            f"single number, got {shown(shape)}"
        )
    return tuple(int(n) for n in sizes)


def _same(values: npt.NDArray[np.float64], shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
    return values


def _name(block: Block) -> str:
    return type(block).__name__
