"""Host arrays as users have them: with gaps between the columns, or of a library that NumPy does not know."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OnlyDLPack", "with_gaps"]


def with_gaps(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view with the values of `a` in every second column of a larger array."""
    return np.repeat(a, 2, axis=1)[:, ::2]


class OnlyDLPack:
    """An array of a library that NumPy knows nothing about."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._values.__dlpack_device__()
