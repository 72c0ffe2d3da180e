"""Checkpoints: a fit that stops goes on from where it was, to the bit."""

from gdkernels.files.checkpoint_folder import subfolder
from gdkernels.training.checkpointing.cadence import Cadence
from gdkernels.training.checkpointing.checkpointer import Checkpoints
from gdkernels.training.checkpointing.run import Middle, Run

__all__ = ["Cadence", "Checkpoints", "Middle", "Run", "subfolder"]
