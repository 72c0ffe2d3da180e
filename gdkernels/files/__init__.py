"""The formats of files that gdkernels writes: model files, folders of checkpoints, and arrays in NPY and NPZ.

Code here knows bytes and JSON, and refuses what is damaged; nothing is ever unpickled. What a network or a fit
puts into a file is decided by the rooms that own them.
"""

from gdkernels.files.model_file import read_model, write_model
from gdkernels.system.atomic_files import check_destination, write_atomically

__all__ = ["check_destination", "read_model", "write_atomically", "write_model"]
