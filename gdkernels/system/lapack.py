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

__all__ = ["PositiveSystem"]

Array = npt.NDArray[Any]

_MOST = 1e37  # of a system and its right side in float32
_AT_ONCE = 48  # unknowns that are found together where NumPy has to do it


class PositiveSystem:
    """A symmetric system of equations that is factorised in memory of its own, and solved for one right side or more.

    Parameters
    ----------
    count
        The number of unknowns.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._whole = np.empty((count + 1, count + 1))  # NumPy's way takes a row more
        # Found once: for a small system, asking for addresses takes as long as solving it.
        self._kinds: dict[str, _Kind] = {}
        self._kind: _Kind | None = None
        self._factor: Array | None = None

    def factorise(self, matrix: Any, share: float, diagonal: Array, dtype: str = "float64") -> bool:
        """Factorise A, and return whether it is positive definite.

        Parameters
        ----------
        matrix, share, diagonal
            A is a symmetric matrix, of which the lower triangle is read, times a number, but for its diagonal.
        dtype
            The precision in which A is factorised. With float32, solutions are those of a system near A: within what
            float32 makes of A's largest entries.
        """
        self._kind = self._factor = None
        if dtype == "float32" and not diagonal.max(initial=0.0) <= _MOST:
            return False  # it would be infinite there, and the solution 0
        if dtype not in self._kinds:
            self._kinds[dtype] = _Kind(self._whole, self._count, dtype, _lapack(dtype))
        kind = self._kinds[dtype]
        if share == 1.0:
            kind.system[:] = matrix
        else:
            np.multiply(matrix, share, out=kind.system, dtype=dtype)
        kind.diagonal[:] = diagonal
        if kind.lapack is not None:
            found = kind.factorised()
        else:
            try:
                self._factor = np.linalg.cholesky(kind.system)
            except np.linalg.LinAlgError:
                return False
            found = bool(np.isfinite(np.diagonal(self._factor)).all())
        self._kind = kind if found else None
        return found

    def solve(self, right: Array) -> Array | None:
        """Return x with A x = `right` in float64, for the A that was factorised last; None where x is not finite."""
        kind = self._kind
        assert kind is not None, "it was factorised"
        if kind.dtype == "float32" and not np.abs(right).max(initial=0.0) <= _MOST:
            return None
        if self._factor is None:
            found = kind.solved(right)
        else:
            found = _solved_upper(self._factor, _solved_lower(self._factor, right.astype(kind.dtype)))
        return found.astype(np.float64, copy=False) if np.isfinite(found).all() else None


@dataclass(frozen=True)
class _Lapack:
    """Two functions of a LAPACK, and the type of its integers."""

    factorise: Callable[..., Any]
    solve: Callable[..., Any]
    integer: Any


class _Kind:
    """The memory of a system in a precision, and what LAPACK is called with there."""

    def __init__(self, whole: Array, count: int, dtype: str, lapack: _Lapack | None) -> None:
        self.dtype, self.lapack = dtype, lapack
        flat = whole.reshape(-1).view(dtype)[: whole.size].reshape(whole.shape)
        self.system = flat[:count, :count]
        self.diagonal = np.einsum("ii->i", self.system)
        self._x = np.empty(count, dtype)
        if self.lapack is None:
            return
        integer = self.lapack.integer
        self._info = integer(0)
        n, one, pitch, info = (ctypes.byref(i) for i in (integer(count), integer(1), integer(count + 1), self._info))
        matrix, x = ctypes.c_void_p(flat.ctypes.data), ctypes.c_void_p(self._x.ctypes.data)
        # Rows of NumPy are columns there, so that the lower triangle is the upper one.
        self._to_factorise = _UPPER, n, matrix, pitch, info, _ONE
        self._to_solve = _UPPER, n, one, matrix, pitch, x, n, info, _ONE

    def factorised(self) -> bool:
        """Factorise by LAPACK, and return whether the system is positive definite."""
        assert self.lapack is not None
        self.lapack.factorise(*self._to_factorise)
        return not self._info.value

    def solved(self, right: Array) -> Array:
        """Solve by LAPACK with the factor that is there."""
        assert self.lapack is not None
        self._x[:] = right
        self.lapack.solve(*self._to_solve)
        return self._x.copy()


_ONE = ctypes.c_size_t(1)  # the length of a text, which Fortran passes behind all others
_UPPER = ctypes.byref(ctypes.c_char(b"U"))


def _solved_lower(lower: Any, right: Any) -> Array:
    """Return x with L x = right, for a lower triangle L: from the first unknowns to the last, some at a time."""
    x = np.empty(len(right), lower.dtype)
    for start in range(0, len(right), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(right))
        left = right[start:stop] - lower[start:stop, :start] @ x[:start]
        x[start:stop] = np.linalg.solve(lower[start:stop, start:stop], left)
    return x


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
    right, system = np.array([1.0, 2.0, 4.0], dtype), np.array([[4, 2, 0], [2, 5, 4], [0, 4, 8]], dtype)
    kind = _Kind(np.empty((4, 4)), 3, dtype, lapack)
    kind.system[:] = np.tril(system)  # nobody reads the rest
    if not kind.factorised():
        return False
    x = kind.solved(right)
    kind.system[:] = -system
    return bool(np.allclose(system @ x, right, rtol=32 * np.finfo(dtype).eps)) and not kind.factorised()
