"""Memory of a bound step: one block for everything, cut into matrices of panels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdkernels_numba.ir.format import GRANULE, LINE, PANEL_BYTES, Format, padded
from gdkernels_numba.vm.fields import StridedAddress

__all__ = ["Arena", "Matrix", "allocate", "panels_of", "pitch_of"]

_PAGE = 4096


def pitch_of(columns: int, format: Format) -> int:
    """Return the bytes from row to row of a matrix: only the last panel's columns are padded."""
    return PANEL_BYTES if columns > format.panel else padded(columns, format.padding) * format.size


def panels_of(columns: int, format: Format) -> int:
    return -(-columns // format.panel)


@dataclass(frozen=True)
class Matrix:
    """Panels of `rows` rows each, from `address`."""

    address: int
    rows: int
    columns: int
    pitch: int

    @property
    def panel(self) -> int:
        """Bytes from panel to panel."""
        return self.rows * self.pitch

    def strided(self, *, follows_rows: bool) -> StridedAddress:
        """Return its address for the interpreter. A matrix that holds only a tile begins anew with every tile."""
        return StridedAddress(self.address, self.pitch if follows_rows else 0, self.panel)

    def block(self, panel: int, row: int) -> int:
        """Return the address of a row of a panel."""
        return self.address + panel * self.panel + row * self.pitch


class Arena:
    """Addresses from `base` on, handed out in lines of the cache; with base 0 it only measures."""

    def __init__(self, format: Format, base: int = 0) -> None:
        self.format = format
        self._base = self._next = base

    @property
    def size(self) -> int:
        return self._next - self._base

    def take(self, size: int) -> int:
        """Return the address of `size` bytes."""
        address = self._next
        # An empty line between two pieces keeps their rows of equal number in different sets of the cache.
        self._next += -(-size // LINE) * LINE + LINE
        return address

    def matrix(self, rows: int, columns: int) -> Matrix:
        pitch = pitch_of(columns, self.format)
        return Matrix(self.take(panels_of(columns, self.format) * rows * pitch), rows, columns, pitch)

    def left(self, rows: int, depth: int) -> Matrix:
        """Return room for a left operand in bfloat16: panels a line wide."""
        rows, panels = padded(rows, GRANULE), -(-depth // GRANULE)
        return Matrix(self.take(panels * rows * LINE), rows, depth, LINE)

    def right(self, depth: int, columns: int) -> Matrix:
        """Return room for a right operand in bfloat16: a row for every two of `depth`."""
        return self.matrix(padded(depth, GRANULE) // 2, columns)


def allocate(size: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Return zeroed memory and the address in it, at the beginning of a page, from which it has `size` bytes."""
    memory = np.zeros(size + _PAGE, np.uint8)
    return memory, memory.ctypes.data + -memory.ctypes.data % _PAGE
