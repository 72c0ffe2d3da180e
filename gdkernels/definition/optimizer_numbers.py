"""The numbers of an optimizer that compiled steps take as inputs, and optimizers with others in their place."""

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import Any

from gdkernels.definition.optimizers import Optimizer

__all__ = ["numbers_of", "with_numbers"]


def numbers_of(optimizer: Optimizer) -> dict[str, float]:
    """Return the numbers that compiled steps of an optimizer take as inputs, by the names of its attributes.

    A number that is 0 is none of them: terms vanish with it, and slots.
    """
    if not _declares_for_its_rule(type(optimizer)):
        return {}
    found = {name: getattr(optimizer, name) for name in optimizer.numbers}
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float)) and value != 0}


@lru_cache(maxsize=256)
def _declares_for_its_rule(kind: type[Optimizer]) -> bool:
    """Return whether the numbers that a class has are declared for the rule that it has."""
    declares, rules = (next(k for k, c in enumerate(kind.__mro__) if name in vars(c)) for name in ("numbers", "rule"))
    return declares <= rules


def with_numbers(optimizer: Optimizer, numbers: Mapping[str, Any]) -> Optimizer:
    """Return an optimizer with other numbers, which may be the nodes that stand for them while it is traced."""
    changed = copy(optimizer)
    for name, value in numbers.items():
        object.__setattr__(changed, name, value)  # nodes would fail the checks of the constructor
    return changed
