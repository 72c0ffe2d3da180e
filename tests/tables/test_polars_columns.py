"""A column of polars in a table: whole numbers to the last figure, whatever gaps there are between them."""

import numpy as np
import polars as pl
import pytest

from gdkernels.tables.formats.polars_columns import raw_polars_column

LARGE = 2**53 + 1  # which float64 cannot hold


@pytest.mark.parametrize("dtype", ["Int8", "UInt8", "Int16", "Int64", "UInt64"])
@pytest.mark.parametrize("values", [[1, 2, 100], [1, None, 0, 7], [None, None], [None, 5]])
def test_whole_numbers_keep_their_values_and_gaps(dtype, values):
    column = raw_polars_column(pl.Series(values, dtype=getattr(pl, dtype)))
    assert np.isnan(column.values).tolist() == [v is None for v in values]
    assert column.source.tolist() == [v or 0 for v in values]
    assert column.source.dtype == (np.uint64 if dtype.startswith("U") else np.int64)
    assert column.values[~np.isnan(column.values)].tolist() == [v for v in values if v is not None]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("Int64", [LARGE, None, LARGE + 1]),
        ("Int64", [-(2**63), None, 2**63 - 1]),
        ("Int64", [LARGE - 2, None, -LARGE]),
        ("UInt64", [2**64 - 1, None, 0]),
    ],
)
def test_whole_numbers_that_float64_cannot_hold_keep_their_figures_beside_gaps(dtype, values):
    column = raw_polars_column(pl.Series(values, dtype=getattr(pl, dtype)))
    assert column.source.tolist() == [v or 0 for v in values]
    assert np.isnan(column.values).tolist() == [v is None for v in values]


@pytest.mark.parametrize("dtype", ["Float32", "Float64"])
def test_other_numbers_have_nan_for_gaps(dtype):
    column = raw_polars_column(pl.Series([1.5, None, float("nan"), -0.0], dtype=getattr(pl, dtype)))
    assert column.tobytes() == np.array([1.5, np.nan, np.nan, -0.0]).tobytes()
    assert column.flags.writeable


def test_a_column_without_any_value_is_one_of_gaps():
    assert np.isnan(raw_polars_column(pl.Series([None, None]))).all()
    decimal = raw_polars_column(pl.Series([None, "1.25"]).cast(pl.Decimal(10, 2)))
    assert decimal.tolist()[1] == 1.25
