"""Systems of linear equations by NumPy's own LAPACK, in place.

`numpy.linalg.cholesky` copies a matrix to the other layout and back, and there is no solver for triangles: of 500
unknowns, that takes as long as the factorisation. The library beneath has functions for both, which NumPy hides.
Where they are not found under the names that NumPy's wheels give them, NumPy's own functions compute instead.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["solve_positive"]

Array = npt.NDArray[Any]

_MOST = 1e37  # of a system and its right side in float32
_AT_ONCE = 48  # unknowns that are found together where NumPy has to do it


def solve_positive(
    matrix: Any, share: float, diagonal: Array, right: Array, work: Array, dtype: str = "float64"
) -> Array | None:
    """Return x with A x = `right` in float64, or None where A is not positive definite.

    Parameters
    ----------
    matrix, share, diagonal
        A is a symmetric matrix, of which the lower triangle is read, times a number, but for its diagonal.
    work
        Memory in float64 for a matrix with a row and a column more, which is overwritten.
    dtype
        The precision in which A is factorised. With float32, x solves a system near A: within what float32 makes of A's
        largest entries.
    """
    if dtype == "float32":
        if not (
            diagonal.max() <= _MOST and np.abs(right).max() <= _MOST
        ):  # what it cannot hold would be infinite, and the solution 0
            return None
        work = work.reshape(-1).view(np.float32)[: work.size].reshape(work.shape)
    lapack, system = _lapack(dtype), work[: len(right), : len(right)]
    if share == 1.0:
        system[:] = matrix
    else:
        np.multiply(matrix, share, out=system, dtype=dtype)
    np.einsum("ii->i", system)[:] = diagonal
    found = _by_numpy(right, work) if lapack is None else _by_lapack(lapack, right, work)
    return found.astype(np.float64, copy=False) if found is not None and np.isfinite(found).all() else None


@dataclass(frozen=True)
class _Lapack:
    """Two functions of a LAPACK, and the type of its integers."""

    factorise: Callable[..., Any]
    solve: Callable[..., Any]
    integer: Any


def _by_lapack(lapack: _Lapack, right: Array, work: Array) -> Array | None:
    count = len(right)
    n, pitch, info = lapack.integer(count), lapack.integer(work.shape[1]), lapack.integer(0)
    # Rows of NumPy are columns there, so that the lower triangle is the upper one.
    triangle, matrix = ctypes.byref(ctypes.c_char(b"U")), ctypes.c_void_p(work.ctypes.data)
    lapack.factorise(triangle, ctypes.byref(n), matrix, ctypes.byref(pitch), ctypes.byref(info), _ONE)
    if info.value:
        return None
    x, one = np.array(right, work.dtype), lapack.integer(1)
    lapack.solve(
        triangle, ctypes.byref(n), ctypes.byref(one), matrix, ctypes.byref(pitch), ctypes.c_void_p(x.ctypes.data),
        ctypes.byref(n), ctypes.byref(info), _ONE,
    )  # fmt: skip
    return None if info.value else x


_ONE = ctypes.c_size_t(1)  # the length of a text, which Fortran passes behind all others


def _by_numpy(right: Array, work: Array) -> Array | None:
    count = len(right)
    work[count, :count] = right
    work[count, count] = np.finfo(work.dtype).max  # anything that is large enough
    try:
        factor = np.linalg.cholesky(work[: count + 1, : count + 1])
    except np.linalg.LinAlgError:
        return None
    # The last row of the factor is what solving with its lower triangle would have found.
    return _solved_upper(factor[:count, :count], factor[count, :count])


def _solved_upper(lower: Any, right: Any) -> Array:
    """Return x with Lᵀ x = right, for a lower triangle L: from the last unknowns to the first, some at a time."""
    x = np.empty(len(right), lower.dtype)
    for stop in range(len(right), 0, -_AT_ONCE):
        start = max(0, stop - _AT_ONCE)
        left = right[start:stop] - lower[stop:, start:stop].T @ x[stop:]
        x[start:stop] = np.linalg.solve(lower[start:stop, start:stop].T, left)
    return x


@cache
def _lapack(dtype: str) -> _Lapack | None:
    """Return the LAPACK beneath NumPy, if its functions are where they are expected and compute what they should."""
    from threadpoolctl import ThreadpoolController

    letter = "s" if dtype == "float32" else "d"
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        for name, integer in (("scipy_{}_64_", ctypes.c_int64), ("scipy_{}_", ctypes.c_int32)):
            factorise, solve = (getattr(library.dynlib, name.format(letter + f), None) for f in ("potrf", "potrs"))
            of_numpy = "numpy" in os.path.basename(os.path.dirname(library.filepath))
            if of_numpy and factorise is not None and solve is not None:
                found = _Lapack(factorise, solve, integer)
                return found if _is_right(found, dtype) else None
    return None


def _is_right(lapack: _Lapack, dtype: str) -> bool:
    """Return whether it solves a system, and sees that another one is not positive definite."""
    right, work = np.array([1.0, 2.0, 4.0], dtype), np.empty((4, 4), dtype)
    system = np.array([[4.0, 2.0, 0.0], [2.0, 5.0, 4.0], [0.0, 4.0, 8.0]], dtype)
    work[:3, :3] = np.tril(system)  # nobody reads the rest
    x = _by_lapack(lapack, right, work)
    work[:3, :3] = -system
    return (
        x is not None
        and bool(np.allclose(system @ x, right, rtol=32 * np.finfo(dtype).eps))
        and _by_lapack(lapack, right, work) is None
    )
