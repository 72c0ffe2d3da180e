"""The energy that a device takes: RAPL's counters of a processor, NVML's of an NVIDIA GPU.

A counter is the whole device's: it also counts what other processes make it do, and what it takes at rest.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

__all__ = ["EnergyMeter", "NoEnergyError", "NvmlMeter", "RaplMeter", "energy_meter"]

_POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"


class NoEnergyError(Exception):
    """Why nobody can tell the energy of a device here."""


class EnergyMeter(Protocol):
    """Counts the energy of a device."""

    def joules(self) -> float:
        """Return the joules since the last call, or since the meter was made."""


def energy_meter(device: str) -> EnergyMeter:
    """Return the meter of a device: "cpu", or "cuda:0".

    Raises
    ------
    NoEnergyError
        If its counters are missing or cannot be read; the message says which, and why.
    """
    return RaplMeter() if device == "cpu" else NvmlMeter(device)


class RaplMeter:
    """The processor's packages and their memory, by Linux's ``powercap``; AMD's counters have the name of Intel's.

    Parameters
    ----------
    folder
        Where the system shows the counters.
    """

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._zones = [_Zone(zone) for zone in _counted(folder)]

    def joules(self) -> float:
        """Return the joules of all packages since the last call.

        Raises
        ------
        NoEnergyError
            If a counter cannot be read any more.
        """
        return sum(zone.microjoules() for zone in self._zones) / 1e6


class _Zone:
    """A counter of microjoules that begins again at 0 when it has counted `max_energy_range_uj`."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = _whole(folder / "max_energy_range_uj")
        self._last = _whole(self._counter)

    def microjoules(self) -> int:
        """Return what was counted since the last call. A range lasts for minutes, and is passed at most once."""
        now = _whole(self._counter)
        passed = now - self._last if now >= self._last else now - self._last + self._range
        self._last = now
        return passed


def _counted(folder: Path) -> Sequence[Path]:
    """Return the packages, and the memory beside them; what lies within a package is counted there."""
    packages = sorted(folder.glob("intel-rapl:*"))
    names = {zone: _text(zone / "name") for zone in packages}
    found = [zone for zone, name in names.items() if name.startswith("package") or name == "dram"]
    if not found:
        raise NoEnergyError(f"{folder} shows no package: this machine has no RAPL, or keeps it from its guests")
    return found


def _whole(path: Path) -> int:
    try:
        return int(_text(path))
    except ValueError as error:
        raise NoEnergyError(f"{path} holds no number") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise NoEnergyError(f"{path} can be read by root alone (chmod a+r lets you)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NoEnergyError(f"{path} cannot be read ({error})") from error


class NvmlMeter:
    """An NVIDIA GPU, by the driver's library.

    Parameters
    ----------
    device
        "cuda:0".
    library
        NVML; None loads it.
    """

    def __init__(self, device: str, library: Any = None) -> None:
        try:
            self._nvml = ctypes.CDLL(_NVML) if library is None else library
        except OSError as error:
            raise NoEnergyError(f"{_NVML}, the library of NVIDIA's driver, cannot be loaded") from error
        self._ask("nvmlInit_v2")
        self._handle = ctypes.c_void_p()
        self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(self._index(device)), ctypes.byref(self._handle))
        self._last = self._millijoules()

    def joules(self) -> float:
        """Return the joules since the last call.

        Raises
        ------
        NoEnergyError
            If the driver does not tell any more.
        """
        before, self._last = self._last, self._millijoules()
        return (self._last - before) / 1e3

    def _millijoules(self) -> int:
        counted = ctypes.c_ulonglong()
        self._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle, ctypes.byref(counted))
        return counted.value

    def _index(self, device: str) -> int:
        """Return NVML's number of a device, which goes by the bus, as CUDA's numbers only do if somebody says so."""
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        if count.value == 1:
            return 0
        if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise NoEnergyError("CUDA_DEVICE_ORDER=PCI_BUS_ID is needed to tell which of several GPUs this is")
        number = int(device.removeprefix("cuda:"))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return number
        with suppress(ValueError, IndexError):
            return int(visible.split(",")[number])
        raise NoEnergyError(f"CUDA_VISIBLE_DEVICES={visible} names no number for {device}")

    def _ask(self, function: str, *arguments: Any) -> None:
        try:
            code = getattr(self._nvml, function)(*arguments)
        except AttributeError as error:
            raise NoEnergyError(f"NVIDIA's driver has no {function}: it is too old") from error
        if code:
            raise NoEnergyError(f"NVIDIA's driver answers {function} with error {code}")
