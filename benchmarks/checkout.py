"""The checkout that a study runs from, for the processes that it starts, and the files that it writes."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gdkernels.system.atomic_files import write_atomically

__all__ = ["ROOT", "command", "environment", "make_importable", "write_json"]

ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = (str(ROOT), str(ROOT / "backends"))


def environment() -> dict[str, str]:
    """Return the variables by which a process finds the checkout, from any folder that it starts in."""
    path = [*_FOLDERS, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *_plugins()]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def make_importable() -> None:
    """Let this process import what is in the checkout, before anything that is installed."""
    sys.path[:0] = [folder for folder in _FOLDERS if folder not in sys.path]


@cache
def _plugins() -> list[str]:
    """Return the folder that tells of the checkout's plug-ins where gdkernels is not installed, as on a lent machine.

    What would install it may be missing there too, and a registry to take it from.
    """
    try:
        metadata.distribution("gdkernels")
    except metadata.PackageNotFoundError:
        pass
    else:
        return []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    info = folder / f"gdkernels-{project['version']}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}", ""]
    (info / "METADATA").write_text("\n".join(lines))
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {point}" for name, point in points.items())])
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return [str(folder)]


def command(study: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a study, with the names of files but not their folders."""
    return ["python", "-m", f"benchmarks.{study}", *(Path(a).name if os.sep in a else a for a in arguments)]


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a file of results, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()), overwrite=True)
