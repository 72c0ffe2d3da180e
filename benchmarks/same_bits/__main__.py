"""The command: train with both checkouts, compare, and print a line for each setting."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import benchmarks.same_bits
from benchmarks.same_bits.settings import SETTINGS
from benchmarks.same_bits.trainings import Array, Found

HERE = Path(__file__).resolve().parents[2]  # the checkout whose settings these are

# ---- training with a checkout


def start(checkout: Path, folder: Path, threads: int, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that does settings with a checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GDKERNELS_")}
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment |= dict.fromkeys(counts, str(threads))
    environment["PYTHONPATH"] = str(HERE)
    environment["GDKERNELS_CACHE"] = str(folder / "cache")
    command = [sys.executable, "-m", "benchmarks.same_bits.worker", str(folder), str(checkout), *names]
    return subprocess.Popen(command, cwd=folder, env=environment)


def results(checkout: Path, folder: Path, names: Sequence[str]) -> dict[str, Found]:
    """Return what each setting came to with a checkout."""
    for threads in sorted({setting.threads for setting in SETTINGS}):
        chosen = [s.name for s in SETTINGS if s.threads == threads and s.name in names]
        if chosen and start(checkout, folder, threads, chosen).wait():
            raise SystemExit(f"{checkout} cannot be tried")
    found = {}
    for number, setting in enumerate(SETTINGS):
        if setting.name in names:
            with np.load(folder / f"{number}.npz") as arrays:
                found[setting.name] = dict(arrays)
    return found


# ---- the comparison


def digest(a: Array) -> str:
    return hashlib.sha256(f"{a.dtype.str} {a.shape}".encode() + np.ascontiguousarray(a).tobytes()).hexdigest()


def difference(a: Array | None, b: Array | None) -> str:
    """Return in words by how much two arrays differ."""
    if a is None or b is None:
        return "missing" if b is None else "new"
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype}{list(a.shape)} became {b.dtype}{list(b.shape)}"
    if a.dtype.kind != "f":
        return f"{a.tolist()!s:.60} became {b.tolist()!s:.60}"
    with np.errstate(all="ignore"):
        return f"by {np.max(np.abs(a - b)) / np.max(np.abs(a)):.1e} of the largest"


def verdict(before: Found, after: Found) -> tuple[str, str]:
    """Return "same", "neither" or "DIFFERS", and the remark for its line."""
    names = [name for name in dict.fromkeys([*before, *after]) if name != "seconds"]
    shown = digest(before["parameters"])[:12] if "parameters" in before else ""
    if "failed" in before or "failed" in after:
        return "DIFFERS", f"failed: {before.get('failed', 'not before')}; then: {after.get('failed', 'not after')}"
    if "cannot" in before and "cannot" in after:
        return "neither", str(before["cannot"])
    other = [n for n in names if n not in before or n not in after or digest(before[n]) != digest(after[n])]
    if other:
        return "DIFFERS", ", ".join(f"{n} {difference(before.get(n), after.get(n))}" for n in other)
    return "same", shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two checkouts, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_bits", description=str(benchmarks.same_bits.__doc__).split("\n", maxsplit=1)[0]
    )
    parser.add_argument("before", metavar="BEFORE", type=Path, help="the folder of a checkout")
    parser.add_argument("after", metavar="AFTER", type=Path, help="the folder of another")
    parser.add_argument("--only", metavar="WORD", action="append", default=[], help="settings with this in their name")
    args = parser.parse_args(arguments)
    names = [s.name for s in SETTINGS if not args.only or any(word in s.name for word in args.only)]
    if not names:
        parser.error(f"no setting has {' or '.join(args.only)} in its name")
    sides = [folder.resolve() for folder in (args.before, args.after)]
    for side in sides:
        if not (side / "gdkernels" / "__init__.py").is_file():
            parser.error(f"{side} is no checkout: it has no gdkernels/__init__.py")
    found = []
    for side in sides:
        folder = Path(tempfile.mkdtemp())
        (folder / "cache").mkdir(mode=0o700)
        try:
            found.append(results(side, folder, names))
        finally:
            shutil.rmtree(folder)
    before, after = found
    verdicts = {name: verdict(before[name], after[name]) for name in names}
    for name, (word, text) in verdicts.items():
        seconds = " ".join(f"{float(side[name]['seconds']):5.1f} s" for side in found)
        print(f"{word:8}{name:58}{seconds}  {text}")
    counts = {word: sum(w == word for w, _ in verdicts.values()) for word in ("same", "neither", "DIFFERS")}
    print(f"{counts['same']} same, {counts['DIFFERS']} different, {counts['neither']} that neither can do here")
    return 1 if counts["DIFFERS"] else 0


if __name__ == "__main__":
    sys.exit(main())
