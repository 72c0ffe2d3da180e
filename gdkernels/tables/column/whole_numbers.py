"""The sizes of a column's whole numbers, which tell whether others with a point have thousands: 999, then 1.000."""

from __future__ import annotations

import re

import numpy as np

from gdkernels.tables.column.column_data import Floats

__all__ = ["WholeNumbers"]

_GROUP = 3  # figures of a group
_POWER = re.compile(r"[0-9][eE][-+]?[0-9]")


class WholeNumbers:
    """The whole numbers of a column, noted one by one or many at once.

    Attributes
    ----------
    short, long
        Whether some from 1 to 999 are there, and some above, which whoever groups thousands would have grouped.
    """

    def __init__(self) -> None:
        self.short = self.long = False

    def note(self, text: str) -> None:
        """Note a cell."""
        figures = len("".join(filter(str.isdigit, text)).lstrip("0"))
        if figures > _GROUP or _POWER.search(text):
            self.long = True
        elif figures:
            self.short = True

    def note_all(self, values: Floats) -> None:
        """Note numbers, among which NaN is none."""
        if self.long:
            return
        sizes = np.abs(values)
        self.long = bool(np.fmax.reduce(sizes, initial=0.0) >= 10**_GROUP)
        self.short = self.short or bool(((sizes >= 1) & (sizes < 10**_GROUP)).any())

    @property
    def suggest_groups(self) -> bool:
        """Whether a number with a point and three figures behind it may have thousands, as these have none."""
        return self.short and not self.long
