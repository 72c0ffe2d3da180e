"""Checkpoints: a fit that stopped continues from where it was, to the bit.

Code here decides when to write a checkpoint and what it holds of a fit, and restores a fit from it. The folder and
the format of its files belong to `gdkernels.files`.
"""

from gdkernels.files.checkpoint_folder import subfolder
from gdkernels.training.checkpointing.cadence import USUAL, Cadence
from gdkernels.training.checkpointing.checkpointer import Checkpointer
from gdkernels.training.checkpointing.keeping import Keeping
from gdkernels.training.checkpointing.run import Middle, Run
from gdkernels.training.checkpointing.signals import StopSignals

__all__ = ["USUAL", "Cadence", "Checkpointer", "Keeping", "Middle", "Run", "StopSignals", "subfolder"]
