"""Problems of an installation, each with its fix: the data behind ``gdkernels doctor``."""

from __future__ import annotations

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from gdkernels.diagnostics import inventory
from gdkernels.dispatch import choosing
from gdkernels.errors import GdkernelsError, InputError
from gdkernels.system import machine, thread_limits, threads
from gdkernels.system.cache_contents import read_cache
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.control_groups import cpu_quota

__all__ = ["Diagnosis", "examine", "lines"]

_LITTLE_SPACE = 1 << 30
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", thread_limits.VARIABLE)

# Distributions of which only one may be installed: they bring the same package.
_ONE_OF = (("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x"),)


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes
    ----------
    level
        "ok"; "note", good to know; or "problem", with the fix.
    """

    subject: str
    level: str
    text: str


def examine() -> list[Diagnosis]:
    """Look at versions, backends, caches, threads and space; each device does a small training step."""
    return [*_machine(), *_versions(), *_choice(), *_backends(), *_cache(), *_threads(), *_space()]


def lines(diagnoses: list[Diagnosis]) -> list[str]:
    """Return the report as aligned text, problems marked."""
    width = max(len(d.subject) for d in diagnoses)
    marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
    return [f"{marks[d.level]}  {d.subject:{width}}  {d.text}" for d in diagnoses]


def _machine() -> Iterator[Diagnosis]:
    yield Diagnosis("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _versions() -> Iterator[Diagnosis]:
    """Compare the installed versions with those that this version of gdkernels requires."""
    yield Diagnosis("gdkernels", "ok", metadata.version("gdkernels"))
    extras = ("", *(metadata.metadata("gdkernels").get_all("Provides-Extra") or ()))
    installed: dict[str, str] = {}
    for wish in map(Requirement, metadata.requires("gdkernels") or ()):
        applies = [extra for extra in extras if wish.marker is None or wish.marker.evaluate({"extra": extra})]
        if wish.name == "gdkernels" or not applies:
            continue
        version, needed = _version(wish.name), f"{wish.name}{wish.specifier}"
        if version is not None:
            installed[wish.name] = version
            if not _satisfies(version, wish):
                yield Diagnosis(wish.name, "problem", f"{version} is too old: pip install --upgrade '{needed}'")
        elif "" in applies:
            yield Diagnosis(wish.name, "problem", f"is not installed: pip install '{needed}'")
    for rivals in _ONE_OF:
        several = [name for name in rivals if _version(name)]
        if len(several) > 1:
            yield Diagnosis(
                several[0], "problem", f"{' and '.join(several)} bring the same package: pip uninstall all but one"
            )
    yield Diagnosis("packages", "ok", ", ".join(f"{name} {version}" for name, version in sorted(installed.items())))


def _choice() -> Iterator[Diagnosis]:
    """Say which backend and device are the default."""
    try:
        choice, warnings = choosing.decide()
    except GdkernelsError as error:
        yield Diagnosis("default", "problem", str(error))
        return
    yield Diagnosis("default", "ok", f"{choice.backend.name} on {choice.device}: {choice.reason}")
    for warning in warnings:
        yield Diagnosis("default", "problem", warning)


def _backends() -> Iterator[Diagnosis]:
    for record in inventory.report():
        if record.problem is not None:
            yield Diagnosis(record.name, "note", record.problem)
        for device in record.devices:
            name = f"{record.name} {device.name}"
            if device.problem is None:
                yield Diagnosis(name, "ok", f"a training step is right, within {device.error:.1e} of float64")
            else:
                yield Diagnosis(name, "problem", f"{device.problem}; update {record.source}, or use another --backend")


def _cache() -> Iterator[Diagnosis]:
    folder = cache_folder()
    problem = unusable(folder)
    if problem is None:
        size = sum(entry.bytes for entry in read_cache())
        yield Diagnosis("cache", "ok", f"{folder}, {size / 1e6:.1f} MB")
    else:
        yield Diagnosis(
            "cache",
            "problem",
            f"{folder} {problem}, so each process compiles anew; GDKERNELS_CACHE names another place",
        )


def _threads() -> Iterator[Diagnosis]:
    from threadpoolctl import threadpool_info

    cores = machine.cores()
    set_ = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    said = "".join(f", {name}={value}" for name, value in set_.items())
    with suppress(InputError):  # the variable is among those below
        bound = threads.thread_bound()
        yield Diagnosis("threads", "ok", f"{threads.in_words(bound.threads, None, bound)} at most{said}")
    for name, value in set_.items():
        if not (value.isdigit() and int(value) > 0):
            yield Diagnosis("threads", "problem", f"{name}={value!r} is no number of threads: unset it or set a number")
    for library in threadpool_info():
        if library["num_threads"] > cores:
            name, count = library["internal_api"], library["num_threads"]
            text = f"{name} starts {count} threads on {cores} cores, and they wait for each other"
            yield Diagnosis("threads", "problem", f"{text}: export OMP_NUM_THREADS={cores}")
    quota = cpu_quota()
    if quota is not None and quota < cores:
        text = f"this container gets {quota:g} cores' time but sees {cores}; gdkernels goes by that"
        fitting = max(1, math.ceil(quota))
        yield Diagnosis("threads", "note", f"{text}, and other libraries would if you export OMP_NUM_THREADS={fitting}")


def _space() -> Iterator[Diagnosis]:
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        yield Diagnosis("space", "problem", f"{error.strerror}: set TMPDIR to a folder that can be written")
        return
    free = shutil.disk_usage(folder).free
    level = "note" if free < _LITTLE_SPACE else "ok"
    yield Diagnosis("space", level, f"{free / 1e9:.1f} GB free in {folder}, where temporary files go")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _satisfies(version: str, wish: Requirement) -> bool:
    """Return whether a version is one that a requirement, which is a lower bound, allows."""
    try:
        return wish.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # it cannot be compared
        return True
