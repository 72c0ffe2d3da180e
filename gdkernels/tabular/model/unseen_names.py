"""A warning where a column of names holds only such as training had not: predictions go by the other columns alone."""

from __future__ import annotations

import numpy as np

from gdkernels.tables import Preparation, Table
from gdkernels.tables.column.meaning import read_as
from gdkernels.tables.features.columns import Category
from gdkernels.tables.table.checked import as_labels
from gdkernels.tabular.model.drift import ColumnProfile

__all__ = ["UnseenNames"]

_BY_CHANCE = 0.05  # the largest probability of so many unknown names in rows like those of training


class UnseenNames:
    """The columns none of whose names is known, of records that come part by part.

    Parameters
    ----------
    told
        Columns of which the user has heard already.
    """

    def __init__(self, preparation: Preparation, told: set[str]) -> None:
        kinds = [kind for kind in preparation.columns if isinstance(kind, Category) and kind.name not in told]
        self._counts = dict.fromkeys(kinds, 0)

    def add(self, table: Table) -> None:
        """Look at records; a column that has a name that is known is not looked at any more."""
        for kind in tuple(self._counts):
            text = as_labels(read_as(table.columns[kind.name], kind.reading))
            used = np.unique(text.codes[text.codes >= 0]).tolist() if len(text) > 1 else text.codes.tolist()
            if any(text.levels[code] in kind.rows for code in used if code >= 0):
                del self._counts[kind]
            else:
                self._counts[kind] += int(np.count_nonzero(text.codes >= 0))

    @property
    def are_left(self) -> bool:
        """Whether there are such columns."""
        return any(self._counts.values())

    def found(self, profiles: list[ColumnProfile]) -> dict[str, str]:
        """Return by column what to say, where training had so few names of that kind that this is no chance."""
        trained = {profile.name: profile.unseen for profile in profiles}
        return {
            kind.name: f"column {kind.name!r}: none of the {count:,} names in it was in training, or often enough to "
            "be learned, so that predictions go by the other columns; `drift` shows what else differs"
            for kind, count in self._counts.items()
            if count and trained.get(kind.name, 0.0) ** count < _BY_CHANCE
        }
