"""Raw tables: reading records, finding the task, preparing columns, setting rows aside.

What belongs here ends with arrays that a network can take, and begins again with its outputs.
Training on a table, and every choice that goes with it, belongs to `gdkernels.tabular`.
"""

from gdkernels.tables.column.column_data import Text
from gdkernels.tables.formats.builtin import BUILT_IN
from gdkernels.tables.preparation.preparation import Preparation
from gdkernels.tables.preparation.task import task_of
from gdkernels.tables.read import parts, read
from gdkernels.tables.rows.at_random import folds, split
from gdkernels.tables.table.table import Table

__all__ = ["BUILT_IN", "Preparation", "Table", "Text", "folds", "parts", "read", "split", "task_of"]
