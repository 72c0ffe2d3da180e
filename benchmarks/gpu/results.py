"""A file of results that grows item by item: what is interrupted goes on where it stopped, and says where that was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.item_process import ItemError
from gdkernels.errors import FileError
from gdkernels.system.atomic_files import write_atomically

__all__ = ["GPUResults"]


class GPUResults:
    """Results of one machine, written whole after every item.

    Parameters
    ----------
    machine
        The machine that they are measured on; a file of another machine is not mixed with it.

    Raises
    ------
    FileError
        If the file is another kind of file, or of another machine.
    """

    def __init__(self, path: Path, machine: Mapping[str, Any]) -> None:
        self._path = path
        self._content: dict[str, Any] = {"format": 1, "machine": dict(machine), "parts": {}}
        if path.exists():
            try:
                found = json.loads(path.read_text("utf-8"))
                theirs, parts = found["machine"], found["parts"]
            except (KeyError, TypeError, ValueError) as error:
                raise FileError(f"{path} does not hold results of a GPU ({error!r}); choose another --out") from error
            if theirs != self._content["machine"]:
                differing = sorted(k for k in {*theirs, *machine} if theirs.get(k) != machine.get(k))
                raise FileError(
                    f"{path} was measured on another machine ({', '.join(differing)} differ); choose another --out"
                )
            self._content["parts"] = parts

    def done(self, part: str, item: str) -> bool:
        """Return whether an item has a result; a failure is none, and is tried again."""
        return self.tried(part, item) and "failed" not in self._content["parts"][part][item]

    def tried(self, part: str, item: str) -> bool:
        """Return whether an item has begun, however it ended."""
        return item in self._content["parts"].get(part, {})

    def run(self, part: str, item: str, work: Callable[[], Any]) -> dict[str, Any]:
        """Do an item, and keep the value that it returns or why it failed."""
        began = time.perf_counter()
        self._keep(part, item, {"failed": "the script ended before it did"})  # unless it goes on below
        result: dict[str, Any]
        try:
            result = {"value": work()}
        except ItemError as error:  # one that fails must not end the others
            result = {"failed": str(error)}
        result["seconds"] = round(time.perf_counter() - began, 3)
        self._keep(part, item, result)
        return result

    def _keep(self, part: str, item: str, result: dict[str, Any]) -> None:
        self._content["parts"].setdefault(part, {})[item] = result
        text = json.dumps(self._content, indent=1, allow_nan=False).encode()
        write_atomically(self._path, lambda file: file.write(text), overwrite=True)
