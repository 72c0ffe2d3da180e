"""Checkpoints: a fit that stops goes on from where it was, to the bit."""

from gdkernels.checkpoints.cadence import Cadence
from gdkernels.checkpoints.checkpoints import Checkpoints
from gdkernels.checkpoints.folder import subfolder
from gdkernels.checkpoints.run import Middle, Run

__all__ = ["Cadence", "Checkpoints", "Middle", "Run", "subfolder"]
