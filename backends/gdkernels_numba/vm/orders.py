"""The orders of epochs, drawn as NumPy draws them, to the bit: a `SeedSequence`, a PCG64, and a shuffle from the end.

NumPy takes about five times as long, and holds Python's lock. `gdkernels_numba.orders` compares some orders with
NumPy's before any is used. Numbers of 32 bits stand in the lower half of a word, so that they are never negative.
"""

from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.intrinsics import add_wide, next_of_pcg64, set_word, word
from gdkernels_numba.vm.job_fields import DRAWING, POOL

__all__ = ["draw_orders"]

_HALF = 32  # bits
_LOWER = (1 << _HALF) - 1
_FILL, _FILL_TIMES = 0x43B0D7E5, 0x931E8875  # of the hash that fills the pool of a `SeedSequence`
_EMPTY, _EMPTY_TIMES = 0x8B51F9DD, 0x58F38DED  # of the one that makes words of it
_LEFT, _RIGHT = 0xCA01F9DD, 0x4973F715
_WORDS, _INCREMENT = 4, 2  # of a PCG64: its state, then its increment, each the lower word first


def hashed(value: int, constant: int, times: int) -> int:
    """Return the hash of a number by a constant, which is then multiplied for the next one."""
    product = (value ^ constant) * (constant * times & _LOWER) & _LOWER
    return product ^ product >> 16


def mix_in(pool: int, k: int, value: int) -> None:
    """Mix a hash into a number of the pool."""
    difference = _LEFT * word(pool, k) - _RIGHT * value & _LOWER
    set_word(pool, k, difference ^ difference >> 16)


def fill_pool(pool: int, entropy: int, count: int) -> None:
    """Mix the numbers of a seed into a pool, each with all others."""
    constant = _FILL
    for k in range(POOL):
        set_word(pool, k, hashed(word(entropy, k), constant, _FILL_TIMES))
        constant = constant * _FILL_TIMES & _LOWER
    for source in range(POOL):
        for target in range(POOL):
            if source != target:
                mix_in(pool, target, hashed(word(pool, source), constant, _FILL_TIMES))
                constant = constant * _FILL_TIMES & _LOWER
    for further in range(POOL, count):
        for target in range(POOL):
            mix_in(pool, target, hashed(word(entropy, further), constant, _FILL_TIMES))
            constant = constant * _FILL_TIMES & _LOWER


def seed_generator(generator: int, pool: int) -> None:
    """Make a PCG64 of a pool, which is hashed into its words: of each number, the upper one comes first."""
    constant = _EMPTY
    for k in range(_WORDS):
        low = hashed(word(pool, 2 * k & POOL - 1), constant, _EMPTY_TIMES)
        constant = constant * _EMPTY_TIMES & _LOWER
        high = hashed(word(pool, 2 * k + 1 & POOL - 1), constant, _EMPTY_TIMES)
        constant = constant * _EMPTY_TIMES & _LOWER
        set_word(generator, k ^ 1, low + (high << _HALF))
    increment = generator + WORD * _INCREMENT
    add_wide(increment, increment)
    set_word(increment, 0, word(increment, 0) + 1)
    add_wide(generator, increment)
    next_of_pcg64(generator)


def shuffle(rows: int, records: int, generator: int) -> None:
    """Write a permutation of the numbers below `records`, of which there are fewer than 2³².

    NumPy draws as many bits as the last place has that is left, and draws again where they lead beyond it. That is so
    often the case that no branch can foresee it: here, such a draw exchanges the last place with itself.
    """
    for k in range(records):
        set_word(rows, k, k)
    last, mask = records - 1, 1
    while mask < last:
        mask = 2 * mask + 1
    while last > 0:
        drawn = next_of_pcg64(generator)
        for _ in range(2):
            place = drawn & mask
            among = place <= last
            place = place if among else last
            row = word(rows, place)
            set_word(rows, place, word(rows, last))
            set_word(rows, last, row)
            last -= among
            mask = mask >> 1 if last <= mask >> 1 else mask
            drawn = drawn >> _HALF & _LOWER


def draw_orders(drawing: int) -> None:
    """Write the orders of some epochs, one after the other."""
    records, rows = word(drawing, DRAWING.records), word(drawing, DRAWING.orders)
    entropy, count = word(drawing, DRAWING.entropy), word(drawing, DRAWING.entropy_count)
    pool = word(drawing, DRAWING.room)
    generator = pool + WORD * POOL
    for k in range(word(drawing, DRAWING.epochs)):
        set_word(entropy, word(drawing, DRAWING.epoch_at), word(drawing, DRAWING.epoch) + k)
        fill_pool(pool, entropy, count)
        seed_generator(generator, pool)
        shuffle(rows, records, generator)
        rows += WORD * records
