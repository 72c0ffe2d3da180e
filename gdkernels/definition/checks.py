"""Checks of the numbers that activations, losses, optimizers and schedules are made with."""

import math
import numbers
from collections.abc import Callable
from typing import Any

from gdkernels.errors import InputError, shown

__all__ = ["check_number"]


def check_number(owner: Any, field: str, allowed: Callable[[float], bool], wanted: str, *, whole: bool = False) -> None:
    """Refuse a field of a frozen dataclass that is no finite number, or not an `allowed` one; keep a plain one.

    A NumPy number would promote float32 arrays to its own precision, so that what is kept is Python's.

    Parameters
    ----------
    wanted
        What is allowed, in the words of the error message.
    whole
        Whether it has to be a whole number; it is kept as an int then.
    """
    value = getattr(owner, field)
    number = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
    try:
        fits = number and math.isfinite(value) and allowed(value)
    except OverflowError:  # a whole number beyond all floats
        fits = False
    if not fits:
        raise InputError(f"{type(owner).__name__}: {field} must be {wanted}, got {shown(value)}")
    object.__setattr__(owner, field, int(value) if whole else float(value))
