"""The checkout that a study runs from, for the processes that it starts, and the files that it writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdkernels.system.atomic_files import write_atomically

__all__ = ["ROOT", "command", "environment", "write_json"]

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """Return the variables by which a process finds the checkout, from any folder that it starts in."""
    path = [str(ROOT), str(ROOT / "backends"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def command(study: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a study, with the names of files but not their folders."""
    return ["python", "-m", f"benchmarks.{study}", *(Path(a).name if os.sep in a else a for a in arguments)]


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a file of results, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()), overwrite=True)
