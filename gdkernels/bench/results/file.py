"""The file of results: one JSON object, described in benchmarks/results/README.md.

The names in the file are a format, and older than some names here: `NAMES` maps them, in both directions.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gdkernels.bench.results.model import BenchResults, BenchRow
from gdkernels.bench.results.records import decode, encode
from gdkernels.bench.results.sense import check_samples
from gdkernels.errors import FileError, InputError
from gdkernels.system.atomic_files import write_atomically

__all__ = ["FORMAT", "NAMES", "VERSION", "as_json", "read", "write"]

FORMAT = "gdkernels bench"
VERSION = 1

# The names of fields, here and in the file.
NAMES = {"participant": "contender", "external": "peer", "stage": "piece"}


def as_json(results: BenchResults) -> str:
    """Return the content of the file."""
    content = encode(results, NAMES) | {"format": FORMAT, "version": VERSION}
    for row, found in zip(content["rows"], results.rows, strict=True):
        row["summary"] = _summary(found) | {"kept": results.kept(found)} if found.repeats else None
    return json.dumps(content, indent=1, allow_nan=False)


def write(results: BenchResults, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    FileError
        If it exists already and `overwrite` is false, or cannot be written.
    """
    content = as_json(results).encode()
    write_atomically(path, lambda file: file.write(content), overwrite=overwrite)


def read(path: str | os.PathLike[str]) -> BenchResults:
    """Return the results in a file.

    Raises
    ------
    FileError
        If it cannot be read, is another kind of file or of a later version, or lacks something; the message says what.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise FileError(f"{name} is not JSON: {error}") from error
    except RecursionError:
        raise FileError(f"{name} holds no benchmark results: its JSON is nested too deeply") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{name} holds no benchmark results; `gdkernels bench --out FILE` writes them")
    version = content.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        advice = "update gdkernels to read it" if newer else "measure again"
        raise FileError(f"{name} has version {version!r} of the format, this gdkernels reads {VERSION}; {advice}")
    try:
        found = decode(BenchResults, content, "", NAMES)
        check_samples(found)
        return found
    except InputError as error:
        raise FileError(f"{name} is damaged: {error}") from error


def _summary(row: BenchRow) -> dict[str, Any]:
    """Return figures that follow from the samples, for readers of the file who do not use gdkernels."""
    low, high = row.interval
    return {
        "median_seconds": row.seconds,
        "interval_seconds": [low, high] if low > 0 else None,
        "samples_per_second": row.samples_per_second,
        "flops_per_second": row.flops_per_second,
        "joules": row.joules,
        "communication": row.communication,
        "error": row.error.error,
    }
