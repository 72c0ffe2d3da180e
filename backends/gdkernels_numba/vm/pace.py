"""The pace of a run: whether its threads work together, or one of them alone, on a machine that others use too.

The first thread looks back on windows of time. In a quiet one, it hardly waited for others and had a core throughout.
If a window was crowded, it works alone for a window, and the faster way is kept for a while; then the other way has a
window again. Windows differ by chance, so each way is judged by its last few. Being alone leaves cores to others, and
is kept unless all together are clearly faster. All work together again as soon as a window of all is quiet.
"""

from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.intrinsics import (
    load_atomic,
    nanoseconds,
    processor_nanoseconds,
    set_word,
    store_atomic,
    word,
)
from gdkernels_numba.vm.phases import phases_of_run
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["JUDGE", "count_turn", "end_run", "words_of"]

_HERE = 0  # words behind an address
JUDGE = 0  # the thread that measures, and that works alone: a run begins and ends with it
_MILLISECOND = 1_000_000
_SECOND = 1_000 * _MILLISECOND
_WINDOW = 40 * _MILLISECOND
_SHORTEST, _LONGEST = 40 * _MILLISECOND, 640 * _MILLISECOND  # the times for which the faster way is kept
_EARLY = 4  # a window ends already when so large a part of that is lost
_OFTEN = 3  # it is crowded if a third of the time is lost that one thread alone would lose
_WITHOUT = 3  # or if a thread had no core for a third of it
_HARDLY = 16  # it is quiet if less than this part of it is lost, and as little was without a core
_SOME = 8  # windows by which a way is judged, about
_FEW = 4  # windows in a row that must be quiet for a crowd to be forgotten
_CLEARLY = 20  # all together are clearly faster by more than this part
_NO_TRIAL, _OF_ONE, _OF_ALL = 0, 1, 2


def words_of(context: int, thread: int) -> int:
    """Return where the words of a thread are."""
    return int(word(context, CONTEXT.turns) + TURN_WORDS.threads + thread * TURN_BYTES)


def end_run(context: int) -> None:
    """Count what is left of a run. The host has begun to count, and goes on until all threads are back."""
    if word(context, CONTEXT.thread) == JUDGE:
        mine = words_of(context, JUDGE)
        count(mine, phases_of_run(context), nanoseconds(mine + WORDS_OF_THREAD.clock))


def count(mine: int, phase: int, now: int) -> None:
    """Count the time and the phases since they were last counted."""
    spent, phases = word(mine + WORDS_OF_THREAD.spent, _HERE), word(mine + WORDS_OF_THREAD.phases, _HERE)
    set_word(mine + WORDS_OF_THREAD.spent, _HERE, spent + now - word(mine + WORDS_OF_THREAD.began, _HERE))
    set_word(mine + WORDS_OF_THREAD.phases, _HERE, phases + phase - word(mine + WORDS_OF_THREAD.phase, _HERE))
    set_word(mine + WORDS_OF_THREAD.began, _HERE, now)
    set_word(mine + WORDS_OF_THREAD.phase, _HERE, phase)


def count_core(mine: int) -> None:
    """Count how long this thread has had a core since this was last counted."""
    now, before = processor_nanoseconds(mine + WORDS_OF_THREAD.clock), word(mine + WORDS_OF_THREAD.on_core, _HERE)
    set_word(mine + WORDS_OF_THREAD.with_core, _HERE, word(mine + WORDS_OF_THREAD.with_core, _HERE) + now - before)
    set_word(mine + WORDS_OF_THREAD.on_core, _HERE, now)


def begin_window(mine: int) -> None:
    set_word(mine + WORDS_OF_THREAD.spent, _HERE, 0)
    set_word(mine + WORDS_OF_THREAD.lost, _HERE, 0)
    set_word(mine + WORDS_OF_THREAD.phases, _HERE, 0)
    set_word(mine + WORDS_OF_THREAD.with_core, _HERE, 0)


