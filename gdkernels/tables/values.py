"""Columns of Python's or NumPy's own values: numbers, text, dates, booleans and None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables.cells import Cells
from gdkernels.tables.column_data import Column, NumberColumn, Text, factorized, number_text
from gdkernels.tables.meaning import settled
from gdkernels.tables.reading import BOOLEAN, Finding

__all__ = ["boolean_values", "plain_column", "text_column", "whole_column"]


def plain_column(values: Sequence[Any]) -> Column:
    """Return a column of Python's or NumPy's own values.

    None and NaN are gaps, and so are NaT and NA; dates become text in ISO 8601. What text means is told from all of it.

    Raises
    ------
    InputError
        For values that are no cells of a table.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise InputError(f"a column must be a list of values, not an array of shape {list(array.shape)}")
    if array.dtype.kind in "iu":
        return whole_column(array)
    if array.dtype.kind == "f":
        return np.asarray(array, np.float64)
    if array.dtype.kind == "b":
        return boolean_values(array.tolist())
    if array.dtype.kind == "M":
        return settled(Cells.of([None if text == "NaT" else text for text in np.datetime_as_string(array).tolist()]))
    plain = [_plain_value(v) for v in values]
    present = [v for v in plain if v is not None and not (isinstance(v, float) and math.isnan(v))]
    if present and all(isinstance(v, bool) for v in present):
        return boolean_values([v if isinstance(v, bool) else None for v in plain])
    if all(isinstance(v, float) or (isinstance(v, int) and abs(v) <= 2**53 and type(v) is int) for v in present):
        return np.array([np.nan if v is None else v for v in plain], np.float64)
    return text_column([None if v is None or (isinstance(v, float) and math.isnan(v)) else _as_text(v) for v in plain])


def text_column(texts: Sequence[str | None]) -> Column:
    """Return the column that text is, which may be of numbers or dates; None is a gap."""
    return settled(Cells.of(texts))


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
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, (bytes, Mapping, Sequence, set, frozenset, np.ndarray)):
        raise InputError(f"a cell of a table holds {type(value).__name__}, neither a number nor text")
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)
