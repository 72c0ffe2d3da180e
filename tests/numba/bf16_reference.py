"""The forms of operands in bfloat16, and products of them, written down in NumPy."""

import numpy as np
from gdkernels_numba.ir.format import GRANULE, LINE, PANEL_BYTES

WORDS = LINE // 4  # pairs in a row of a left operand's panel


def rounded(a):
    """Return float32 numbers as the bits of the nearest bfloat16, ties to even; denormals are zero."""
    bits = np.ascontiguousarray(flushed(a), np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def flushed(a):
    return np.where(np.abs(a) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), a), a)


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def padded(a):
    """Return `a` with zeros up to multiples of 32 in both directions."""
    return np.pad(a, [(0, -n % GRANULE) for n in a.shape])


def pairs_along_rows(a):
    """Return [rows, columns/2] words: two neighbours in a row, the left one in the lower half."""
    return rounded(padded(a)).view(np.uint32)


def left_form(a):
    """Return the words as a left operand keeps them: panels of a line, each its rows one after the other."""
    words = pairs_along_rows(a)
    return words.reshape(len(words), -1, WORDS).transpose(1, 0, 2)


def right_form(a):
    """Return the words as a right operand keeps them: pairs of rows, in panels of at most 64 columns."""
    words = pairs_along_rows(a.T).T
    width = min(words.shape[1], PANEL_BYTES // 4)
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % width)))
    return words.reshape(len(words), -1, width).transpose(1, 0, 2)


def product_of_vectors(left, right, start):
    """Return start + left · right, [rows, words] by [words, columns], as VDPBF16PS sums: upper halves first.

    Products are exact in float32, and each sum is rounded to it.
    """
    total = np.array(start, np.float32)
    for k in range(left.shape[1]):
        for upper in (True, False):
            total = _added(total, left, right, k, upper)
    return total


def product_of_tiles(left, right, start):
    """Return the same as TDPBF16PS sums: upper and lower halves of 16 words apart; denormals are zero."""
    total = flushed(np.asarray(start, np.float32))
    for begin in range(0, left.shape[1], WORDS):
        sums = {}
        for upper in (True, False):
            sums[upper] = np.zeros_like(total)
            for k in range(begin, min(begin + WORDS, left.shape[1])):
                sums[upper] = _added(sums[upper], left, right, k, upper)
        total = total + (sums[True] + sums[False])
    return total


def _added(total, left, right, k, upper):
    a, b = (widened((words >> (16 * upper)).astype(np.uint16)).astype(np.float64) for words in (left[:, k], right[k]))
    return (total + a[:, None] * b).astype(np.float32)
