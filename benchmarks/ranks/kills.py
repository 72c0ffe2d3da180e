"""Ranks that are killed at random, and trainings that go on without them: what comes out must not depend on it.

``python -m benchmarks.ranks.kills --kills 50`` starts a training on four ranks, ends one of them at a random moment by
SIGKILL, waits until the job is gone, and goes on with one, two or three ranks. Every result is compared with that of a
training in one process. It takes the mpiexec beside this Python.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gdkernels as gd
from benchmarks.ranks.launching import launch
from gdkernels.groups import joined

_RANKS, _SHARDS = 4, 4
_PATIENCE = 120.0  # seconds until a training must have written something
_LATEST = 1.0  # seconds after its first checkpoint until a rank is killed, at most


def train(folder: str, group: str, shards: int | None) -> str:
    """Train in this folder, or go on there, and return what the parameters hash to."""
    ranks = joined(group)
    Path(folder, f"pid{ranks.rank}").write_text(str(os.getpid()))
    x = np.random.default_rng(0).standard_normal((4003, 8)).astype(np.float32)
    model = gd.MLP([8, 32, 1], seed=0, backend="numba")
    model.fit(
        x, np.sin(x[:, :1]), epochs=12, batch_size=320, group=ranks, shards=shards, validation=0.2, patience=6,
        checkpoint=f"{folder}/run", every="4 steps", resume=True, callbacks=[lambda epoch: time.sleep(0.05)],
    )  # fmt: skip
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for layer in model.parameters for a in layer)).hexdigest()


def killed_and_resumed(folder: Path, stream: random.Random) -> tuple[float | None, int, str]:
    """Return in how many seconds a job was gone after a rank was killed, how many ranks went on, and the result.

    The seconds are None if it ended by itself before, and infinite if it stayed for too long.
    """
    command = [sys.executable, "-m", "benchmarks.ranks.kills", "--folder", str(folder)]
    job = subprocess.Popen(
        launch(_RANKS, [*command, "--shards", str(_SHARDS)]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + _PATIENCE
    while not list(folder.glob("run/step-*")) and job.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(stream.random() * _LATEST)
    gone = None
    if job.poll() is None:
        began = time.monotonic()
        os.kill(int((folder / f"pid{stream.randrange(_RANKS)}").read_text()), signal.SIGKILL)
        gone = math.inf if not _ended(job) else time.monotonic() - began
    ranks = stream.choice([1, 2, 3])
    try:
        done = subprocess.run(launch(ranks, command), capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return gone, ranks, f"nothing within {_PATIENCE:.0f} s"
    told = done.stdout.split()
    return gone, ranks, told[-1] if told else done.stderr[-300:]


def _ended(job: subprocess.Popen[bytes]) -> bool:
    """Return whether a job ends by itself; one that does not is ended."""
    try:
        job.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        return False
    return True


def study(kills: int, seed: int) -> int:
    """Kill so many times and tell what came out; return 1 if any result differs or any job stayed."""
    stream, results, times, before = random.Random(seed), [], [], 0  # noqa: S311 (moments, not secrets)
    with tempfile.TemporaryDirectory() as place:
        wanted = train(place, "none", _SHARDS)
    for k in range(kills):
        with tempfile.TemporaryDirectory() as place:
            gone, ranks, found = killed_and_resumed(Path(place), stream)
        before += gone is None
        times += [] if gone is None else [gone]
        results.append(found)
        ended = "done before the kill" if gone is None else f"gone within {gone:.2f} s"
        came = "the same bits" if found == wanted else found
        print(f"{k + 1} of {kills}: {ended}, resumed on {ranks}: {came}", file=sys.stderr, flush=True)
    same = sum(found == wanted for found in results)
    print(
        f"{kills} jobs of {_RANKS} ranks, {before} of them done before the kill; {same} resumed on 1 to 3 ranks to the "
        f"bits of one process; gone within {max(times, default=0.0):.2f} s of the kill"
    )
    return int(same < kills or max(times, default=0.0) > 5.0)


def main() -> int:
    """Run the study, or one rank of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and ranks (%(default)s)")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is None:
        if shutil.which("mpiexec", path=str(Path(sys.executable).parent)) is None:
            print("there is no mpiexec beside this Python: pip install mpich", file=sys.stderr)
            return 2
        return study(options.kills, options.seed)
    found = train(options.folder, "mpi", options.shards)
    if not joined("mpi").rank:
        print(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
