"""What the threads of a run share, as the host sees it: the words of `gdkernels_numba.vm.turns`."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from gdkernels_numba.cpu.threads import run_on_threads
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD

__all__ = ["TurnState"]

_INSIDE = (TURN_WORDS.threads + WORDS_OF_THREAD.inside) // WORD
# What the first thread counts: it begins and ends a run.
_BEGAN, _PHASE, _ON_CORE, _SPENT, _LOST, _WITH_CORE = (
    (TURN_WORDS.threads + offset) // WORD
    for offset in (
        WORDS_OF_THREAD.began,
        WORDS_OF_THREAD.phase,
        WORDS_OF_THREAD.on_core,
        WORDS_OF_THREAD.spent,
        WORDS_OF_THREAD.lost,
        WORDS_OF_THREAD.with_core,
    )
)


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
        """Run the jobs of all threads; the first alone if there are no others, or if that was faster just now."""
        if len(jobs) == 1:
            jobs[0]()
        elif self._begin():
            jobs[0]()
            self._end()
        else:
            run_on_threads(jobs, self._give_up, spare=True)
            self.words[_LOST] += self._end()

    def _begin(self) -> bool:
        """Prepare for a run, and return whether one thread works alone as it begins."""
        words, now = self.words, time.monotonic_ns()
        words[TURN_WORDS.turn // WORD] = words[TURN_WORDS.given_up // WORD] = 0
        words[_INSIDE : self._claims : TURN_BYTES // WORD] = 0
        words[self._claims :] = 0
        words[_BEGAN], words[_PHASE], words[_ON_CORE] = now, 0, time.thread_time_ns()
        return bool(now < words[TURN_WORDS.alone_until // WORD])

    def _end(self) -> int:
        """Count the time since this thread has done its part, until the last one was back, and return it."""
        words = self.words
        # The system looks who comes next when it is asked how long this thread had a core, and may take the core away:
        # so this comes first, or what a crowd costs would be counted in no run.
        words[_WITH_CORE] += time.thread_time_ns() - int(words[_ON_CORE])
        waited = time.monotonic_ns() - int(words[_BEGAN])
        words[_SPENT] += waited
        return waited

    def _give_up(self) -> None:
        """End the run of threads that wait for one that will never come."""
        self.words[TURN_WORDS.given_up // WORD] = 1
