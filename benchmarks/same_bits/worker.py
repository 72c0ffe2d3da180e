"""The process that trains settings with a checkout: ``python -m benchmarks.same_bits.worker FOLDER CHECKOUT NAME…``."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.same_bits.settings import SETTINGS
from benchmarks.same_bits.trainings import TRAININGS

__all__ = ["main", "work"]


def work(folder: Path, checkout: Path, names: Sequence[str]) -> int:
    """Do the settings of these names, and leave what came of each in the folder."""
    import gdkernels as gd

    if not Path(str(gd.__file__)).is_relative_to(checkout):
        print(f"{gd.__file__} is not of {checkout}", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore")  # few epochs are no convergence
    for setting in SETTINGS:
        if setting.name not in names:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            try:
                found = TRAININGS[setting.how](setting)
            except (gd.BackendError, ImportError) as error:  # such as bfloat16 on a processor that lacks it
                found = {"cannot": np.array(f"{type(error).__name__}: {error}")}
            except Exception as error:
                found = {"failed": np.array(f"{type(error).__name__}: {error}")}
        found["seconds"] = np.array(time.perf_counter() - began)
        np.savez(folder / f"{SETTINGS.index(setting)}.npz", allow_pickle=False, **found)
    return 0


def main() -> int:
    """Import gdkernels from the checkout, and these settings from where this file is."""
    folder, checkout, *names = sys.argv[1:]
    assert "gdkernels" not in sys.modules
    path = [checkout, str(Path(checkout) / "backends")]
    sys.path[:0] = path
    os.environ["PYTHONPATH"] = os.pathsep.join(path)  # of the processes that gdkernels starts
    return work(Path(folder), Path(checkout), names)


if __name__ == "__main__":
    sys.exit(main())
