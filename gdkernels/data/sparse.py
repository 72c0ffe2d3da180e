"""Records with few entries that are not 0: kept as they are on the host, and made dense a piece at a time.

A piece is dense in those columns alone in which some row of it has an entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.entries import Entries
from gdkernels.errors import InputError

__all__ = ["PIECE_BYTES", "DensePiece", "SparseRows", "most_rows"]

PIECE_BYTES = 64 << 20  # the most that is dense at a time
_USUAL_BYTES = 1 << 19  # pieces of a few rows have few columns: more of them cost less than larger ones
_LEAST_ROWS = 16


class SparseRows:
    """Rows of a SciPy CSR matrix [records, inputs] of finite numbers, where an array of a backend would be."""

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        self._matrix, self.shape, self.dtype = matrix, tuple(matrix.shape), matrix.dtype
        self._entries: dict[str, Entries] = {}

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def checked(self, inputs: int, name: str) -> SparseRows:
        """Return itself if it has so many columns and at least one row.

        Raises
        ------
        InputError
            Otherwise.
        """
        if self.shape[1] != inputs or not len(self):
            raise InputError(
                f"{name} has the shape {self.shape}; the network has {inputs} inputs, so it must be [records, {inputs}]"
            )
        return self

    def add_to(self, digest: Any) -> None:
        """Add all the entries to a digest."""
        digest.update(repr(self.shape).encode())
        for array in (self._matrix.indptr, self._matrix.indices, self._matrix.data):
            digest.update(repr(array.dtype.kind).encode() + np.ascontiguousarray(array).tobytes())

    def rows(self, rows: slice) -> SparseRows:
        """Return some rows, one behind the other."""
        return SparseRows(self._matrix[rows])

    def entries(self, dtype: str) -> Entries:
        """Return the entries in this type; they are kept, and share the matrix' memory where they can.

        Raises
        ------
        InputError
            If the matrix is damaged: compiled code would read memory that is none of its own.
        """
        if dtype not in self._entries:
            starts, columns = (np.asarray(a) for a in (self._matrix.indptr, self._matrix.indices))
            whole = len(starts) == len(self) + 1 and starts[0] == 0 and bool((np.diff(starts) >= 0).all())
            count = int(starts[-1]) if whole else 0
            within = min(len(columns), len(self._matrix.data)) >= count
            if not (whole and within) or (
                count and not 0 <= columns[:count].min() <= columns[:count].max() < self.shape[1]
            ):
                raise InputError("X is a damaged sparse matrix: its indices do not fit its shape; see X.check_format()")
            self._entries[dtype] = Entries(
                np.ascontiguousarray(starts, np.int64),
                np.ascontiguousarray(columns, np.int32),
                np.ascontiguousarray(self._matrix.data, dtype),
                (len(self), int(self.shape[1])),
            )
        return self._entries[dtype]

    def pieces(self, order: npt.NDArray[np.int64], dtype: str) -> Iterator[DensePiece]:
        """Go through these rows in this order, some at a time, dense in this type."""
        size, start = np.dtype(dtype).itemsize, 0
        entries = max(1.0, float(self._matrix.nnz) / len(self))
        usual = max(
            _LEAST_ROWS, math.isqrt(int(_USUAL_BYTES / (entries * size))), _USUAL_BYTES // (self.shape[1] * size)
        )
        while start < len(order):
            rows = order[start : start + usual]
            while len(rows) > 1 and len(rows) * self._most_columns(rows) * size > PIECE_BYTES:
                rows = rows[: len(rows) // 2]
            yield self._piece(rows, dtype)
            start += len(rows)

    def _most_columns(self, rows: npt.NDArray[np.int64]) -> int:
        starts = self._matrix.indptr
        return min(int(self.shape[1]), int((starts[rows + 1] - starts[rows]).sum()))

    def _piece(self, rows: npt.NDArray[np.int64], dtype: str) -> DensePiece:
        part, inputs = self._matrix[rows], self.shape[1]
        columns, places = np.unique(part.indices, return_inverse=True)
        # Up to an eighth more of them, which stay 0, so that pieces come in few shapes.
        step = max(8, 1 << max(0, len(columns).bit_length() - 3))
        width = min(inputs, -(-max(1, len(columns)) // step) * step)
        padded = np.zeros(width, np.int64)
        padded[: len(columns)] = columns
        dense = np.zeros((len(rows), width), dtype)
        np.add.at(dense, (np.repeat(np.arange(len(rows)), np.diff(part.indptr)), places), part.data)
        return DensePiece(rows, padded, len(columns), dense)


@dataclass(frozen=True)
class DensePiece:
    """Some rows, dense in some columns.

    Attributes
    ----------
    rows
        Their numbers.
    columns, own
        The numbers of the columns, of which the first `own` have entries; the rest is 0.
    dense
        The content of the rows in these columns.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    own: int
    dense: npt.NDArray[Any]


def most_rows(inputs: int, dtype: str) -> int:
    """Return how many rows a piece can have that is dense in all the columns."""
    return max(1, PIECE_BYTES // (inputs * np.dtype(dtype).itemsize))
