"""A column that is left out, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdkernels.tables.column.column_data import Floats
from gdkernels.tables.table.table import Table

__all__ = ["Dropped"]


@dataclass(frozen=True)
class Dropped:
    """A column that is not used."""

    name: str
    why: str
    kind: str = "dropped"
    features: tuple[str, ...] = ()

    def encode(self, table: Table) -> Floats:
        return np.zeros((len(table), 0))
