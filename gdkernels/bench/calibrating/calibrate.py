"""Making a calibration: some small jobs are timed on every candidate in turn, and prices are fitted to the times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from itertools import groupby

from gdkernels.backend.program import Program
from gdkernels.bench.calibrating.jobs import CalibrationJob, candidates
from gdkernels.bench.calibrating.prices import FittedPrices, JobTimes, fit_prices, fit_sharing
from gdkernels.bench.sampling.interleaving import SamplingLimit, interleave
from gdkernels.definition import activations, losses
from gdkernels.definition.chain import chain
from gdkernels.definition.naming import resolve
from gdkernels.definition.objective import Objective
from gdkernels.dispatch import choosing, registry
from gdkernels.dispatch.calibration import Calibration, Candidate
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import GdkernelsError
from gdkernels.system.machine import machine

__all__ = ["JOBS", "BusyError", "calibrate"]

_NOISE = 0.15  # the share by which repeated times may differ, at the median of all jobs
_CORE = 0.8  # the share of a core that each thread must get, at the median, when all of them run
_CORE_SECONDS = 0.02  # of each try
_HOST = "cpu"  # data lies there before anybody moves it


class BusyError(GdkernelsError):
    """Times differ so much between repetitions that prices fitted to them would be a matter of luck."""


def _job(sizes: str, batch: int, steps: int, activation: str = "relu", optimizer: str = "sgd") -> Workload:
    widths = tuple(int(n) for n in sizes.split("-"))
    functions = (*(resolve("activation", activation),) * (len(widths) - 2), activations.identity)
    network, rule = chain(widths[1:], functions), resolve("optimizer", optimizer)
    return Workload(Program(network, widths[0], objective=Objective(losses.sse), optimizer=rule), batch, batch * steps)


# From jobs whose time is that of calls and of threads that meet, to jobs whose time is that of products: batches of one
# to thousands, narrow and wide networks, and some jobs of a single step, for the cost of a call.
JOBS = (
    _job("8-16-1", 1, 2000),
    _job("8-16-1", 8, 1),
    _job("16-32-32-1", 32, 500),
    _job("16-32-32-1", 256, 1, optimizer="adam"),
    _job("32-64-64-1", 64, 200, "tanh"),
    _job("32-64-64-1", 64, 200, optimizer="adam"),
    _job("32-64-64-1", 256, 60),
    _job("2-8-1", 8192, 8),
    _job("100-1", 4096, 8),
    _job("16-32-32-4", 4096, 8, "gelu", "adam"),
    _job("16-16-16-16-4", 8192, 8),
    _job("64-128-128-10", 64, 60),
    _job("64-128-128-10", 512, 12, "tanh"),
    _job("64-256-256-1", 128, 12, optimizer="adam"),
    _job("256-256-256-10", 32, 20, "gelu"),
    _job("256-256-256-10", 256, 4),
    _job("500-500-10", 8, 40),
    _job("500-500-10", 4, 20, optimizer="adam"),
    _job("3-1000-1000-1", 16, 6),
    _job("1000-1000-10", 2, 10, "tanh", "adam"),
    _job("1000-1000-1000-10", 4, 6),
    _job("2000-500-10", 1, 10),
    _job("784-512-512-10", 256, 2),
    _job("784-512-512-10", 64, 1, optimizer="adam"),
    _job("1024-1024-1024-10", 128, 1),
)


def calibrate(
    precision: str = "float32",
    *,
    jobs: Sequence[Workload] = JOBS,
    seconds: float = 10.0,
    anyway: bool = False,
    own_threads: bool = False,
) -> Calibration:
    """Measure `jobs` on everything that can run here, and return the prices that fit.

    Parameters
    ----------
    seconds
        About how long measuring takes at most; binding and compiling come on top.
    anyway
        Whether to take times that differ too much as they are.
    own_threads
        Whether each backend keeps its own rule of how many threads to use, as for the table that ships with gdkernels.

    Raises
    ------
    BackendError
        If no backend can do the precision; the message says why.
    BusyError
        If repeated times differ too much, or a core is missing throughout, because others use the machine.
    """
    everyone = candidates(precision)
    if not everyone:
        choosing.decide(precision=precision)  # raises, and says of each backend why
    most = max((c.threads or 1 for c in everyone), default=1)
    if own_threads:
        everyone = list(dict.fromkeys(replace(c, threads=None) for c in everyone))
    found = _measure(jobs, everyone, precision, seconds, most)
    if found.core < _CORE and not anyway:
        raise BusyError(
            f"this machine is busy: of {most} threads at once, one got {found.core:.0%} of a core at the median, and "
            f"at least {_CORE:.0%} is needed; nothing was kept. Try again when the machine is idle"
        )
    noise = statistics.median(row.noise for rows in found.times.values() for row in rows)
    if noise > _NOISE and not anyway:
        raise BusyError(
            f"this machine is busy: the same job took {noise:.0%} longer at the median than at best, and at most "
            f"{_NOISE:.0%} is allowed; nothing was kept. Try again when the machine is idle"
        )
    fitted = _fit(found.times)
    return Calibration(
        precision=precision,
        prices={c: fit.prices for c, fit in fitted.items()},
        machine=machine(),
        versions=registry.versions(),
        noise=noise,
        misfit={c: fit.misfit for c, fit in fitted.items()},
        date=date.today().isoformat(),
    )


@dataclass(frozen=True)
class _MeasuredJobs:
    """The times of every job on each candidate, and the share of a core that one of the threads got, at the median."""

    times: dict[Candidate, list[JobTimes]]
    core: float


@dataclass(frozen=True)
class _TimedJob:
    """A job on a candidate, by its number, or the transfer of its data."""

    candidate: Candidate
    number: int
    transfer: bool


def _measure(
    jobs: Sequence[Workload], everyone: Sequence[Candidate], precision: str, seconds: float, threads: int
) -> _MeasuredJobs:
    """Time every job on every candidate, in turns, with at most so many `threads`."""
    prepared = [CalibrationJob(work, precision) for work in jobs]
    timers: dict[_TimedJob, Callable[[], float]] = {}
    for candidate in everyone:
        for number, job in enumerate(prepared):
            timers[_TimedJob(candidate, number, transfer=False)] = job.timer(candidate)
            if candidate.device != _HOST:
                timers[_TimedJob(candidate, number, transfer=True)] = job.transfer_timer(candidate)
    for timer in timers.values():
        timer()  # off the clock: the first time compiles and allocates
    cores = [_share_of_core(threads)]

    def warm(timer: Callable[[], float], first: bool) -> Callable[[], float]:
        def run() -> float:
            if first:
                cores.append(_share_of_core(threads))
            timer()  # off the clock: another job has just had the caches
            return timer()

        return run

    # All take turns over the whole time: a disturbance of a second disturbs one sample of each.
    taken = interleave(
        {timed: warm(timer, timed.number == 0) for timed, timer in timers.items()},
        SamplingLimit(share=0.02, seconds=seconds),
        library=lambda timed: timed.candidate.backend,
    )
    times: dict[Candidate, list[JobTimes]] = {candidate: [] for candidate in everyone}
    for timed, samples in taken.items():
        quantities = jobs[timed.number].quantities(precision)
        own = {n: v if n.startswith("transfer") == timed.transfer else 0.0 for n, v in quantities.items()}
        times[timed.candidate].append(JobTimes(own, samples))
    return _MeasuredJobs(times, statistics.median(cores))


def _share_of_core(threads: int) -> float:
    """Return the smallest share of a core that one of so many threads gets when all run at once."""
    data = bytes(1 << 20)

    def share(_: int) -> float:
        began, had = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < _CORE_SECONDS:
            sha256(data)  # releases Python's lock
        return (time.thread_time() - had) / (time.perf_counter() - began)

    with ThreadPoolExecutor(threads) as pool:
        return min(pool.map(share, range(threads)))


def _fit(measured: Mapping[Candidate, Sequence[JobTimes]]) -> dict[Candidate, FittedPrices]:
    """Return the prices of each candidate."""
    fitted = {}
    for _, group in groupby(measured, lambda c: (c.backend, c.device)):
        fewest, *more = sorted(group, key=lambda c: c.threads or 0)
        fitted[fewest] = fit_prices(measured[fewest])
        for candidate in more:
            fitted[candidate] = fit_sharing(measured[candidate], measured[fewest], fitted[fewest].prices)
    return fitted
