"""Files that gdkernels writes: whole or not at all, and never unpickled."""

from gdkernels.files.model_file import read_model, write_model
from gdkernels.system.atomic_files import check_destination, write_atomically

__all__ = ["check_destination", "read_model", "write_atomically", "write_model"]
