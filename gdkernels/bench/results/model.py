"""The results of a benchmark: its rows, ceilings, first calls and trainings to a target.

`gdkernels.bench.results.file` writes and reads them.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Any

from gdkernels.bench.checking import DefinitionCheck
from gdkernels.bench.participants.networks import CHAIN, in_words
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.participants.stages import PlacedStage
from gdkernels.bench.sampling.statistics import interval, spread

__all__ = [
    "BenchCase",
    "BenchResults",
    "BenchRow",
    "Ceiling",
    "FirstCall",
    "ProcessSamples",
    "SeedRun",
    "TargetTraining",
]


@dataclass(frozen=True)
class BenchCase:
    """A network with its batches and its data.

    Attributes
    ----------
    records
        The records of an epoch.
    data
        "standard normal", or the name of a table.
    network
        What is made of the layers: one of `gdkernels.bench.participants.networks.NETWORKS`.
    """

    sizes: tuple[int, ...]
    batch: int
    records: int
    activation: str = "relu"
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    data: str = "standard normal"
    network: str = CHAIN  # in results of a version that knew no others

    def __str__(self) -> str:
        of = "" if self.data == "standard normal" else f" on {self.data}"
        return f"{in_words(self.sizes, self.network)} × {self.batch}{of}"


@dataclass(frozen=True)
class ProcessSamples:
    """The samples of one process.

    Attributes
    ----------
    seconds
        The seconds of a call, in the order of the samples.
    host_seconds
        The part of them until the library returned, before waiting for the device.
    calls
        The calls that each sample is the mean of.
    before, after
        The error of the same work in the same process, before and after the sampling.
    clock_seconds, product_seconds
        The readings of the interference probe beside each sample; empty on devices other than a CPU.
    joules
        The energy of a call in each sample; empty where nobody can tell.
    no_energy
        Why nobody can tell; None where it was measured, or in results of a version that did not try.
    exchange_seconds
        The part of each sample in which ranks exchanged sums; empty where there is one process.
    """

    seconds: tuple[float, ...]
    host_seconds: tuple[float, ...]
    calls: tuple[int, ...]
    before: DefinitionCheck
    after: DefinitionCheck
    clock_seconds: tuple[float, ...] = ()
    product_seconds: tuple[float, ...] = ()
    joules: tuple[float, ...] = ()
    no_energy: str | None = None
    exchange_seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class BenchRow:
    """One participant at one stage of one case.

    Attributes
    ----------
    stage, placement
        "forward", "gradient", "update" or "epoch"; with data "resident", or "transfers" included.
    status, reason
        "measured"; "refused", with what makes its times worthless; or "skipped", with why there are none.
    origin, plan
        Whether the step was compiled or is the definition, and every choice that can change its bits; None if unknown.
    records, flops, bytes_least
        Of one call: its records, its FLOPs, and the bytes that every execution has to move.
    repeats
        The samples of each process; empty unless it was measured.
    busy
        The processes that kept cores busy meanwhile.
    """

    case: BenchCase
    stage: str
    placement: str
    participant: Participant
    status: str
    reason: str | None = None
    origin: str | None = None
    plan: dict[str, Any] | None = None
    records: int = 0
    flops: int = 0
    bytes_least: int = 0
    repeats: tuple[ProcessSamples, ...] = ()
    busy: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        """Rows of two files with the same key are the same row."""
        return *self.group, self.participant

    @property
    def group(self) -> tuple[Any, ...]:
        """Rows of a file with the same group are participants at the same work."""
        return self.case, *self.kind

    @property
    def kind(self) -> tuple[str, str, int]:
        """What is done beside what, whatever the network."""
        return self.stage, self.placement, self.busy

    @property
    def done(self) -> str:
        """What is done, in words."""
        return f"{self.stage}{', transfers included' * (self.placement == 'transfers')}{self.beside}"

    @property
    def beside(self) -> str:
        """The busy processes beside it, in words that follow others."""
        return f", beside {self.busy} busy process{'es' * (self.busy > 1)}" if self.busy else ""

    @property
    def placed(self) -> PlacedStage:
        return PlacedStage(self.stage, self.placement)

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
    def joules(self) -> float | None:
        """The energy of a call, over all calls of all samples: counters step too coarsely for a median of these."""
        known = [r for r in self.repeats if r.joules]
        calls = sum(sum(r.calls) for r in known)
        return sum(j * n for r in known for j, n in zip(r.joules, r.calls, strict=True)) / calls if calls else None

    @property
    def communication(self) -> float | None:
        """The share of the time in which ranks exchange sums, or wait for each other's; None for a process alone."""
        shares = [e / s for r in self.repeats for e, s in zip(r.exchange_seconds, r.seconds, strict=False)]
        return statistics.median(shares) if shares else None

    @property
    def no_energy(self) -> str | None:
        """Why there are no `joules`; None where there are some, or in results of a version that did not try."""
        return None if self.joules is not None else next((r.no_energy for r in self.repeats if r.no_energy), None)

    @property
    def error(self) -> DefinitionCheck:
        """The largest error, before or after sampling."""
        return max((p for r in self.repeats for p in (r.before, r.after)), key=lambda p: p.error)


@dataclass(frozen=True)
class Ceiling:
    """The best rate of a participant's library at something simple: FLOP/s of a product, bytes/s of a copy.

    Attributes
    ----------
    kind
        "product", by its namespace; "layer", the same as a network of one layer; "copy".
    size
        The rows and columns of the matrices, or the bytes of the copy.
    """

    participant: Participant
    kind: str
    size: int
    rate: float


@dataclass(frozen=True)
class FirstCall:
    """The seconds before the first result, in fresh processes.

    Attributes
    ----------
    import_seconds
        From the start of Python until the library is there and its device ready.
    compile_seconds, load_seconds
        To bind the program with an empty cache, and with the cache that this left; None for other libraries.
    first_step_seconds, cached_first_step_seconds
        The first training step after either.
    """

    case: BenchCase
    participant: Participant
    import_seconds: float
    compile_seconds: float | None
    load_seconds: float | None
    first_step_seconds: float
    cached_first_step_seconds: float


@dataclass(frozen=True)
class SeedRun:
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
class TargetTraining:
    """Training until a goal is reached: {"loss": L} or {"accuracy": A}, on the records that are trained on."""

    case: BenchCase
    participant: Participant
    goal: dict[str, Any]
    runs: tuple[SeedRun, ...] = ()
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
class BenchResults:
    """A run of ``gdkernels bench``."""

    command: str
    date: str
    seconds: float
    settings: dict[str, Any]
    environment: dict[str, Any]
    rows: tuple[BenchRow, ...]
    ceilings: tuple[Ceiling, ...] = ()
    first_calls: tuple[FirstCall, ...] = ()
    targets: tuple[TargetTraining, ...] = ()

    def kept(self, row: BenchRow) -> float | None:
        """Return the share of its quiet speed that a row keeps beside busy processes; None where there are none."""
        quiet = replace(row, busy=0).key
        alone = next((other for other in self.rows if row.busy and row.repeats and other.key == quiet), None)
        if alone is None or not alone.repeats:
            return None
        return statistics.median(a / b for a, b in zip(alone.medians, row.medians, strict=False))

    def ceiling(self, kinds: tuple[str, ...], device: str, precision: str) -> float:
        """Return the highest rate of these kinds that any participant reached on a device in a precision, or 0."""
        rates = [
            c.rate
            for c in self.ceilings
            if c.kind in kinds and (c.participant.device, c.participant.precision) == (device, precision)
        ]
        return max(rates, default=0.0)
