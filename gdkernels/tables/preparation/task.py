"""The task of a table: classification or regression, as its targets look."""

import numpy as np

from gdkernels.errors import InputError, keyword, shown
from gdkernels.tables.column.column_data import Text, numbers_in
from gdkernels.tables.table.column_names import column_names
from gdkernels.tables.table.table import Table, no_column

__all__ = ["TASKS", "task_of"]

TASKS = ("classification", "regression")


def task_of(table: Table, targets: tuple[str, ...]) -> str:
    """Return "classification" or "regression", as the targets look.

    Classes are text, or whole numbers of which there are few: at most 20 different ones, and at most one for each 20
    records, so that a short list of measured numbers is not taken for classes.

    Raises
    ------
    InputError
        For columns that the table does not have, or no table.
    """
    if not isinstance(table, Table):
        raise InputError(
            f"table must be a gdkernels.tables.Table, as gdkernels.tables.read returns, got {shown(table)}"
        )
    names = column_names("targets", targets)
    for name in names:
        if name not in table.columns:
            raise no_column(name, table.names, table.source, "targets")
    if not names:
        raise InputError(f"{keyword('targets')} must name a column at least")
    if len(names) > 1:
        return "regression"
    column = table.columns[names[0]]
    if isinstance(column, Text):
        return "classification"
    distinct = np.unique(numbers_in(column))
    few = len(distinct) <= min(20, 0.05 * len(column))
    return "classification" if few and bool(np.all(distinct == np.round(distinct))) else "regression"
