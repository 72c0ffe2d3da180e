"""Checkpoints: a fit that stops goes on from where it was, to the bit.

What belongs here decides when one is written, what it holds of a fit, and how that comes back. The folder and the
format of its files belong to `gdkernels.files`.
"""

from gdkernels.files.checkpoint_folder import subfolder
from gdkernels.training.checkpointing.cadence import Cadence
from gdkernels.training.checkpointing.checkpointer import Checkpointer
from gdkernels.training.checkpointing.run import Middle, Run

__all__ = ["Cadence", "Checkpointer", "Middle", "Run", "subfolder"]
