"""The conformance suite on the device, in parts that fit into a part of the study."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gdkernels.testing
from benchmarks import checkout
from benchmarks.gpu import deadline

__all__ = ["SUITE_PARTS", "marked_tests", "suite_part"]

SUITE_PARTS = 8

_SECONDS = 400


def suite_part(number: int) -> dict[str, Any]:
    """Run every eighth test, from the given one on, and return how many passed; a failure is an exception."""
    tests = [line for line in _pytest("--collect-only", "-q").splitlines() if "::" in line]
    chosen = tests[number::SUITE_PARTS]
    return {"tests": len(chosen), **_counts(_pytest("-v", "-rf", *chosen))}


def marked_tests(room: str) -> dict[str, int]:
    """Run the tests of a folder that need a GPU, and return how many passed; a failure is an exception."""
    return _counts(_pytest("-v", "-rf", "-p", "no:xdist", "-m", "gpu", str(checkout.ROOT / "tests" / room)))


def _counts(output: str) -> dict[str, int]:
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", output)}
    failed = re.findall(r"^FAILED (\S+.*)$", output, re.MULTILINE)
    if counts.get("failed") or counts.get("error") or not counts.get("passed"):
        raise AssertionError(f"{counts}: {'; '.join(failed)[:2000] or output[-2000:]}")
    return counts


def _pytest(*arguments: str) -> str:
    folder = Path(gdkernels.testing.__file__).parents[2]
    names = [str(folder / a) if a.startswith("gdkernels/") else a for a in arguments]
    where = (
        []
        if any("::" in name or name.startswith(str(checkout.ROOT)) for name in names)
        else [str(Path(gdkernels.testing.__file__).parent)]
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), *names, *where]
    environment = os.environ | checkout.environment() | {"GDKERNELS_BACKEND": "cupy", "PYTHONUNBUFFERED": "1"}
    seconds = max(1.0, min(_SECONDS, deadline.left()))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"not done in {seconds:.0f} s: {_so_far(error.stdout)}") from error
    return done.stdout + done.stderr


def _so_far(output: str | bytes | None) -> str:
    """Return what the lines of pytest -v say of tests that were done, and which one was not."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    done = re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", text, re.MULTILINE)
    failed = [test for test, word in done if word in ("FAILED", "ERROR")]
    last = text.splitlines()[-1].strip() if text.strip() else "nothing"
    counts = f"{sum(word == 'PASSED' for _, word in done)} passed, {len(failed)} failed"
    return f"{counts}{''.join(f'; {test}' for test in failed)[:2000]}; the last line is {last!r}"
