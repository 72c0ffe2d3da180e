"""Plain decimals, such as ``-12.50``, many at once: the very numbers that float() makes of them, several times faster.

Here belongs what makes numbers of the bytes of figures. What else a cell may be, and what cells mean, does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdkernels.tables.column.column_data import Floats

__all__ = ["Decimals", "decimals"]

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_AT_ONCE = 8192  # cells: their arrays stay in a processor's cache
_WORD, _WORDS = 8, 2  # figures in a word, and words at most: a longer number is left to float()
_BEFORE = _WORD * _WORDS  # bytes in front of the text, as a word is read backwards from its last figure

_ZERO, _POINT, _MINUS, _PLUS = (np.uint8(ord(sign)) for sign in "0.-+")
_EXACT = np.uint64(2**53)  # float64 holds all whole numbers up to this one,
_POWERS = 10.0 ** np.arange(_BEFORE + 1)  # and these: a quotient of two is rounded once, as float() does it
_TENS = np.array([10**k for k in range(_BEFORE + 1)], np.uint64)
# By how many figures a word has: a mask of their bytes, which are its last ones.
_FIGURES = np.array([(2**64 - 1) ^ (2 ** (8 * (_WORD - k)) - 1) for k in range(_WORD + 1)], np.uint64)


def _each(byte: int) -> np.uint64:
    """Return the word with this byte eight times."""
    return np.uint64(int.from_bytes(bytes([byte] * _WORD), "little"))


_ZEROS, _ABOVE_NINE, _HIGHEST = _each(ord("0")), _each(0x80 - 10), _each(0x80)
# Of four pairs of figures, the first and the third, and what they and the others are multiplied by, above each other.
_EVEN_PAIRS = np.uint64(0xFF | 0xFF << 32)
_OF_EVEN, _OF_ODD = np.uint64(100 | 1_000_000 << 32), np.uint64(1 | 10_000 << 32)


@dataclass(frozen=True)
class Decimals:
    """The cells of a text as numbers.

    Attributes
    ----------
    values
        NaN where a cell is no plain decimal of at most so many figures.
    others
        The numbers of those cells, ascending.
    starts, ends
        The places in the text where each cell begins and ends.
    padded
        Whether a cell begins with a zero before another figure, after a sign or none.
    """

    values: Floats
    others: Places
    starts: Places
    ends: Places
    padded: bool


def decimals(text: str) -> Decimals:
    """Return the numbers that cells of ASCII spell, which have NUL between them.

    A plain decimal has figures, and may have a sign before and a point among them.
    """
    bytes_ = np.frombuffer(b"\0" * _BEFORE + text.encode("ascii") + b"\0", np.uint8)
    starts, points, ends = _bounds(bytes_[_BEFORE:], has_points="." in text)
    values, padded = np.empty(len(ends)), False
    others: list[Places] = []
    for first in range(0, len(ends), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        begin = int(starts[first])
        piece = bytes_[begin : int(ends[rows][-1]) + _BEFORE + 1]
        values[rows], wrong, zeros = _values(piece, *(at[rows] - (begin - _BEFORE) for at in (starts, points, ends)))
        if len(wrong):
            others.append(wrong + first)
        padded = padded or zeros
    return Decimals(values, np.concatenate(others) if others else np.empty(0, np.int64), starts, ends, padded)


def _bounds(text: Bytes, *, has_points: bool) -> tuple[Places, Places, Places]:
    """Return where each cell begins, where its last point is, or its end where it has none, and where it ends."""
    if has_points:
        marks = np.flatnonzero((text == 0) | (text == _POINT))
        last = np.flatnonzero(text.take(marks) == 0)
        ends = marks.take(last)
        before = marks.take(last - 1, mode="wrap")  # before the first mark comes the last one, which is no point
        points = np.where(text.take(before) == _POINT, before, ends)
    else:
        points = ends = np.flatnonzero(text == 0)
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    return starts, points, ends


def _values(bytes_: Bytes, starts: Places, points: Places, ends: Places) -> tuple[Floats, Places, bool]:
    """Return the numbers of some cells, which are none, and whether one begins with a zero before another figure."""
    signs = bytes_.take(starts)
    negative = signs == _MINUS
    starts += negative | (signs == _PLUS)
    zeros = np.flatnonzero(bytes_.take(starts) == _ZERO)
    padded = bool((bytes_.take(starts.take(zeros) + 1) - _ZERO < 10).any())
    figures = points - starts
    windows = np.ascontiguousarray(np.ndarray((len(bytes_) - _WORD + 1,), np.dtype("<u8"), bytes_, strides=(1,)))
    whole, bad = _whole(windows, points, figures)
    if points is not ends and (places := np.maximum(ends - points - 1, 0)).any():
        fraction, bad_fraction = _whole(windows, ends, places)
        whole *= _TENS.take(places, mode="clip")
        whole += fraction
        bad |= bad_fraction
        figures += places
        values = whole.astype(np.float64)
        values /= _POWERS.take(places, mode="clip")
    else:
        values = whole.astype(np.float64)
    values.view(np.uint64)[:] |= negative.astype(np.uint64) << np.uint64(63)  # the sign, of a zero too
    wrong = np.flatnonzero((bad != 0) | (figures - 1 >= _BEFORE) | (figures < 1) | (whole > _EXACT))
    values[wrong] = np.nan
    return values, wrong, padded


def _whole(windows: Words, ends: Places, figures: Places) -> tuple[Words, Words]:
    """Return the whole numbers of so many figures before `ends`, and words that are not 0 where a figure is none."""
    whole, bad = _word(windows, ends, figures)
    for before in range(_WORD, min(int(figures.max()), _BEFORE), _WORD):
        more, bad_too = _word(windows, ends - before, figures - before)
        more *= _TENS[before]
        whole += more
        bad |= bad_too
    return whole, bad


def _word(windows: Words, ends: Places, figures: Places) -> tuple[Words, Words]:
    """Return what `_whole` does of the last eight figures at most."""
    word = windows.take(ends - _WORD).astype(np.uint64, copy=False)
    word ^= _ZEROS  # a figure becomes its value
    word &= _FIGURES.take(figures, mode="clip")
    bad = word + _ABOVE_NINE
    bad &= _HIGHEST
    # By twos, by fours, then all eight; the first figure is in the lowest byte.
    pairs = word * np.uint64(10)
    word >>= np.uint64(8)
    pairs += word
    high = pairs >> np.uint64(16)
    pairs &= _EVEN_PAIRS
    pairs *= _OF_EVEN
    high &= _EVEN_PAIRS
    high *= _OF_ODD
    pairs += high
    pairs >>= np.uint64(32)
    return pairs, bad
