"""Turns: how threads share the pieces of a phase, without waiting for one whose core has been taken.

A turn is an attempt at a phase. Threads claim its pieces one by one, each first those next to its own number. Whoever
finds none left waits until the last one is done. The phase's number, the attempt, the bank of memory and the number of
pieces that are done are one word, which changes at once or not at all.

A thread can lose its core in the middle of a piece, for milliseconds. If the phase is one of rows and there are two
banks, a thread that waits then begins the phase anew in the other bank: what the late one still writes is in the first
bank, and nobody reads it. Phases of updates change parameters in place. If threads have memory of their own for that,
one that waits goes on with the piece of the late one, block by block (`progress`). In other plans they must wait. If
threads wait for much of their time, or have no core for it, one of them works alone where that is faster (`pace`).
"""

from gdkernels_numba.vm.intrinsics import (
    add_atomic,
    exchange,
    leave_core,
    load_atomic,
    nanoseconds,
    pause,
    rest,
    set_word,
    store_atomic,
    word,
)
from gdkernels_numba.vm.pace import JUDGE, count_turn, end_run, words_of
from gdkernels_numba.vm.phases import (
    context_of,
    phase_of_rows,
    phase_of_shared_update,
    phases_of_run,
    pieces_of_phase,
    run_piece,
)
from gdkernels_numba.vm.progress import (
    begin_of_phase,
    complete,
    hold,
    may_be_taken_over,
    next_holder,
    progress_of,
)
from gdkernels_numba.vm.shared_words import ATTEMPT_BITS, COUNT_BITS, TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["take_turns"]

_MILLISECOND = 1_000_000
_HERE = 0  # words behind an address
_BRIEFLY = 60  # spins that a thread has to begin with its own piece, before another does it
_SPINS = 250  # some 10 µs; then a thread is late, and the core is left to others
_TAKEN = _MILLISECOND // 2  # a core that comes back so late was used by others
_SHARED, _MOST_SHARED = 40 * _MILLISECOND, 640 * _MILLISECOND  # for which it then counts as one that others use
_NAP, _SLEEP = 50, 1000  # microseconds for which a thread sleeps that waits there, or leaves the work to one
_PATIENCE = 4  # a thread is also late only if it is waited for so much shorter than the others have worked
_REPEATED = 2 * _MILLISECOND  # a phase that takes longer is not repeated: it takes a thread less long to come back


def turn_now(context: int) -> int:
    return int(load_atomic(word(context, CONTEXT.turns)) >> COUNT_BITS)


def is_over(context: int, turn: int) -> int:
    """Return whether a turn has ended, or the run is given up."""
    given_up = load_atomic(word(context, CONTEXT.turns) + TURN_WORDS.given_up)
    return 1 if turn_now(context) != turn or given_up else 0


def attempt_of(turn: int) -> int:
    """Return twice the number of the attempt, plus the bank."""
    return turn - (turn >> ATTEMPT_BITS << ATTEMPT_BITS)


def bank_of(turn: int) -> int:
    attempt = attempt_of(turn)
    return attempt - (attempt >> 1 << 1)


def claim(context: int, piece: int, turn: int) -> int:
    """Return 1 if this thread now has a piece of the turn, and 0 if another has it."""
    at = word(context, CONTEXT.claims) + piece * TURN_BYTES
    before = load_atomic(at)
    # One that is claimed in a later turn is not claimed again by a thread that is late.
    return int(exchange(at, before, turn + 1)) if before < turn + 1 else 0


def finish(context: int, turn: int, count: int) -> None:
    """Count a piece as done, unless the turn is over; after the last one, the next phase begins in the same bank."""
    at = word(context, CONTEXT.turns)
    now, done = load_atomic(at), 0
    while now >> COUNT_BITS == turn and done == 0:
        if now + 1 - (turn << COUNT_BITS) < count:
            done = exchange(at, now, now + 1)
        else:
            following = ((turn >> ATTEMPT_BITS) + 1 << ATTEMPT_BITS) + bank_of(turn)
            done = exchange(at, now, following << COUNT_BITS)
        now = load_atomic(at)


def wait_briefly(context: int, turn: int) -> None:
    spins = 0
    while spins < _BRIEFLY and is_over(context, turn) == 0:
        pause()
        spins += 1


def someone_is_in(context: int, bank: int) -> int:
    found = 0
    for thread in range(word(context, CONTEXT.threads)):
        if load_atomic(words_of(context, thread) + WORDS_OF_THREAD.inside) == bank + 1:
            found = 1
    return found


def repeat(context: int, turn: int) -> int:
    """Begin the phase anew in the other bank, if nobody is late in there; returns 1 if this thread has done so."""
    done = 0
    at, bank = word(context, CONTEXT.turns), bank_of(turn)
    now = load_atomic(at)
    if now >> COUNT_BITS == turn and someone_is_in(context, 1 - bank) == 0:
        again = turn - bank + 2 + (1 - bank)
        done = exchange(at, now, again << COUNT_BITS)
        add_atomic(at + TURN_WORDS.repeated, done)
    return int(done)


def do_update(context: int, turn: int, piece: int, progress: int, count: int) -> None:
    """Do a piece of an update from where it has come, as long as no other thread goes on with it."""
    bank = bank_of(turn)
    own = context_of(context, bank, word(context, CONTEXT.thread))
    hold(own, piece, progress)
    run_piece(context, turn >> ATTEMPT_BITS, piece, bank, 0)
    if complete(own):
        finish(context, turn, count)


def how_far(context: int, count: int) -> int:
    """Return a number that changes whenever a piece of an update comes further."""
    found = 0
    for piece in range(count):
        found += load_atomic(progress_of(context, piece))
    return found


