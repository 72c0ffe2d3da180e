"""Files that gdkernels writes: whole or not at all, and never unpickled."""

from gdkernels.files.atomic import check_destination, write_atomically
from gdkernels.files.model import read_model, write_model

__all__ = ["check_destination", "read_model", "write_atomically", "write_model"]
