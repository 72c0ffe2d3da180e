"""Processes that an mpiexec starts, for the tests of this folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gdkernels.groups import registry

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=str(BIN)) or shutil.which("mpiexec")
GDKERNELS = (sys.executable, "-m", "gdkernels")


def installed():
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return "mpi4py is not installed: pip install 'gdkernels[mpi]' mpich"
    if "mpi" not in registry.names():
        return "the group mpi is not among the entry points: install gdkernels again"
    if MPIEXEC is None:
        return "there is no mpiexec beside this Python: pip install mpich"
    return None


needs_mpi = pytest.mark.skipif(installed() is not None, reason=str(installed()))


def environment(**more):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends"), *filter(None, [os.environ.get("PYTHONPATH")])])
    allowed = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return os.environ | allowed | {"PYTHONPATH": paths} | more


def run(command, **settings):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False, **settings
    )


def on_ranks(count, *command, **settings):
    return run([MPIEXEC, "-n", str(count), *map(str, command)], **settings)
