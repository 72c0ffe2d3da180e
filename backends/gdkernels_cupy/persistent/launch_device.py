"""The interface through which the executable uses a device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["CompiledText", "DeviceProperties", "LaunchDevice", "LoadedKernels"]


@dataclass(frozen=True)
class DeviceProperties:
    """The properties of a device.

    Attributes
    ----------
    capability
        Its compute capability, such as 90.
    shared_bytes
        What a CTA can have of shared memory when it asks.
    """

    capability: int
    shared_bytes: int


class CompiledText(Protocol):
    """What a device needs to know of a source.

    Attributes
    ----------
    main
        The kernel whose registers and CTAs matter.
    signatures
        The parameters of each kernel.
    """

    @property
    def text(self) -> str: ...

    @property
    def main(self) -> str: ...

    @property
    def signatures(self) -> Mapping[str, str]: ...

    @property
    def warps(self) -> int: ...

    @property
    def shared_bytes(self) -> int: ...


class LoadedKernels(Protocol):
    """A source, compiled."""

    def resident(self) -> int:
        """Return how many CTAs of the main kernel the device runs at the same time."""

    def local_bytes(self) -> int:
        """Return the bytes that a thread of the main kernel has outside of its registers: what it spills."""

    def launch(self, name: str, ctas: int, shared_bytes: int, arguments: Sequence[Any], *, together: bool) -> None:
        """Start a kernel; if `together`, all its CTAs run at the same time."""


class LaunchDevice(Protocol):
    """A device with arrays of its own."""

    properties: DeviceProperties

    def compile(self, source: CompiledText) -> LoadedKernels:
        """Return the kernels of a source."""

    def contiguous(self, a: Any) -> Any:
        """Return `a` as float32 in rows, itself if it is so."""

    def copy(self, a: Any) -> Any:
        """Return a copy of `a` as float32 in rows."""

    def put(self, a: npt.NDArray[Any]) -> Any:
        """Return a copy of a host array on the device."""

    def zeros(self, count: int, dtype: str) -> Any:
        """Return an array of so many zeros."""

    def to_numpy(self, a: Any) -> npt.NDArray[Any]:
        """Return an array on the host."""

    def address(self, a: Any) -> int:
        """Return where an array is on the device."""

    def wait(self) -> None:
        """Wait until all that was launched is done."""

    def describe(self) -> Any:
        """Return what results depend on here, as JSON can hold it."""
