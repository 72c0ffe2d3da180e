"""What the threads of a run share, as the host sees it: the words of `gdkernels_numba.vm.turns`."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from gdkernels_numba.cpu.threads import run_on_threads
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD

__all__ = ["TurnState"]


class TurnState:
    """Starts the threads of a run, which share its pieces by these words.

    Parameters
    ----------
    words
        Where they are.
    claims
        The bytes from there to the claims.

    Attributes
    ----------
    words
        The same.
    """

    def __init__(self, words: npt.NDArray[Any], claims: int) -> None:
        self.words, self._claims = words, claims // WORD

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run the jobs of all threads; the first alone if there are no others, or if they were late just now."""
        if len(jobs) == 1 or self._begin():
            jobs[0]()
        else:
            self._run_together(jobs)

    def _begin(self) -> bool:
        """Prepare for a run, and return whether one thread still works alone."""
        words = self.words
        for offset in (TURN_WORDS.turn, TURN_WORDS.given_up, TURN_WORDS.leader):
            words[offset // WORD] = 0
        inside = TURN_WORDS.threads + WORDS_OF_THREAD.inside
        words[inside // WORD : self._claims : TURN_BYTES // WORD] = 0
        words[self._claims :] = 0
        return bool(time.monotonic_ns() < words[TURN_WORDS.alone_until // WORD])

    def _run_together(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run on several threads, and count the time until the last one is back as lost."""
        done = 0

        def first() -> None:
            nonlocal done
            jobs[0]()
            done = time.monotonic_ns()

        run_on_threads([first, *jobs[1:]], self._give_up, spare=True)
        waited = time.monotonic_ns() - done
        for offset in (WORDS_OF_THREAD.spent, WORDS_OF_THREAD.lost):
            self.words[(TURN_WORDS.threads + offset) // WORD] += waited

    def _give_up(self) -> None:
        """End the run of threads that wait for one that will never come."""
        self.words[TURN_WORDS.given_up // WORD] = 1
