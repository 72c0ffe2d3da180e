"""Rows of which only those entries are kept that are not 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Entries"]


@dataclass(frozen=True)
class Entries:
    """Rows [records, columns]: those of a CSR matrix, on the host.

    Attributes
    ----------
    starts
        Where the entries of each row begin among all, and where those of the last one end.
    columns, values
        For each entry its column, as int32, and its number.
    shape
        The numbers of rows and columns.
    """

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[Any]
    shape: tuple[int, int]

    @property
    def per_row(self) -> float:
        """How many entries a row has, on average."""
        return float(self.starts[-1] - self.starts[0]) / max(1, self.shape[0])

    def rows(self, start: int, stop: int) -> Entries:
        """Return the rows from `start` to `stop`."""
        return replace(self, starts=self.starts[start : stop + 1], shape=(stop - start, self.shape[1]))

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays, by names that begin with `name`."""
        return {f"{name}.starts": self.starts, f"{name}.columns": self.columns, f"{name}.values": self.values}
