"""A `where` that does not branch.

NumPy's own `where` branches for each element, and the processor mispredicts the signs of activations: it takes 240 µs
for 256 × 256 random float32 numbers, as long as the product beside it. Selecting by masks of bits takes 10 to 40 µs and
gives the same bits.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["where"]

_SMALL = 2048  # elements below which jumping costs less than calling

_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


def where(condition: Any, a: Any, b: Any, /) -> Any:
    """Return `a` where `condition` holds and `b` elsewhere, to the bit."""
    if getattr(condition, "size", 0) < _SMALL:
        # A single record notices how long `np.where` takes to make an array of a number.
        plain = type(a) is float and type(b) is type(condition) is np.ndarray
        if plain and b.dtype in _BITS and b.shape == condition.shape:
            small = b.copy()
            np.putmask(small, condition, a)
            return small
        return np.where(condition, a, b)
    dtype = next((v.dtype for v in (a, b) if isinstance(v, np.ndarray)), None)
    bits = None if dtype is None else _BITS.get(dtype)
    if bits is None or not isinstance(condition, np.ndarray) or condition.dtype != np.bool_:
        return np.where(condition, a, b)
    if any(isinstance(v, np.ndarray) and v.dtype != dtype for v in (a, b)):
        return np.where(condition, a, b)
    true = condition.view(np.int8)  # 0 or 1; widened with its sign, its negative is no bits or all
    if _is_zero(a):
        chosen: npt.NDArray[Any] = np.bitwise_and(true - np.int8(1), _as_bits(b, dtype, bits))
    elif _is_zero(b):
        chosen = np.bitwise_and(-true, _as_bits(a, dtype, bits))
    else:
        other = _as_bits(b, dtype, bits)
        chosen = np.bitwise_xor(np.bitwise_and(np.bitwise_xor(_as_bits(a, dtype, bits), other), -true), other)
    return chosen.view(dtype)


def _is_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0 and not np.signbit(value)


def _as_bits(value: Any, dtype: Any, bits: Any) -> Any:
    return np.asarray(value, dtype=dtype).view(bits)
