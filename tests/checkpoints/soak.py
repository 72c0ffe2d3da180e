"""Training under random faults, for as long as one likes: ``python soak.py MINUTES BACKEND``.

A run is disturbed again and again until it ends; then its result is compared, to the bit, with that of one that was
never disturbed, and the next begins. Ends with a table of what was injected and what was lost.
"""

import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).with_name("training.py")


def start(folder, backend, **more):
    command = [sys.executable, PROGRAM, folder, backend, "3 steps"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def in_a_while(run, draw):
    until = time.monotonic() + draw.uniform(0, 1.5)
    while run.poll() is None and time.monotonic() < until:
        time.sleep(0.001)


def in_a_write(run, folder):
    """Stop a run that writes a checkpoint, however long the system lets either of the two wait; or see its end."""
    while run.poll() is None:
        if any(folder.glob(".gdkernels-*")):
            run.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, run.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if any(folder.glob(".gdkernels-*")):
                return
            run.send_signal(signal.SIGCONT)  # it was ready before it was stopped


def limit_files():
    """Let every file fail that grows beyond a few bytes, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


def disturb(fault, folder, backend, draw):
    """Begin or go on with a run, with this fault; return what it printed, or None where it did not end by itself."""
    run = start(folder, backend, preexec_fn=limit_files if fault == "full disk" else None)
    if fault == "kill -9 in a write":
        in_a_write(run, folder)
        run.kill()
    elif fault in ("kill -9", "damaged checkpoint", "checkpoint cut short"):
        in_a_while(run, draw)
        run.kill()
    elif fault in ("SIGTERM", "SIGINT"):
        in_a_while(run, draw)
        run.send_signal(getattr(signal, fault))
    runs = [run, start(folder, backend)] if fault == "a second run" else [run]
    ends = [(run, *run.communicate()) for run in runs]
    # Of two runs, whichever is the first to come goes on.
    run, out, error = next(end for end in ends if "keeps its checkpoints in" not in end[2])
    newest = max(folder.glob("step-*"), default=None)
    if newest is not None and "checkpoint" in fault:
        content = bytearray(newest.read_bytes())
        content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
        newest.write_bytes(content if "damaged" in fault else content[: int(draw.integers(len(content)))])
    if run.returncode == 0:
        return out
    if "no checkpoint in" in error:  # all of them were damaged one after another: it has to begin anew
        shutil.rmtree(folder)
        return None
    if fault in ("none", "a second run", "full disk") or (run.returncode > 0 and "Interrupt" not in error):
        raise RuntimeError(f"{fault}: the run ended with {run.returncode}: {error[-2000:]}")
    return None


FAULTS = ("none", "kill -9", "kill -9 in a write", "SIGTERM", "SIGINT", "damaged checkpoint", "checkpoint cut short",
          "full disk", "a second run")  # fmt: skip


def soak(backend, *, seconds=math.inf, faults=math.inf, seed=0):
    """Return how often each fault was injected, how many runs ended, and how many of them as they should not."""
    draw, injected, ended, lost = np.random.default_rng(seed), Counter(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        expected = start(Path(name) / "whole", backend).communicate()[0]
        until = time.monotonic() + seconds  # not with the first run, which may compile
        folder = Path(name) / "c"
        while time.monotonic() < until and injected.total() < faults:
            # A run ends in a second: those that let it end are rare, so that it takes many of the others to get there.
            fault = str(draw.choice(FAULTS, p=[0.02, *[0.156] * 6, 0.02, 0.024]))
            out = disturb(fault, folder, backend, draw)
            injected[fault] += 1
            if out is not None:
                ended, lost = ended + 1, lost + (out != expected)
                shutil.rmtree(folder)
    return injected, ended, lost


if __name__ == "__main__":
    injected, ended, lost = soak(sys.argv[2], seconds=60 * float(sys.argv[1]))
    for fault in FAULTS:
        print(f"{injected[fault]:6,}  {fault}")
    print(f"{ended:6,}  runs came to their end, {lost} of them with other bits")
    print(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:6,.0f}  MB at most")
    sys.exit(lost > 0)
