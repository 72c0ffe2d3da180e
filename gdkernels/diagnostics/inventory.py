"""An inventory of backends, and whether they work: the data behind ``python -m gdkernels backends``."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gdkernels.backend import Backend
from gdkernels.dispatch import choosing, registry
from gdkernels.errors import BackendError, GdkernelsError
from gdkernels.system.notebook import html_table

__all__ = ["BackendRecord", "DeviceRecord", "Report", "as_dicts", "lines", "report"]


@dataclass(frozen=True)
class DeviceRecord:
    """A device, after a small real training step on it.

    Attributes
    ----------
    error
        The largest relative error of the step against float64; None if the step failed.
    problem
        The problem, or None if the step is right.
    default
        Whether this is the default device.
    """

    name: str
    error: float | None
    problem: str | None
    default: bool


@dataclass(frozen=True)
class BackendRecord:
    """An installed backend.

    Attributes
    ----------
    source
        The distribution that brought it, with its version.
    priority, precisions
        None and empty if the plug-in could not be loaded.
    problem
        Why it cannot run here, with the fixing command; None if it can.
    devices
        Its devices, the default first; none if it cannot run.
    """

    name: str
    source: str
    priority: int | None
    precisions: tuple[str, ...]
    problem: str | None
    devices: tuple[DeviceRecord, ...]


class Report(tuple[BackendRecord, ...]):
    """The records of all installed backends; a notebook shows them as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return html_table(
            "Backends of gdkernels", ("backend", "device", "what a training step says", "from"), _rows(self)
        )


def report() -> Report:
    """Return a record of every installed backend, the highest priority first; each device does a training step.

    Raises
    ------
    BackendError
        If two distributions bring a backend of the same name.
    """
    found = [registry.prepared(each) for each in registry.find().values()]
    try:
        choice, _ = choosing.decide()
        default = (choice.backend.name, choice.device)
    except GdkernelsError:  # the environment names a backend that is not there, or nothing can run: no default
        default = ("", "")
    return Report(
        BackendRecord(
            name=f.name,
            source=f.source,
            priority=f.backend.priority if f.backend else None,
            precisions=tuple(f.backend.precisions) if f.backend else (),
            problem=f.problem,
            devices=tuple(
                _try(f.backend, device, default=(f.name, device) == default) for device in f.devices if f.backend
            ),
        )
        for f in found
    )


def _try(backend: Backend, device: str, *, default: bool) -> DeviceRecord:
    from gdkernels.backend.verification import self_test

    try:
        return DeviceRecord(device, self_test(backend, device), None, default)
    except BackendError as error:
        return DeviceRecord(device, None, str(error), default)


def lines(records: Sequence[BackendRecord]) -> list[str]:
    """Return the report as text: a line per device, or per backend that cannot run, in aligned columns."""
    rows = _rows(records)
    names, devices = _width(row[0] for row in rows), _width(row[1] for row in rows)
    return [f"{name:{names}}  {device:{devices}}  {text}  [{source}]" for name, device, text, source in rows]


def _rows(records: Sequence[BackendRecord]) -> list[tuple[str, str, str, str]]:
    """Return backend, device, result and source for each device, or each backend that cannot run."""
    rows = []
    for record in records:
        if record.problem is not None:
            rows.append((record.name, "-", record.problem, record.source))
        for device in record.devices:
            result = f"PASS (error {device.error:.1e})" if device.problem is None else f"FAIL: {device.problem}"
            rows.append((record.name, device.name, result + (", default" if device.default else ""), record.source))
    return rows


def as_dicts(records: Sequence[BackendRecord]) -> list[dict[str, Any]]:
    """Return the report as data for JSON."""
    return [asdict(record) for record in records]


def _width(words: Iterable[str]) -> int:
    return max(map(len, words), default=0)
