"""Optimizers: each is an elementwise rule that is applied to every weight and bias alike.

A user's own is a subclass of `Optimizer` with a `rule` and the number of its `slots`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from gdkernels.definition.checks import check_number
from gdkernels.errors import InputError, shown

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]

Slots = tuple[Any, ...]


class Optimizer(ABC):
    """The rule by which a parameter moves, given its gradient.

    Attributes
    ----------
    learning_rate
        The rate before a schedule scales it.
    slots
        How many arrays of the parameter's shape the rule carries from step to step; they start at zero.
    weight_decay
        The share of the learning rate by which weights, not biases, shrink before the rule is applied.
    numbers
        The names of the attributes that `rule` and the decay only compute with, and branch on only to ask whether they
        are 0. Compiled code takes them as inputs, so other values need no other code. A class with a `rule` of its own
        names its own attributes; if it names none, their values are compiled in.
    """

    learning_rate: float
    slots: ClassVar[int] = 0
    weight_decay: float = 0.0
    numbers: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        """Return the new parameter and the new slots.

        Parameters
        ----------
        w, g
            The parameter and its gradient, of one shape.
        slots
            The arrays carried from the step before.
        learning_rate, t
            The rate of this step and its number, from 1: float64 numbers, not arrays.
        """


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: v ← μv − ηg, w ← w + v; with `nesterov`, w ← w + μv − ηg (Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate
        η, above 0.
    momentum
        μ, from 0 to below 1: the share of the last step that the next one keeps.
    nesterov
        Whether a step looks ahead by its momentum; it needs one.

    Raises
    ------
    InputError
        For a value that is not possible.
    """

    learning_rate: float = 1e-2
    momentum: float = 0.0
    nesterov: bool = False
    numbers: ClassVar[tuple[str, ...]] = ("learning_rate", "momentum")

    def __post_init__(self) -> None:
        _check_rate(self)
        _check_share(self, "momentum")
        if not isinstance(self.nesterov, bool):
            raise InputError(f"SGD: nesterov must be True or False, got {shown(self.nesterov)}")
        if self.nesterov and not self.momentum:
            raise InputError("SGD: nesterov needs momentum, such as SGD(1e-2, momentum=0.9, nesterov=True)")

    @property
    def slots(self) -> int:  # type: ignore[override]
        return 1 if self.momentum else 0

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        step = learning_rate * g
        if not slots:
            return w - step, ()
        v = self.momentum * slots[0] - step
        return w + (self.momentum * v - step if self.nesterov else v), (v,)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squares: s ← ρs + (1 − ρ)g², w ← w − ηg / (√s + ε).

    By Tieleman & Hinton (2012).

    Parameters
    ----------
    learning_rate
        η, above 0.
    rho
        ρ, from 0 to below 1: the share of the mean that is kept.
    epsilon
        ε, above 0.

    Raises
    ------
    InputError
        For a value that is not possible.
    """

    learning_rate: float = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8
    slots: ClassVar[int] = 1
    numbers: ClassVar[tuple[str, ...]] = ("learning_rate", "rho", "epsilon")

    def __post_init__(self) -> None:
        _check_rate(self)
        _check_share(self, "rho")
        _check_positive(self, "epsilon")

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        s = self.rho * slots[0] + (1.0 - self.rho) * (g * g)
        return w - learning_rate * g / (xp.sqrt(s) + self.epsilon), (s,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, with both moments corrected for their start at zero (Kingma & Ba 2015, arXiv:1412.6980).

    In step t, m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², w ← w − η m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε).

    Parameters
    ----------
    learning_rate
        η, above 0.
    beta1, beta2
        β₁ and β₂, from 0 to below 1: the shares that are kept of the means of g and of g².
    epsilon
        ε, above 0.

    Raises
    ------
    InputError
        For a value that is not possible.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots: ClassVar[int] = 2
    numbers: ClassVar[tuple[str, ...]] = ("learning_rate", "beta1", "beta2", "epsilon")

    def __post_init__(self) -> None:
        _check_rate(self)
        _check_share(self, "beta1")
        _check_share(self, "beta2")
        _check_positive(self, "epsilon")

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        m = self.beta1 * slots[0] + (1.0 - self.beta1) * g
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * (g * g)
        rate = learning_rate / (1.0 - self.beta1**t)
        return w - rate * m / (xp.sqrt(v / (1.0 - self.beta2**t)) + self.epsilon), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decay of the weights apart from the gradient (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As for `Adam`.
    weight_decay
        The share of the learning rate by which weights, not biases, shrink before each step; at least 0.

    Raises
    ------
    InputError
        For a value that is not possible.
    """

    weight_decay: float = 1e-2
    numbers: ClassVar[tuple[str, ...]] = (*Adam.numbers, "weight_decay")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight_decay", lambda v: v >= 0, "a finite number of at least 0")


def _check_rate(optimizer: Optimizer) -> None:
    _check_positive(optimizer, "learning_rate")


def _check_positive(optimizer: Optimizer, field: str) -> None:
    check_number(optimizer, field, lambda v: v > 0, "a finite number above 0")


def _check_share(optimizer: Optimizer, field: str) -> None:
    check_number(optimizer, field, lambda v: 0 <= v < 1, "a number of at least 0 and below 1")


BY_NAME: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}
