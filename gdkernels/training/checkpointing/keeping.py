"""The arguments of a fit that say where its checkpoints are kept, how often, how many, and whether it resumes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from gdkernels.errors import InputError, shown
from gdkernels.files.checkpoint_folder import subfolder
from gdkernels.system.given import checked_path, checked_switch
from gdkernels.system.ranges import whole
from gdkernels.training.checkpointing.cadence import Cadence

__all__ = ["Keeping"]

_COUNT = whole(1)


@dataclass(frozen=True)
class Keeping:
    """Where checkpoints are kept, how often one is written, how many stay, and whether the newest is resumed from."""

    folder: str | os.PathLike[str]
    cadence: Cadence
    count: int
    resume: bool

    @classmethod
    def checked(cls, checkpoint: Any, every: Any, keep: Any, resume: Any) -> Keeping | None:
        """Return what these arguments of a fit mean; None where it keeps no checkpoints.

        Raises
        ------
        InputError
            For what they cannot be, and for resuming without a folder.
        """
        if checkpoint is not None:
            checked_path("checkpoint", checkpoint)
        if not _COUNT.has(keep):
            raise InputError(f"keep must be a number of checkpoints of at least 1, got {shown(keep)}")
        resume = checked_switch("resume", resume)
        if resume and checkpoint is None:
            raise InputError("resume=True goes on from checkpoints: say in which folder they are, checkpoint=…")
        cadence = Cadence.parse(every)
        return None if checkpoint is None else cls(checkpoint, cadence, int(keep), resume)

    def of_model(self, number: int) -> Keeping:
        """Return where one of many models keeps its only checkpoint: in a folder of its own within this one."""
        return replace(self, folder=subfolder(self.folder, f"model-{number + 1:04d}"), count=1)
