"""The memory of a session: its buffers, the numbers of a step, and the arrays of its caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels_cupy.graphs.calls import CONTROL
from gdkernels_cupy.graphs.operations import DeviceBuffer

__all__ = ["SUMS", "DeviceArray", "SessionAddresses"]

SUMS = 2  # of E and of the gradient's norm


@dataclass(frozen=True)
class DeviceArray:
    """An array of the caller's on the device: where it begins, and its records."""

    address: int
    records: int


@dataclass(frozen=True)
class SessionAddresses:
    """The addresses of a list's buffers and of the numbers of a step.

    Attributes
    ----------
    base, offsets
        Of the buffers.
    numbers, count
        Where the numbers are, and how many; after them come their float32 copies, two controls, and the sums.
    suffix
        Of the names of the buffers that are in another place in every second step.
    ahead
        Whether its control is that of what is gathered ahead of its step.
    """

    base: int
    offsets: Mapping[str, int]
    numbers: int
    count: int
    suffix: str = ""
    ahead: bool = False

    @property
    def control(self) -> int:
        return self.numbers + 12 * self.count + 8 * len(CONTROL) * self.ahead

    @property
    def sums_at(self) -> int:
        return self.numbers + 12 * self.count + 16 * len(CONTROL)

    def of(self, buffer: DeviceBuffer) -> int:
        return self.base + self.offsets.get(buffer.name + self.suffix, self.offsets[buffer.name])

    def number(self, cell: int) -> int:
        return self.numbers + 8 * cell

    def float32_number(self, cell: int) -> int:
        return self.numbers + 8 * self.count + 4 * cell

    @staticmethod
    def bytes(count: int) -> int:
        return 12 * count + 8 * (2 * len(CONTROL) + SUMS)
