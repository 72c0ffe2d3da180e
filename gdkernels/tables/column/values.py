"""Columns of Python's or NumPy's own values: numbers, text, dates, booleans and None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from datetime import time as clock
from decimal import Decimal
from numbers import Rational
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, NumberColumn, Text, factorized, number_text
from gdkernels.tables.column.meaning import column_of, settled
from gdkernels.tables.column.reading import BOOLEAN, Finding

__all__ = ["boolean_values", "plain_column", "text_column", "whole_column"]

_NO_CELL = object()  # for what is neither a number nor text
_NOT_READ = (bytes, bytearray, Mapping, Sequence, set, frozenset, np.ndarray, timedelta, complex)


def plain_column(values: Sequence[Any], finding: Finding | None = None) -> Column:
    """Return a column of Python's or NumPy's own values.

    None and NaN are gaps, and so are NaT and NA; dates become text in ISO 8601. What text means is told from all of it,
    unless its `finding` is known.

    Raises
    ------
    InputError
        For values that are no cells of a table; its message goes on from the name of the column.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise InputError(_more_than_a_list(values, array))
    if array.dtype.kind in "iu":
        return whole_column(array)
    if array.dtype.kind == "f":
        return np.asarray(array, np.float64)
    if array.dtype.kind == "b":
        return boolean_values(array.tolist())
    if array.dtype.kind == "M":
        moments = np.datetime_as_string(array).tolist()
        return text_column([None if text == "NaT" else text for text in moments], finding)
    if array.dtype.kind in "cmV":
        raise InputError(f"holds {array.dtype}, neither numbers nor text")
    plain = [_plain_value(v) for v in values]
    if wrong := _no_cell(values, plain):
        raise InputError(wrong)
    present = [v for v in plain if v is not None and not (isinstance(v, float) and math.isnan(v))]
    if present and all(isinstance(v, bool) for v in present):
        return boolean_values([v if isinstance(v, bool) else None for v in plain])
    if all(isinstance(v, float) or (isinstance(v, int) and abs(v) <= 2**53 and type(v) is int) for v in present):
        return np.array([np.nan if v is None else v for v in plain], np.float64)
    texts = [None if v is None or (isinstance(v, float) and math.isnan(v)) else _as_text(v) for v in plain]
    return text_column(texts, finding)


def _more_than_a_list(values: Any, array: npt.NDArray[Any]) -> str:
    if not array.ndim or isinstance(values, np.ndarray):
        what = f"an array of shape {list(array.shape)}" if array.ndim else "a single value"
        return f"holds {what}, and must be a list of numbers or text"
    return _no_cell(values, list(map(_plain_value, values)))


def _no_cell(values: Any, plain: Sequence[Any]) -> str:
    """Return which record holds neither a number nor text; "" if none does."""
    row = next((k for k, value in enumerate(plain) if value is _NO_CELL), None)
    kind = "" if row is None else type(list(values)[row]).__name__
    return "" if row is None else f"holds a value of type {kind} in record {row + 1:,}, neither a number nor text"


def text_column(texts: Sequence[str | None], finding: Finding | None = None) -> Column:
    """Return the column that text is, which may be of numbers or dates; None is a gap."""
    return settled(Cells.of(texts)) if finding is None else column_of(Cells.of(texts), finding)


def boolean_values(values: Sequence[bool | None]) -> Text:
    """Return truth values as the text "true" and "false"; None is a gap."""
    text = factorized([None if v is None else str(v).lower() for v in values])
    return replace(text, finding=Finding(BOOLEAN))


def whole_column(values: npt.NDArray[Any], gaps: npt.NDArray[np.bool_] | None = None) -> NumberColumn:
    """Return whole numbers, which may be more than float64 can tell apart."""
    numbers = values.astype(np.float64)
    return NumberColumn(numbers if gaps is None else np.where(gaps, np.nan, numbers), values)


def _plain_value(value: Any) -> Any:
    if isinstance(value, (str, float, int)) or value is None:
        return value.item() if isinstance(value, np.generic) else value
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which needs not be there
        return None
    if isinstance(value, np.generic):
        return _plain_value(value.item()) if value.dtype.kind != "M" else str(value) if not np.isnat(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (date, clock)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Rational):
        return float(value)
    spelled: Any = type(value).__str__  # what has none of its own shows where it is in memory
    if isinstance(value, _NOT_READ) or spelled is object.__str__:
        return _NO_CELL
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)
