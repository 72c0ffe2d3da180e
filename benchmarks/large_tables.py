"""A table that stays in files: what an epoch takes, and the memory, with numbers in bins and without.

Each training is a process of its own. An epoch's CPU time is the difference between a training of two and one of one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import checkout
from gdkernels.cli.arguments import whole

__all__ = ["main"]

_PIECE = 200_000  # records that are written at a time


def main() -> None:
    """Measure, and print a line for each encoding."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_tables", description=__doc__)
    parser.add_argument("--records", type=whole(1000), default=10_000_000, help="of the table (10,000,000)")
    parser.add_argument("--columns", type=whole(1), default=16, help="of numbers (16)")
    parser.add_argument("--memory", default="256MB", help="that the records may take (256MB)")
    parser.add_argument("--threads", type=whole(1), default=1)
    parser.add_argument("--folder", help="the folder of the file (that for temporary files)")
    parser.add_argument("--one", nargs=3, metavar=("FILE", "ENCODING", "EPOCHS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        _one(args.one[0], args.one[1], int(args.one[2]), args.memory, args.threads)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        path = Path(name) / "table.npy"
        _write(path, args.records, args.columns)
        for encoding in ("piecewise", "none"):
            found = []
            for epochs in (1, 2):
                own = ["--memory", args.memory, "--threads", str(args.threads)]
                command = [sys.executable, "-m", "benchmarks.large_tables", *own, "--one", str(path), encoding]
                done = subprocess.run(
                    [*command, str(epochs)], cwd=checkout.ROOT, check=True, stdout=subprocess.PIPE, text=True
                )
                found.append(json.loads(done.stdout))
            one, two = found
            print(
                f"{args.records:,} records of {args.columns} numbers, {path.stat().st_size / 1e6:,.0f} MB, windows of "
                f"{args.memory}, encoding {encoding}: an epoch of {two['train']:,} records takes "
                f"{two['cpu'] - one['cpu']:.1f} CPU s ({two['wall']:.1f} s by the clock) on {args.threads} threads; "
                f"all of a training of one epoch {one['cpu']:.1f} CPU s, at most {one['peak'] / 1e6:,.0f} MB; "
                f"R² {two['r2']:.3f}",
                flush=True,
            )


def _write(path: Path, records: int, columns: int) -> None:
    """Write a table whose last column jumps and bends by some of the others."""
    draw = np.random.default_rng(0)
    table = np.lib.format.open_memmap(path, "w+", np.float32, (records, columns + 1))
    for first in range(0, records, _PIECE):
        x = draw.standard_normal((min(_PIECE, records - first), columns))
        y = np.sin(3 * x[:, 0]) + (x[:, -1] > 0.3) * 1.0 + 0.3 * draw.standard_normal(len(x))
        table[first : first + len(x)] = np.column_stack([x, y])
    table.flush()


def _one(file: str, encoding: str, epochs: int, memory: str, threads: int) -> None:
    import gdkernels as gd

    predictor = gd.TabularPredictor(
        -1, task="regression", encoding=encoding, epochs=epochs, memory=memory, threads=threads, progress=False
    )
    began = time.process_time()
    predictor.fit(file)
    told = {
        "cpu": time.process_time() - began,
        "wall": predictor.history_.epochs[-1].seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "train": predictor.rows_["train"],
        "r2": predictor.metrics_["r2"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
