"""What waiting costs: the CPU time of a rank that waits for another, and how late it hears that the other has come.

``mpiexec -n 2 python -m benchmarks.ranks.waiting`` exchanges a few numbers, again and again, and rank 1 comes later by
some milliseconds each time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from gdkernels.groups import Group, joined

_DELAYS = (0.0, 0.1e-3, 1e-3, 5e-3, 20e-3)  # seconds


def waits(group: Group, delay: float, times: int) -> tuple[list[float], list[float]]:
    """Return for each of some waits the CPU seconds of this rank, and the seconds since the other rank has come."""
    came, others, cpu, late = np.zeros(1), np.zeros(1), [], []
    other = 1 - group.rank
    exchange = group.repeated([(other, came)], [(other, others)])
    for _ in range(times):
        if group.rank:
            time.sleep(delay)
        came[0], before = time.monotonic(), time.thread_time()  # a clock of the machine, which both ranks are on
        exchange()
        late.append(time.monotonic() - others[0])
        cpu.append(time.thread_time() - before)
    return cpu, late


def main() -> int:
    """Measure, and print a line for each delay on rank 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks.waiting", description=__doc__)
    parser.add_argument("--times", type=int, default=200, metavar="N", help="waits of each delay (%(default)s)")
    options, group = parser.parse_args(), joined("mpi")
    if group.size != 2 or group.local_size != 2:
        parser.error("two ranks on one machine measure it: mpiexec -n 2 python -m benchmarks.ranks.waiting")
    for delay in _DELAYS:
        cpu, late = waits(group, delay, options.times)
        if not group.rank:
            print(
                f"rank 1 later by {1e3 * delay:g} ms: {1e6 * np.median(cpu):.0f} µs of CPU time a wait, heard after "
                f"{1e6 * np.median(late):.0f} µs (median of {options.times})",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
