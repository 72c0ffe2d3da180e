"""A process that answers one line of JSON with another, and waits on a pipe while others are timed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.sampling.interleaving import settle
from gdkernels.errors import GdkernelsError

__all__ = ["PipedProcess", "ProcessError", "answer_with", "failing", "thread_settings"]

# BLAS libraries, OpenMP and Numba read these when they start.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "GDKERNELS_THREADS",
)


class ProcessError(ParticipantError):
    """The process is gone, or its answer was a failure; the message says which, and why."""


class PipedProcess:
    """A Python process that lives until you close it, on as many cores as it may use threads.

    Parameters
    ----------
    module
        The module that it runs, which calls `answer_with`.
    arguments
        Its command line, before the number of threads.
    environment
        Variables that only this process sees.
    family
        Whether the processes that it starts end with it.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        threads: int,
        environment: Mapping[str, str] | None = None,
        family: bool = False,
    ) -> None:
        self._family = family
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
        self._late = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            env={**os.environ, **thread_settings(threads), **(environment or {})},
            start_new_session=family,
        )

    def ask(self, question: Mapping[str, Any], seconds: float = 600.0) -> dict[str, Any]:
        """Return the answer.

        Raises
        ------
        ProcessError
            If there is no answer within `seconds`, which ends the process; or if the answer is a failure.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        alarm = threading.Timer(seconds, self._give_up)
        alarm.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            raise ProcessError(
                f"its process did not answer within {seconds:.0f} s" if self._late else self._last_words()
            )
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise ProcessError(answer["failed"])
        return answer

    def close(self) -> None:
        self._kill()
        self._process.communicate()
        self._messages.close()

    def _give_up(self) -> None:
        self._late = True
        self._kill()

    def _kill(self) -> None:
        if self._family:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with exit code {code}" + (f": {lines[-1].strip()}" if lines else "")


def thread_settings(threads: int) -> dict[str, str]:
    """Return the variables that tell a process its number of threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def answer_with(begin: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer every question on stdin by the function that `begin` returns, until there are no more.

    An answer waits until the threads of the process have gone to sleep: another process has its turn then.
    """
    # XLA takes no number of threads: it goes by the cores that it may run on.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[-1])])
    # Stdout carries the answers: what a library prints goes to stderr.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        handle = failing(begin)()
        for line in sys.stdin:
            answer = handle(json.loads(line))
            settle()
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def failing(begin: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]) -> Callable[[], Any]:
    """Return `begin` such that an exception, then or later, becomes an answer, and the process lives on."""

    def failure(error: Exception) -> dict[str, Any]:
        return {"failed": str(error) if isinstance(error, GdkernelsError) else f"{type(error).__name__}: {error}"}

    def guarded() -> Any:
        try:
            handle = begin()
        except Exception as error:
            answer = failure(error)
            return lambda question: answer

        def answer_or_failure(question: dict[str, Any]) -> dict[str, Any]:
            try:
                return handle(question)
            except Exception as error:
                return failure(error)

        return answer_or_failure

    return guarded
