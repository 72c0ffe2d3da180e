"""Training from a file in windows beside the same training from memory.

Epochs take turns. Before each epoch from the file, the system is told to drop its cache of the file: the epoch reads
from the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from gdkernels import MLP, Stored, Trainer
from gdkernels.cli.arguments import network_sizes, whole
from gdkernels.system.memory import gigabytes

__all__ = ["main"]


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored", description=__doc__)
    parser.add_argument("--sizes", type=network_sizes, default=(64, 256, 256, 8), help="layers (64-256-256-8)")
    parser.add_argument("--records", type=whole(1000), default=1_000_000)
    parser.add_argument("--batch", type=whole(1), default=256)
    parser.add_argument("--epochs", type=whole(1), default=5)
    parser.add_argument("--memory", default="32MB", help="for the windows (32MB)")
    parser.add_argument("--folder", help="the folder of the file (that for temporary files)")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    x = draw.standard_normal((args.records, args.sizes[0]), np.float32)
    y = draw.standard_normal((args.records, args.sizes[-1]), np.float32)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        files = [Path(name) / "X.npy", Path(name) / "Y.npy"]
        for file, array in zip(files, (x, y), strict=True):
            np.save(file, array)
        memory, windows = (Trainer(MLP(args.sizes, seed=0), batch_size=args.batch) for _ in range(2))
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(args.epochs + 1):
            for file in files:
                _forget(file)
            rows = windows.fit(Stored(*files, memory=args.memory), epochs=1)
            seconds[1].append(rows.seconds)
            seconds[0].append(memory.fit(x, y, epochs=1).seconds)
    rates = [args.records / median(s[1:]) for s in seconds]  # the first compiles
    spread = max(max(s[1:]) / min(s[1:]) for s in seconds)
    print(
        f"{'-'.join(map(str, args.sizes))}, batches of {args.batch}, {args.records:,} records "
        f"({gigabytes(x.nbytes + y.nbytes)}) in windows of {args.memory} on {rows.backend}: {rates[0]:,.0f} samples/s "
        f"from memory, {rates[1]:,.0f} from the file: {rates[1] / rates[0]:.0%} (medians of {args.epochs}, which "
        f"differ by up to {spread - 1:.0%})"
    )


def _forget(path: Path) -> None:
    """Have the system write a file, and drop its cache of the file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
