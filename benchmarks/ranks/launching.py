"""Starting several ranks by the mpiexec that belongs to this Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["launch"]


def launch(ranks: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs another on so many ranks, more than there are cores if need be."""
    allowed = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in allowed.items()})
    return [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks), *command]
