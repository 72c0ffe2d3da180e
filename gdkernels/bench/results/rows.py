"""What a benchmark found, and the file that keeps it: one JSON object, described in benchmarks/results/README.md."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.results.decode import decode
from gdkernels.bench.checking import Proof
from gdkernels.bench.sampling.interleaving import interval, spread
from gdkernels.errors import FileError, InputError
from gdkernels.system.atomic_files import write_atomically

__all__ = ["FORMAT", "VERSION", "Case", "Ceiling", "FirstCall", "Repeat", "Results", "Row", "Run", "Target", "read"]

FORMAT = "gdkernels bench"
VERSION = 1


@dataclass(frozen=True)
class Case:
    """What is trained: a network, its batches and its data.

    Attributes
    ----------
    records
        In an epoch.
    data
        "standard normal", or the name of a table.
    """

    sizes: tuple[int, ...]
    batch: int
    records: int
    activation: str = "relu"
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    data: str = "standard normal"

    def __str__(self) -> str:
        of = "" if self.data == "standard normal" else f" on {self.data}"
        return f"{'-'.join(map(str, self.sizes))} × {self.batch}{of}"


@dataclass(frozen=True)
class Repeat:
    """The samples of one process.

    Attributes
    ----------
    seconds
        Of a call, in the order in which samples were taken.
    host_seconds
        The part of them until the library returned, before waiting for the device.
    calls
        That each sample is the mean of.
    before, after
        The error of the same work in the same process, before and after the sampling.
    clock_seconds, product_seconds
        What `gdkernels.bench.sampling.interference` read beside each sample; none on devices other than a CPU.
    """

    seconds: tuple[float, ...]
    host_seconds: tuple[float, ...]
    calls: tuple[int, ...]
    before: Proof
    after: Proof
    clock_seconds: tuple[float, ...] = ()
    product_seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """One contender at one piece of one case.

    Attributes
    ----------
    piece, placement
        "forward", "gradient", "update" or "epoch"; with data "resident", or "transfers" included.
    status, reason
        "measured"; "refused", for what makes its times worthless; or "skipped", for why there are none.
    origin, plan
        Where the running step came from, and every choice that can change its bits; None where unknown.
    records, flops, bytes_least
        Of one call: records gone through, FLOPs, and bytes that no execution can avoid to move.
    repeats
        One for each process; none unless it was measured.
    """

    case: Case
    piece: str
    placement: str
    contender: Contender
    status: str
    reason: str | None = None
    origin: str | None = None
    plan: dict[str, Any] | None = None
    records: int = 0
    flops: int = 0
    bytes_least: int = 0
    repeats: tuple[Repeat, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same row as one of another file."""
        return self.case, self.piece, self.placement, self.contender

    @property
    def medians(self) -> list[float]:
        """The median seconds of a call in each process."""
        return [statistics.median(r.seconds) for r in self.repeats]

    @property
    def seconds(self) -> float:
        """The median seconds of a call; of several processes, the median of their medians."""
        return statistics.median(self.medians)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the median of all samples."""
        return interval([s for r in self.repeats for s in r.seconds])

    @property
    def spread(self) -> float:
        """Half that interval, as a share of the median."""
        return spread([s for r in self.repeats for s in r.seconds])

    @property
    def host_seconds(self) -> float:
        return statistics.median(s for r in self.repeats for s in r.host_seconds)

    @property
    def samples_per_second(self) -> float:
        return self.records / self.seconds

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds

    @property
    def error(self) -> Proof:
        """The largest error, before or after sampling."""
        return max((p for r in self.repeats for p in (r.before, r.after)), key=lambda p: p.error)


@dataclass(frozen=True)
class Ceiling:
    """What a contender's library reached at most at something simple: FLOP/s of a product, bytes/s of a copy.

    Attributes
    ----------
    kind
        "product", by its namespace; "layer", the same as a network of one layer; "copy".
    size
        Rows and columns of the matrices, or the bytes that are copied.
    """

    contender: Contender
    kind: str
    size: int
    rate: float


@dataclass(frozen=True)
class FirstCall:
    """Seconds that come before the first result, in fresh processes.

    Attributes
    ----------
    import_seconds
        From the start of Python until the library is there and its device ready.
    compile_seconds, load_seconds
        Of binding the program with an empty cache, and with what that left there; None for peers.
    first_step_seconds, cached_first_step_seconds
        Of the first training step after either.
    """

    case: Case
    contender: Contender
    import_seconds: float
    compile_seconds: float | None
    load_seconds: float | None
    first_step_seconds: float
    cached_first_step_seconds: float


@dataclass(frozen=True)
class Run:
    """A training from the weights of one seed; its first epoch may include compiling.

    Attributes
    ----------
    value
        The loss or the accuracy at the end; None where it was not finite.
    """

    seed: int
    epoch_seconds: tuple[float, ...]
    reached: bool
    value: float | None


@dataclass(frozen=True)
class Target:
    """Training until a goal is reached: {"loss": L} or {"accuracy": A}, on the records that are trained on."""

    case: Case
    contender: Contender
    goal: dict[str, Any]
    runs: tuple[Run, ...] = ()
    reason: str | None = None

    @property
    def seconds(self) -> float | None:
        """The median seconds of training over the seeds, or None where one did not get there."""
        if not self.runs or not all(run.reached for run in self.runs):
            return None
        return statistics.median(sum(run.epoch_seconds) for run in self.runs)

    @property
    def epochs(self) -> float:
        return statistics.median(len(run.epoch_seconds) for run in self.runs)


@dataclass(frozen=True)
class Results:
    """A run of ``gdkernels bench``."""

    command: str
    date: str
    seconds: float
    settings: dict[str, Any]
    environment: dict[str, Any]
    rows: tuple[Row, ...]
    ceilings: tuple[Ceiling, ...] = ()
    first_calls: tuple[FirstCall, ...] = ()
    targets: tuple[Target, ...] = ()
    format: str = field(default=FORMAT)
    version: int = field(default=VERSION)

    def as_json(self) -> str:
        content = asdict(self)
        for row, found in zip(content["rows"], self.rows, strict=True):
            row["summary"] = _summary(found) if found.repeats else None
        return json.dumps(content, indent=1, allow_nan=False)

    def write(self, path: str | os.PathLike[str], *, overwrite: bool) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        FileError
            Where it exists already and `overwrite` is false, or cannot be written.
        """
        content = self.as_json().encode()
        write_atomically(path, lambda file: file.write(content), overwrite=overwrite)

    def ceiling(self, kinds: tuple[str, ...], device: str, precision: str) -> float:
        """Return the highest rate of these kinds that any contender reached on a device in a precision, or 0."""
        rates = [
            c.rate
            for c in self.ceilings
            if c.kind in kinds and (c.contender.device, c.contender.precision) == (device, precision)
        ]
        return max(rates, default=0.0)


def _summary(row: Row) -> dict[str, Any]:
    """Return what follows from the samples, for whoever reads the file without us."""
    low, high = row.interval
    return {
        "median_seconds": row.seconds,
        "interval_seconds": [low, high] if low > 0 else None,
        "samples_per_second": row.samples_per_second,
        "flops_per_second": row.flops_per_second,
        "error": row.error.error,
    }


def read(path: str | os.PathLike[str]) -> Results:
    """Return the results in a file.

    Raises
    ------
    FileError
        Where it cannot be read, is something else, is of a later version, or lacks something; it says what.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise FileError(f"{name} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{name} holds no benchmark results; `gdkernels bench --out FILE` writes them")
    version = content.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        advice = "update gdkernels to read it" if newer else "measure again"
        raise FileError(f"{name} has version {version!r} of the format, this gdkernels reads {VERSION}; {advice}")
    try:
        return decode(Results, content, "")
    except InputError as error:
        raise FileError(f"{name} is damaged: {error}") from error
