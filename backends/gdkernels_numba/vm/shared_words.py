"""The words that the threads of a run share, in which they agree on who does what."""

from typing import NamedTuple

from gdkernels_numba.ir.format import LINE
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
    patience: int
    alone: int
    together: int
    trial: int
    quiet: int
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
    more_clock: int
    on_core: int
    with_core: int
    way: int
    sleeps_until: int
    sleeps_for: int


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
# for how long what was faster is kept (negative if that was all together), the nanoseconds and the phases of the last
# windows of one alone and of all, two words each, whose trial this is, and how many windows were quiet one after the
# other; then the words of each thread.
TURN_WORDS = TurnWords(
    turn=0,
    given_up=TURN_BYTES,
    repeated=TURN_BYTES + WORD,
    taken_over=TURN_BYTES + 2 * WORD,
    alone_until=2 * TURN_BYTES,
    together_until=2 * TURN_BYTES + WORD,
    patience=2 * TURN_BYTES + 2 * WORD,
    alone=2 * TURN_BYTES + 3 * WORD,
    together=2 * TURN_BYTES + 5 * WORD,
    trial=2 * TURN_BYTES + 7 * WORD,
    quiet=2 * TURN_BYTES + 8 * WORD,
    threads=3 * TURN_BYTES,
)
# In which bank it is, plus one; since it last decided, how long it has run and has waited for one that is late, in
# nanoseconds, and how many phases are done; when its turn began, and which phase that was; two words of room for the
# system's clocks; what its clock of cores said, and how long it has had a core since it last decided; whether one
# thread worked alone in its last turn; until when it sleeps where it waits, because others use its core, and for how
# long that holds.
WORDS_OF_THREAD = WordsOfThread(*(k * WORD for k in range(13)))
