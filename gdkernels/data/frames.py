"""Frames of pandas, polars and pyarrow as arrays of numbers, their columns by name: booleans are 0 and 1, gaps NaN.

Which of the columns are features, and what text means, belongs to `gdkernels.tables`; here all are numbers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.system.loaded import is_of

__all__ = ["ColumnNames", "Frame", "dtype_name", "numbers_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ColumnNames:
    """The columns that a network was trained on; None where they had no names.

    Attributes
    ----------
    inputs
        In the order of the network's inputs.
    outputs
        In that of its outputs, where there are several.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None

    def learned(self, X: Any, Y: Any, inputs: int, outputs: int) -> ColumnNames:
        """Return the names with those of X and Y where none are known and the frames are as wide as the network."""
        names = self
        if self.inputs is None and (x := Frame.of(X, "X")) is not None and len(x.names) == inputs:
            names = replace(names, inputs=x.names)
        if self.outputs is None and (y := Frame.of(Y, "Y")) is not None and len(y.names) == outputs > 1:
            names = replace(names, outputs=y.names)
        return names


class Frame:
    """A frame: named columns of one length.

    Parameters
    ----------
    columns
        By name, in the frame's order.
    name
        Its name in messages.
    whole
        Returns all of it as an array, where that needs no conversion.
    """

    def __init__(self, columns: Mapping[str, Any], name: str, whole: Callable[[], Array] | None = None) -> None:
        self.names = tuple(columns)
        self._columns, self._name, self._whole = columns, name, whole

    @classmethod
    def of(cls, value: Any, name: str) -> Frame | None:
        """Return the frame that `value` is, or None where it is none.

        Raises
        ------
        InputError
            If two of its columns have one name.
        """
        whole = None
        if isinstance(value, np.ndarray):  # asked for each prediction, so that it must take no time
            return None
        if is_of(value, "pandas", "DataFrame"):
            pairs = [(column, value.iloc[:, k]) for k, column in enumerate(value.columns)]
            if len({str(dtype) for dtype in value.dtypes}) == 1 and _is_plain(value.dtypes.iloc[0]):
                whole = value.to_numpy
        elif is_of(value, "polars", "LazyFrame"):
            return cls.of(value.collect(), name)
        elif is_of(value, "dask.dataframe", "DataFrame", "Series"):
            raise InputError(f"{name} is a {type(value).__name__} of Dask, which nothing has computed: pass .compute()")
        elif is_of(value, "polars", "DataFrame"):
            pairs = [(series.name, series) for series in value.get_columns()]
        elif is_of(value, "pyarrow", "Table", "RecordBatch"):
            pairs = list(zip(value.schema.names, value.columns, strict=True))
        else:
            return None
        names = [str(column) for column, _ in pairs]
        if twice := sorted({column for column in names if names.count(column) > 1}):
            raise InputError(f"two columns of {name} are named {twice[0]!r}; give each its own name, or pass an array")
        return cls(dict(zip(names, (column for _, column in pairs), strict=True)), name, whole)

    def array(self, wanted: Sequence[str] | None, dtype: str) -> Array:
        """Return the columns `wanted`, or all, as an array [records, columns].

        Raises
        ------
        InputError
            If a column is missing, or holds no numbers; it names the column.
        """
        names = self.names if wanted is None else tuple(wanted)
        if missing := [column for column in names if column not in self._columns]:
            raise self._lacks(missing, names)
        if self._whole is not None and names == self.names:
            return self._whole()
        found = np.empty((self._records, len(names)), dtype)
        for k, column in enumerate(names):
            with np.errstate(over="ignore"):  # what becomes infinite in this precision is named later
                found[:, k] = _numbers(self._columns[column], f"column {column!r} of {self._name}")
        return found

    def sample(self, most: int) -> Array:
        """Return at most so many of the records, evenly spread, as float64 [records, columns]."""
        step = max(1, self._records // most)
        found = [_numbers(c, f"column {n!r} of {self._name}")[::step][:most] for n, c in self._columns.items()]
        return np.column_stack([np.asarray(values, np.float64) for values in found])

    @property
    def _records(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def _lacks(self, missing: list[str], names: Sequence[str]) -> InputError:
        from gdkernels.tables.table.table import listed, no_column

        if len(missing) == 1:
            return no_column(missing[0], self.names, self._name)
        return InputError(
            f"{self._name} lacks {len(missing)} of the {len(names)} columns that the network was trained on: "
            f"{listed(missing)}; it has {listed(self.names)}. Pass an array to go by the order of the columns"
        )


def numbers_of(value: Any, wanted: Sequence[str] | None, dtype: str, name: str) -> tuple[Any, tuple[str, ...] | None]:
    """Return a frame or a column of one as an array, and the names of its columns; anything else as it is, and None.

    Parameters
    ----------
    wanted
        The columns of a frame, in this order; None is all of them.

    Raises
    ------
    InputError
        As `Frame.array`.
    """
    if isinstance(value, np.ndarray):
        return value, None
    if (frame := Frame.of(value, name)) is not None:
        names = frame.names if wanted is None else tuple(wanted)
        return frame.array(names, dtype), names
    if is_of(value, "pandas", "Series") or is_of(value, "polars", "Series"):
        own = None if value.name in (None, "") else (str(value.name),)
        return (value if _is_plain(value.dtype) else _numbers(value, name)), own
    if is_of(value, "pyarrow", "ChunkedArray", "Array"):
        return _numbers(value, name), None
    return value, None


def dtype_name(value: Any) -> str | None:
    """Return the name of the type in which a frame's columns are numbers: "float64" where one is; None for no frame."""
    if is_of(value, "pandas", "DataFrame"):
        dtypes = list(value.dtypes)
    elif is_of(value, "polars", "DataFrame", "LazyFrame"):
        dtypes = value.collect_schema().dtypes()
    elif is_of(value, "pyarrow", "Table", "RecordBatch"):
        dtypes = value.schema.types
    else:
        return None
    told = [str(dtype).lower() for dtype in dtypes]
    return "float64" if any("float64" in dtype or "double" in dtype for dtype in told) else "float32"


def _is_plain(dtype: Any) -> bool:
    """Return whether a column of this type is an array of NumPy's numbers already."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _numbers(column: Any, name: str) -> Array:
    """Return a column as numbers, NaN where it has gaps."""
    refuse = partial(_refused, column, name)
    if is_of(column, "pandas", "Series"):
        return _of_pandas(column, refuse)
    if is_of(column, "polars", "Series"):
        polars = sys.modules["polars"]
        if not (column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null)):
            raise refuse()
        if column.null_count() or not (column.dtype.is_integer() or column.dtype.is_float()):
            column = column.cast(polars.Float64).fill_null(math.nan)
        return np.asarray(column.to_numpy())
    arrow = sys.modules["pyarrow"]
    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kinds = ("floating", "integer", "boolean", "decimal", "null")
    if not any(getattr(arrow.types, f"is_{kind}")(column.type) for kind in kinds):
        raise refuse()
    if column.null_count or not (arrow.types.is_integer(column.type) or arrow.types.is_floating(column.type)):
        column = column.cast(arrow.float64(), safe=False)
    is_one = isinstance(column, arrow.Array)
    return np.asarray(column.to_numpy(zero_copy_only=False) if is_one else column.to_numpy())


def _of_pandas(series: Any, refuse: Callable[[], InputError]) -> Array:
    pandas = sys.modules["pandas"]
    kinds, dtype = pandas.api.types, series.dtype
    if _is_plain(dtype):
        return np.asarray(series.to_numpy())
    kept = dtype.categories.dtype if isinstance(dtype, pandas.CategoricalDtype) else dtype
    numeric = (kinds.is_numeric_dtype(kept) or kinds.is_bool_dtype(kept)) and not kinds.is_complex_dtype(kept)
    if kinds.is_object_dtype(kept):
        from decimal import Decimal

        values = series.tolist()
        if all(
            isinstance(v, (bool, int, float, Decimal, np.bool_, np.number)) or pandas.isna(v) is True for v in values
        ):
            return np.array([math.nan if pandas.isna(v) else float(v) for v in values], np.float64)
        numeric = False
    if not numeric:
        raise refuse()
    return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))


def _refused(column: Any, name: str) -> InputError:
    dtype = column.type if is_of(column, "pyarrow", "ChunkedArray", "Array") else column.dtype
    return InputError(
        f"{name} holds {dtype} values, not real numbers; encode text and categories first, or train "
        "gdkernels.TabularPredictor, which does so"
    )
