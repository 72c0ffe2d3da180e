"""Products of the Jacobian's rows, compared with the definition the first time that they are added up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.least_squares.jacobian import jacobian_of
from gdkernels.backend.least_squares.products import Products
from gdkernels.backend.program import Program

__all__ = ["CheckedProducts"]

_log = logging.getLogger("gdkernels")

Array = npt.NDArray[Any]

_ROWS = 64  # that are compared
# The largest difference, as a share of the largest product: what rounding leaves of sums of so many is far below.
_ALLOWED = {"float32": 1e-4, "float64": 1e-10}


class CheckedProducts(Products):
    """Adds up by compiled code if that does what the definition does on your rows, and by the definition if not.

    Parameters
    ----------
    compiled
        What is compiled for this program.
    name
        Its name in warnings.
    """

    def __init__(self, program: Program, compiled: Products, name: str) -> None:
        self._compiled, self._name = compiled, name
        self._jacobian = jacobian_of(program)
        self._right: dict[str, bool] = {}

    @property
    def choices(self) -> Mapping[str, Any]:
        return self._compiled.choices

    def rows(self, dtype: str) -> int:
        return self._compiled.rows(dtype)

    def add(self, arrays: Mapping[str, Array], x: Array, y: Array, r: Array, total: Array) -> None:
        dtype = total.dtype.name
        if dtype not in self._right:
            self._right[dtype] = self._is_right(arrays, x[:_ROWS], y[:_ROWS], r[:_ROWS], total)
        if self._right[dtype]:
            self._compiled.add(arrays, x, y, r, total)
        else:
            total += self._expected(arrays, x, y, r).astype(total.dtype)

    def predict(self, arrays: Mapping[str, Array], x: Array) -> Array:
        if all(self._right.values()):
            return self._compiled.predict(arrays, x)
        return np.asarray(self._jacobian.predict(arrays, x, xp=np))

    def workspace(self, dtype: str) -> int:
        return self._compiled.workspace(dtype)

    def _is_right(self, arrays: Mapping[str, Array], x: Array, y: Array, r: Array, total: Array) -> bool:
        found, expected = np.zeros_like(total), self._expected(arrays, x, y, r)
        x, y, r = map(np.ascontiguousarray, (x, y, r))
        self._compiled.add(arrays, x, y, r, found)
        predicted = self._compiled.predict(arrays, x)
        outputs = self._jacobian.predict(_wide(arrays), x.astype(np.float64), xp=np)
        pairs = ((np.tril(found), np.tril(expected)), (predicted, outputs))
        allowed = _ALLOWED[total.dtype.name]
        with np.errstate(all="ignore"):
            errors = [float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-300)) for a, b in pairs]
        if all(error <= allowed for error in errors):
            return True
        if not np.isfinite(expected).all():  # there is nothing to compare with
            return True
        _log.warning(
            "%s computes other least squares here than the definition (error %.0e in JᵀJ, %.0e in the outputs; "
            "%.0e is allowed): the definition runs instead; please report it with the output of `gdkernels doctor`",
            self._name,
            *errors,
            allowed,
        )
        return False

    def _expected(self, arrays: Mapping[str, Array], x: Array, y: Array, r: Array) -> Array:
        _, rows = self._jacobian.at(_wide(arrays), x.astype(np.float64), xp=np)
        J = rows(y.astype(np.float64)).beside(r.astype(np.float64))
        return np.asarray(J.T @ J)


def _wide(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.asarray(a, np.float64) for name, a in arrays.items()}
