"""JSON as the standard has it, and no larger than a computer's numbers: files can hold anything."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NoReturn

__all__ = ["loads"]

_DIGITS = 400  # of a whole number: the largest that a float can be has 309


def loads(text: str | bytes) -> Any:
    """Return the value that JSON describes.

    Raises
    ------
    ValueError
        For anything else; also for NaN, infinity, numbers beyond a float's, and lists in lists in lists without end.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_float, parse_int=_int)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value


def _int(text: str) -> int:
    if len(text) > _DIGITS or abs(value := int(text)) > sys.float_info.max:
        raise ValueError(f"{text[:20]}… is too large a number")
    return value
