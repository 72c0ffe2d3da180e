"""What the settings say of a preparation that is learned from the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gdkernels.tables import Preparation, Table
from gdkernels.tables.features.kinds import Choices
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import Goal

__all__ = ["learned_preparation"]


def learned_preparation(
    settings: TabularSettings,
    table: Table,
    goal: Goal,
    choices: Choices,
    *,
    rows: npt.NDArray[np.int64],
    offsets: Sequence[float | None] | None,
) -> Preparation:
    """Return the preparation of columns and targets, as some rows of a table teach it.

    Parameters
    ----------
    rows
        The numbers of those to learn from.
    offsets
        As `Numbers.fit` takes them.

    Raises
    ------
    InputError
        If columns are not there or cannot be used.
    """
    return Preparation.by_choices(
        table,
        goal.targets,
        choices,
        task=goal.task,
        rows=rows,
        hold=settings.outside == "hold",
        offsets=offsets,
        bounds=settings.bounds,
        standardise_targets=goal.loss != "poisson",
    )
