"""The calibration of a machine: measured prices by which ``backend="auto"`` chooses backend, device and threads.

The time of a job is estimated as a sum over `gdkernels.dispatch.workload.QUANTITIES`, each at a price in seconds that
was fitted to measurements. `gdkernels.bench.calibrating` makes a calibration, and this module reads and keeps it: a
JSON file for each kind of machine and precision in the user's cache folder, which is ignored once versions change.
Until there is one, gdkernels uses the table that it ships with. That was made elsewhere, with each backend's own rule
of threads.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from gdkernels.dispatch.workload import QUANTITIES
from gdkernels.errors import FileError
from gdkernels.system.atomic_files import write_atomically
from gdkernels.system.cache_folder import cache_folder, untrusted, unusable
from gdkernels.system.hashing import sha256
from gdkernels.system.machine import machine
from gdkernels.system.strict_json import loads

__all__ = ["Calibration", "Candidate", "current", "destination", "keep", "path", "shipped"]

_FORMAT = 1

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class Candidate:
    """A place where a job can run; threads of None means as many as the backend itself takes."""

    backend: str
    device: str
    threads: int | None = None

    def __str__(self) -> str:
        count = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.backend} on {self.device}{count}"


@dataclass(frozen=True)
class Calibration:
    """The prices of one precision on one machine.

    Attributes
    ----------
    prices
        For each candidate, seconds by quantity; missing quantities cost nothing.
    machine, versions
        The machine and the versions of the measurement.
    noise
        The share by which the median of repeated measurements was above the fastest, at the median of all.
    misfit
        For each candidate, the root mean square of the logarithm of estimated over measured times.
    date
        The day of the measurement.
    """

    precision: str
    prices: Mapping[Candidate, Mapping[str, float]]
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    noise: float
    misfit: Mapping[Candidate, float]
    date: str

    def seconds(self, candidate: Candidate, quantities: Mapping[str, float]) -> float:
        """Return the estimated seconds of a job of these quantities."""
        return sum(price * quantities[name] for name, price in self.prices[candidate].items())

    def as_json(self) -> str:
        candidates = [{**vars(c), "misfit": self.misfit[c], "seconds_per": dict(p)} for c, p in self.prices.items()]
        head = {"format": _FORMAT, "precision": self.precision, "date": self.date, "machine": dict(self.machine)}
        rest = {"versions": dict(self.versions), "noise": self.noise, "candidates": candidates}
        return json.dumps(head | rest, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Return what `as_json` wrote.

        Raises
        ------
        ValueError
            For anything else.
        """
        content = loads(text)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"it has format {content['format']!r}, not {_FORMAT}")
            prices, misfit = {}, {}
            for entry in content["candidates"]:
                candidate = Candidate(str(entry["backend"]), str(entry["device"]), _threads(entry["threads"]))
                prices[candidate] = {str(k): _price(v) for k, v in entry["seconds_per"].items()}
                misfit[candidate] = _price(entry["misfit"])
                if not set(prices[candidate]) <= set(QUANTITIES):
                    raise ValueError("it has prices of unknown quantities")
            return cls(
                content["precision"],
                prices,
                dict(content["machine"]),
                dict(content["versions"]),
                _price(content["noise"]),
                misfit,
                str(content["date"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it lacks what a calibration has ({type(error).__name__}: {error})") from error


def current(precision: str, versions: Mapping[str, str]) -> tuple[Calibration | None, str]:
    """Return the prices that hold here for `precision`, and their source; None if none are known.

    Parameters
    ----------
    versions
        The versions of what is installed; a calibration of others does not hold.
    """
    place = path(precision)
    try:
        changed = place.stat().st_mtime_ns
    except OSError:
        changed = None
    own = None if changed is None else _read(place, changed)
    if own is not None and own.precision == precision and own.machine == machine():
        if own.versions == versions:
            return own, "by the calibration of this machine"
        _say_outdated(place)
    return shipped(precision), "by the shipped table"


def destination(precision: str) -> Path:
    """Return the file for a new calibration; call this before you measure.

    Raises
    ------
    FileError
        If that cannot be written.
    """
    place = path(precision)
    if (problem := unusable(place.parent)) is not None:
        raise FileError(f"no calibration can be kept: {place.parent} {problem}; GDKERNELS_CACHE names another place")
    return place


def keep(calibration: Calibration) -> Path:
    """Write a calibration to where `current` finds it, and return the file.

    Raises
    ------
    FileError
        If that cannot be written.
    """
    place = destination(calibration.precision)
    write_atomically(place, lambda file: file.write(calibration.as_json().encode()), overwrite=True)
    return place


def path(precision: str) -> Path:
    """Return the path of this machine's calibration, whether it exists or not."""
    return _path(cache_folder(), tuple(machine().items()), precision)


@lru_cache(maxsize=16)  # each first fit of a network asks
def _path(folder: Path, kind: tuple[tuple[str, str | int], ...], precision: str) -> Path:
    digest = sha256(json.dumps(dict(kind)).encode()).hexdigest()[:12]
    return folder / f"calibration-{digest}-{precision}.json"


@cache
def shipped(precision: str) -> Calibration | None:
    """Return the table that comes with gdkernels, if there is one for `precision`."""
    from importlib.resources import files  # loads half of the standard library

    resource = files("gdkernels.dispatch") / "calibrations" / f"{precision}.json"
    return Calibration.from_json(resource.read_bytes()) if resource.is_file() else None


@cache
def _read(place: Path, changed: int) -> Calibration | None:
    """Return the calibration in a file, cached by its time of change, so that a bad file gives one warning."""
    try:
        problem = untrusted(place.parent)
        if problem is None:
            return Calibration.from_json(place.read_bytes())
        problem = f"its folder {problem}"
    except (OSError, ValueError) as error:
        problem = str(error)
    _log.warning("the calibration %s is ignored (%s); `gdkernels calibrate` makes a new one", place, problem)
    return None


@cache
def _say_outdated(place: Path) -> None:
    _log.warning("the calibration %s is of other versions, and ignored; `gdkernels calibrate` makes a new one", place)


def _price(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no price")
    return float(value)


def _threads(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{value!r} is no number of threads")
    return value
