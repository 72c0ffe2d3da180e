"""The keys of the random numbers that blocks draw, as an array of the run beside its data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.elementwise import as_loaded

__all__ = ["with_keys"]


def with_keys(
    arrays: dict[str, Any], order: npt.NDArray[np.int64], keys: npt.NDArray[np.int32], dtype: npt.DTypeLike
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Return the arrays and the order of a run with the keys of its records among the arrays.

    Rows are gathered by their number. Where one comes twice, it has two keys: then all are put in order before.
    """
    import cupy

    by_row, used = np.zeros(len(arrays["x"]), np.int32), order >= 0
    by_row[order[used]] = keys[used]
    if not np.array_equal(by_row[order[used]], keys[used]):
        at = cupy.asarray(np.maximum(order, 0))
        arrays = {name: cupy.take(cupy.asarray(a), at, axis=0) for name, a in arrays.items()}
        by_row, order = keys, np.arange(len(order))
    return {**arrays, "row_keys": cupy.ascontiguousarray(cupy.asarray(as_loaded(by_row, dtype)), dtype)}, order
