"""Memory on the device: matrices and vectors with a pitch, and spans of several."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["BYTES", "PITCH", "TERMS", "DeviceBuffer", "Span", "matrix", "padded", "vector", "with_border"]

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "uint8": 1}

# The parts in bfloat16 that a float32 bias is the sum of, so the ones that stand beside what its weights multiply.
TERMS = 3

# Elements that a thread takes at once; 16 bytes of the narrowest storage, so that every row can be loaded in vectors.
PITCH = 8


@dataclass(frozen=True)
class DeviceBuffer:
    """A matrix on the device: `pitch` elements from row to row; a vector is one row."""

    name: str
    rows: int
    columns: int
    pitch: int
    storage: str

    @property
    def bytes(self) -> int:
        return self.rows * self.pitch * BYTES[self.storage]


def matrix(name: str, rows: int, columns: int, storage: str) -> DeviceBuffer:
    """Return a matrix whose rows begin where vector loads may."""
    return DeviceBuffer(name, rows, columns, -(-columns // PITCH) * PITCH, storage)


def padded(columns: int) -> int:
    """Return the columns of a matrix to whose right there is a border of ones, and zeros up to where vectors end."""
    return -(-(columns + TERMS) // PITCH) * PITCH


def with_border(buffer: DeviceBuffer) -> DeviceBuffer:
    """Return the same memory with all the columns that it has."""
    return replace(buffer, columns=buffer.pitch)


def vector(name: str, size: int, storage: str) -> DeviceBuffer:
    return matrix(name, 1, size, storage)


@dataclass(frozen=True)
class Span:
    """Some numbers of buffers that lie one behind the other in memory, from the `first` of the first buffer on."""

    buffers: tuple[DeviceBuffer, ...]
    first: int
    count: int

    @property
    def storage(self) -> str:
        return self.buffers[0].storage

    @property
    def bytes(self) -> int:
        return self.count * BYTES[self.storage]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.buffers)

    @property
    def writes(self) -> tuple[tuple[str, int], ...]:
        return tuple((b.name, b.bytes) for b in self.buffers)