def count_turn(context: int, phase: int, now: int, alone: int) -> None:
    """Count the last turn of the thread that judges, and decide when a window is over."""
    mine = words_of(context, JUDGE)
    count(mine, phase, now)
    if word(mine + WORDS_OF_THREAD.way, _HERE) != alone:  # what was counted belongs to the other way
        set_word(mine + WORDS_OF_THREAD.way, _HERE, alone)
        count_core(mine)
        begin_window(mine)
    spent, lost = word(mine + WORDS_OF_THREAD.spent, _HERE), word(mine + WORDS_OF_THREAD.lost, _HERE)
    trial = load_atomic(word(context, CONTEXT.turns) + TURN_WORDS.trial)
    if spent > _WINDOW or (trial == _NO_TRIAL and lost > _WINDOW // _EARLY):
        count_core(mine)
        without = spent - word(mine + WORDS_OF_THREAD.with_core, _HERE)
        decide(context, now, word(mine + WORDS_OF_THREAD.phases, _HERE), spent, lost, without)
        begin_window(mine)


def add_window(window: int, spent: int, phases: int) -> None:
    """Add to the last few windows of a way; what is added fades."""
    before, done = load_atomic(window), load_atomic(window + WORD)
    store_atomic(window, before - before // _SOME + spent)
    store_atomic(window + WORD, done - done // _SOME + phases)


def speed(window: int) -> int:
    """Return how many phases a second were done in the last few windows of a way."""
    spent = load_atomic(window)
    return int(load_atomic(window + WORD) * _SECOND // spent) if spent else 0


def decide(context: int, now: int, phases: int, spent: int, lost: int, without: int) -> None:
    """Decide who works next, after a window."""
    threads, shared = word(context, CONTEXT.threads), word(context, CONTEXT.turns)
    trial, until = load_atomic(shared + TURN_WORDS.trial), load_atomic(shared + TURN_WORDS.alone_until)
    if trial == _OF_ONE or now < until:
        add_window(shared + TURN_WORDS.alone, spent, phases)
        if trial == _OF_ONE:
            settle(shared, now)
    else:
        add_window(shared + TURN_WORDS.together, spent, phases)
        if _HARDLY * lost < spent and _HARDLY * without < spent:
            store_atomic(shared + TURN_WORDS.trial, _NO_TRIAL)
            count_quiet(shared)
        elif trial == _OF_ALL:
            settle(shared, now)
        elif _OFTEN * lost * threads > spent * (threads - 1) or _WITHOUT * without > spent:
            store_atomic(shared + TURN_WORDS.quiet, 0)
            if now > load_atomic(shared + TURN_WORDS.together_until):
                store_atomic(shared + TURN_WORDS.trial, _OF_ONE)
                store_atomic(shared + TURN_WORDS.alone_until, now + _LONGEST)


def settle(shared: int, now: int) -> None:
    """Keep to the faster way, for longer than before if it was the faster one then too."""
    alone, together = speed(shared + TURN_WORDS.alone), speed(shared + TURN_WORDS.together)
    patience = load_atomic(shared + TURN_WORDS.patience)
    if together - together // _CLEARLY <= alone:
        patience = min(_LONGEST, 2 * max(_SHORTEST, patience))
        store_atomic(shared + TURN_WORDS.trial, _OF_ALL)
        store_atomic(shared + TURN_WORDS.alone_until, now + patience)
    else:
        patience = max(-_LONGEST, 2 * min(-_SHORTEST, patience))
        store_atomic(shared + TURN_WORDS.trial, _NO_TRIAL)
        store_atomic(shared + TURN_WORDS.alone_until, 0)
        store_atomic(shared + TURN_WORDS.together_until, now - patience)
    store_atomic(shared + TURN_WORDS.patience, patience)


def count_quiet(shared: int) -> None:
    """Count a quiet window, and after a few of them forget what a crowd was like."""
    quiet = load_atomic(shared + TURN_WORDS.quiet) + 1
    store_atomic(shared + TURN_WORDS.quiet, quiet)
    if quiet >= _FEW:
        for word_of_window in range(2):
            store_atomic(shared + TURN_WORDS.alone + word_of_window * WORD, 0)
            store_atomic(shared + TURN_WORDS.together + word_of_window * WORD, 0)
        store_atomic(shared + TURN_WORDS.together_until, 0)
        store_atomic(shared + TURN_WORDS.patience, 0)
