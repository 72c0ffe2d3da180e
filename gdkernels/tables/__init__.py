"""Tables: reading records, finding the task, preparing columns, setting rows aside."""

from gdkernels.tables.builtin import BUILT_IN
from gdkernels.tables.preparation import Preparation
from gdkernels.tables.read import read_table
from gdkernels.tables.table import Table
from gdkernels.tables.task import split, task_of

__all__ = ["BUILT_IN", "Preparation", "Table", "read_table", "split", "task_of"]