def take_over(context: int, turn: int, count: int) -> None:
    """Go on with the pieces of threads that are late."""
    for piece in range(count):
        progress = load_atomic(progress_of(context, piece))
        mine = 0
        if may_be_taken_over(progress, turn >> ATTEMPT_BITS):
            mine = exchange(progress_of(context, piece), progress, next_holder(progress))
        if mine:
            add_atomic(word(context, CONTEXT.turns) + TURN_WORDS.taken_over, 1)
            do_update(context, turn, piece, next_holder(progress), count)


def leave_to_others(mine: int, clock: int, now: int) -> None:
    """Leave the core to other threads, if there are any.

    Where there are none, this takes no time. Where another one computes, Linux (6.18) gives that the core for some
    milliseconds, and seems to count that against the thread that has left it. A thread that sleeps was seen to keep its
    share: once a core came back late, its thread sleeps for a while where it waits, and for longer if that happens
    again soon.
    """
    until, shared = word(mine + WORDS_OF_THREAD.sleeps_until, _HERE), word(mine + WORDS_OF_THREAD.sleeps_for, _HERE)
    if now < until:
        rest(_NAP)
    else:
        leave_core()
        if nanoseconds(clock) - now > _TAKEN:
            shared = min(_MOST_SHARED, 2 * shared) if now < until + _MOST_SHARED else _SHARED
            set_word(mine + WORDS_OF_THREAD.sleeps_for, _HERE, shared)
            set_word(mine + WORDS_OF_THREAD.sleeps_until, _HERE, now + shared)


def wait(context: int, turn: int, began: int, pieces: int, repeats: int, shared: int) -> None:
    """Wait until the last piece of a turn is done, repeat the phase, or go on with pieces that others are late with.

    A thread is late with a piece of an update if none comes further for longer than one took here.
    """
    mine, count = words_of(context, word(context, CONTEXT.thread)), pieces_of_phase(context, turn >> ATTEMPT_BITS)
    clock = mine + WORDS_OF_THREAD.clock
    spins, since, changed, before, worked = 0, 0, 0, 0, 0
    while is_over(context, turn) == 0:
        spins += 1
        if spins <= _SPINS:
            pause()
        else:
            now = nanoseconds(clock)
            if since == 0:
                since, changed, worked = now, now, now - began
            if shared:
                far = how_far(context, count)
                if far != before:
                    before, changed = far, now
                elif now - changed > (worked // pieces if pieces else _REPEATED):
                    take_over(context, turn, count)
                    changed = nanoseconds(clock)
                    since += changed - now  # that was no waiting
            elif repeats and now - since > worked // _PATIENCE and worked * word(context, CONTEXT.threads) < _REPEATED:
                since -= worked * repeat(context, turn)  # that is done again
            leave_to_others(mine, clock, now)
    if since:
        lost = word(mine + WORDS_OF_THREAD.lost, _HERE) + nanoseconds(clock) - since
        set_word(mine + WORDS_OF_THREAD.lost, _HERE, lost)


def take_pieces(context: int, turn: int, alone: int, shared: int) -> int:
    """Claim pieces and do them, until none is left; returns how many."""
    thread, threads = word(context, CONTEXT.thread), word(context, CONTEXT.threads)
    phase, bank = turn >> ATTEMPT_BITS, bank_of(turn)
    watched = turn if word(context, CONTEXT.banks) > 1 else 0
    count = pieces_of_phase(context, phase)
    first = thread * count // threads
    own = (thread + 1) * count // threads - first
    tried, done = 0, 0
    while tried < count and is_over(context, turn) == 0:
        if tried == own and alone == 0:
            wait_briefly(context, turn)
        piece = first + tried if first + tried < count else first + tried - count
        if claim(context, piece, turn):
            done += 1
            if shared:
                store_atomic(progress_of(context, piece), begin_of_phase(phase))
                do_update(context, turn, piece, begin_of_phase(phase), count)
            else:
                run_piece(context, phase, piece, bank, watched)
                finish(context, turn, count)
        tried += 1
    return done


def take_turn(context: int, turn: int) -> None:
    """Take part in a turn, or sleep while another thread works alone."""
    shared, thread, phase = word(context, CONTEXT.turns), word(context, CONTEXT.thread), turn >> ATTEMPT_BITS
    mine = words_of(context, thread)
    now = nanoseconds(mine + WORDS_OF_THREAD.clock)
    alone = 1 if now < load_atomic(shared + TURN_WORDS.alone_until) else 0
    if alone and thread != JUDGE:
        rest(_SLEEP)
    else:
        if thread == JUDGE:
            count_turn(context, phase, now, alone)
        repeats = 0
        if word(context, CONTEXT.banks) > 1:
            repeats = phase_of_rows(context, phase)
        if repeats:
            store_atomic(mine + WORDS_OF_THREAD.inside, bank_of(turn) + 1)
        shared_update = phase_of_shared_update(context, phase)
        done = take_pieces(context, turn, alone, shared_update)
        if repeats:
            store_atomic(mine + WORDS_OF_THREAD.inside, 0)
        wait(context, turn, now, done, repeats, shared_update)


def take_turns(context: int) -> None:
    """Take part in a whole run, as one of its threads."""
    last, given_up = phases_of_run(context), word(context, CONTEXT.turns) + TURN_WORDS.given_up
    turn = turn_now(context)
    while turn >> ATTEMPT_BITS < last and load_atomic(given_up) == 0:
        take_turn(context, turn)
        turn = turn_now(context)
    end_run(context)
