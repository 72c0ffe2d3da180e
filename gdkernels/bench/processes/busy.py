"""Processes that keep cores busy while others are timed: a machine on which something else runs as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from gdkernels.bench.participants.participant import ParticipantError

__all__ = ["BusyProcesses"]

# It spins or rests as each line says, and ends with its standard input: where the process that asked ends, however it
# does, so does this one. An interrupt of the terminal is for that process.
_PROGRAM = """
import os, signal, sys, threading

signal.signal(signal.SIGINT, signal.SIG_IGN)
spinning = threading.Event()

def listen():
    for line in sys.stdin:
        if line.strip():
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(os.getpid(), {int(line)})
            spinning.set()
        else:
            spinning.clear()
        print(flush=True)
    os._exit(0)

threading.Thread(target=listen, daemon=True).start()
while spinning.wait():
    for _ in range(10_000):
        pass
"""


class BusyProcesses:
    """So many processes, which rest until `spinning`, and live until you close them.

    Parameters
    ----------
    count
        How many.
    """

    def __init__(self, count: int) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for _ in range(count):
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-S", "-c", _PROGRAM],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [process.pid for process in self._processes]

    @contextmanager
    def spinning(self, first: int = 0) -> Iterator[None]:
        """Keep as many cores busy meanwhile, each with one process, where the system allows that to be said.

        Parameters
        ----------
        first
            The place among the cores of the first that is taken; counted on by those who take turns.

        Raises
        ------
        ParticipantError
            If one of them has ended.
        """
        cores = _cores()
        with ExitStack() as stack:
            for number, process in enumerate(self._processes):
                stack.callback(_tell, process, "")  # also one that is interrupted on its way to spin
                _tell(process, str(cores[(number + first) % len(cores)]))
            yield

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()
        self._processes.clear()

    def __enter__(self) -> BusyProcesses:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _tell(process: subprocess.Popen[str], line: str) -> None:
    """Have it spin on the core that a line names, or rest; it does when this returns."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(line, file=process.stdin, flush=True)
        answer = process.stdout.readline()
    except OSError:
        answer = ""
    if not answer:
        raise ParticipantError("a process that was to keep a core busy has ended")
