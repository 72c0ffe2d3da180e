"""The namespace of the NumPy backend: that of array-api-compat, with a faster `where`, and NumPy's own `matmul`.

That of array-api-compat calls this one; a prediction of one record notices.

Write nothing else here: the functions of the standard would hide Python's own `any`, `all` and `abs`.
"""

from typing import Any

import array_api_compat.numpy
from numpy import matmul

from gdkernels_numpy.select import where

__all__ = ["matmul", "where"]  # the rest is found by name, as in any namespace


def __getattr__(name: str) -> Any:
    member = getattr(array_api_compat.numpy, name)
    globals()[name] = member  # found at once the next time
    return member
