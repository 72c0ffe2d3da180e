"""The words that the threads of a run share, in which they agree on who does what."""

from typing import NamedTuple

from gdkernels_numba.ir.vector import LINE
from gdkernels_numba.vm.fields import WORD

__all__ = [
    "ATTEMPT_BITS", "BLOCK_BITS", "COUNT_BITS", "HOLDER_BITS", "PROGRESS", "TURN_BYTES", "TURN_WORDS",
    "WORDS_OF_THREAD", "TurnWords", "WordsOfThread",
]  # fmt: skip


class TurnWords(NamedTuple):
    """The offsets, in bytes, of the words that all threads share; those that change often have lines for themselves."""

    turn: int
    given_up: int
    repeated: int
    taken_over: int
    alone_until: int
    together_until: int
    leader: int
    patience: int
    rate_alone: int
    threads: int


class WordsOfThread(NamedTuple):
    """The offsets, in bytes, of the words of a thread."""

    inside: int
    spent: int
    lost: int
    phases: int
    began: int
    phase: int
    clock: int


# What a turn is made of: the number of its phase; how often that was repeated, and the bank; and behind the turn, in
# the word that all read, how many of its pieces are done.
COUNT_BITS, ATTEMPT_BITS = 16, 16

# How far a piece of an update has come, for another thread to go on with it: the number of its phase, how many blocks
# are changed, how often it has been taken over, and in the last bit whether a block is being changed.
HOLDER_BITS, BLOCK_BITS = 8, 16
PROGRESS = WORD  # bytes from the claim of a piece to its progress

# Apart, so that no processor fetches one with the other.
TURN_BYTES = 2 * LINE
# The turn with the number of pieces that are done in it; whether the run is given up; how many phases were repeated;
# how often a thread went on with the piece of another; until when one thread works alone, until when all work together,
# which one is alone, for how long what was faster is kept (negative if that was all together), and during a trial the
# speed of one alone, or -1 until that is known, else 0; then the words of each thread.
TURN_WORDS = TurnWords(
    turn=0,
    given_up=TURN_BYTES,
    repeated=TURN_BYTES + WORD,
    taken_over=TURN_BYTES + 2 * WORD,
    alone_until=2 * TURN_BYTES,
    together_until=2 * TURN_BYTES + WORD,
    leader=2 * TURN_BYTES + 2 * WORD,
    patience=2 * TURN_BYTES + 3 * WORD,
    rate_alone=2 * TURN_BYTES + 4 * WORD,
    threads=3 * TURN_BYTES,
)
# In which bank it is, plus one; since it last decided, how long it has run and has waited for one that is late, in
# nanoseconds, and how many phases are done; when its turn began, and which phase that was; room for the system's clock.
WORDS_OF_THREAD = WordsOfThread(*(k * WORD for k in range(7)))
