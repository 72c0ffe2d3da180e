"""Making a calibration: some small jobs are timed on every candidate in turn, and prices are fitted to the times.

A job on more threads is as long as alone, but for what each run costs, times a share; with what it takes to wake the
others for a run and to meet them in a step. So their prices are those of one thread, times that share, and more for
runs, steps and operations: four numbers, fitted to both times of every job.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from itertools import groupby

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.bench.calibrating.jobs import Job, candidates
from gdkernels.bench.sampling.interleaving import Width, interleave
from gdkernels.definition import activations, losses
from gdkernels.definition.naming import resolve
from gdkernels.dispatch import registry
from gdkernels.dispatch.calibration import Calibration, Candidate
from gdkernels.dispatch.workload import QUANTITIES, Work
from gdkernels.errors import GdkernelsError
from gdkernels.system.machine import machine

__all__ = ["JOBS", "BusyError", "Measured", "calibrate", "fit_prices", "fit_sharing"]

Array = npt.NDArray[np.float64]

_NOISE = 0.15  # share by which repeated times may differ, at the median of all, before they are worth nothing
_CORE = 0.8  # share of a core that each of as many threads as may be used gets at least, at the median
_CORE_SECONDS = 0.02  # for which that is tried
_HOST = "cpu"  # where data lies that nobody has moved


class BusyError(GdkernelsError):
    """Times differ so much from one repetition to the next that prices fitted to them would be luck."""


def _job(sizes: str, batch: int, steps: int, activation: str = "relu", optimizer: str = "sgd") -> Work:
    widths = tuple(int(n) for n in sizes.split("-"))
    functions = (*(resolve("activation", activation),) * (len(widths) - 2), activations.identity)
    program = Program(functions, loss=losses.sse, optimizer=resolve("optimizer", optimizer))
    return Work(program, widths, batch, batch * steps)


# From where calls and the meeting of threads decide to where products do, batches of one to thousands, narrow and wide;
# some of a single step, for what a call costs.
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


@dataclass(frozen=True)
class Measured:
    """Quantities of a job, and what it took: every sample, in seconds."""

    quantities: Mapping[str, float]
    samples: Sequence[float]

    @property
    def seconds(self) -> float:
        """The upper quartile: what is often disturbed is dear, as threads are that wait for each other."""
        return float(np.quantile(self.samples, 0.75))

    @property
    def noise(self) -> float:
        """By how much the median is above the fastest, as a share."""
        return statistics.median(self.samples) / min(self.samples) - 1.0


def calibrate(
    precision: str = "float32",
    *,
    jobs: Sequence[Work] = JOBS,
    seconds: float = 10.0,
    anyway: bool = False,
    own_threads: bool = False,
) -> Calibration:
    """Measure `jobs` on everything that can run here, and return the prices that fit.

    Parameters
    ----------
    seconds
        How long measuring takes at most, about; binding and compiling come on top.
    anyway
        Whether times that differ too much are taken as they are.
    own_threads
        Whether each backend keeps its own rule of how many threads to use, as for the table that ships with gdkernels.

    Raises
    ------
    BackendError
        Where nothing can do the precision; it says why.
    BusyError
        Where repeated times differ too much, or a core is missing throughout: somebody else uses the machine.
    """
    who = candidates(precision)
    if not who:
        registry.decide(precision=precision)  # raises, and says of each backend why
    most = max((c.threads or 1 for c in who), default=1)
    if own_threads:
        who = list(dict.fromkeys(replace(c, threads=None) for c in who))
    measured, core = _measure(jobs, who, precision, seconds, most)
    if core < _CORE and not anyway:
        raise BusyError(
            f"this machine is busy: of {most} threads at once, one got {core:.0%} of a core at the median, and "
            f"{_CORE:.0%} is the limit; nothing was kept. Try again when it is idle"
        )
    noise = statistics.median(row.noise for rows in measured.values() for row in rows)
    if noise > _NOISE and not anyway:
        raise BusyError(
            f"this machine is busy: the same job took {noise:.0%} longer at the median than at best, and {_NOISE:.0%} "
            "is the limit; nothing was kept. Try again when it is idle"
        )
    fitted = _fit(measured)
    return Calibration(
        precision=precision,
        prices={c: prices for c, (prices, _) in fitted.items()},
        machine=machine(),
        versions=registry.versions(),
        noise=noise,
        misfit={c: misfit for c, (_, misfit) in fitted.items()},
        date=date.today().isoformat(),
    )


def _measure(
    jobs: Sequence[Work], who: Sequence[Candidate], precision: str, seconds: float, threads: int
) -> tuple[dict[Candidate, list[Measured]], float]:
    """Return what was measured, and the share of a core that one of so many threads got, at the median."""
    prepared = [Job(work, precision) for work in jobs]
    timers: dict[tuple[Candidate, int, bool], Callable[[], float]] = {}
    for candidate in who:
        for k, job in enumerate(prepared):
            timers[candidate, k, False] = job.timer(candidate)
            if candidate.device != _HOST:
                timers[candidate, k, True] = job.transfer_timer(candidate)
    for timer in timers.values():
        timer()  # what is compiled or allocated at first
    cores = [_share_of_core(threads)]

    def warm(timer: Callable[[], float], first: bool) -> Callable[[], float]:
        def run() -> float:
            if first:
                cores.append(_share_of_core(threads))
            timer()  # off the clock: another job has just had the caches
            return timer()

        return run

    # All take turns over the whole time, so that what disturbs them for a second disturbs one sample of each.
    taken = interleave(
        {key: warm(timer, key[1] == 0) for key, timer in timers.items()},
        Width(share=0.02, seconds=seconds),
        library=lambda key: key[0].backend,
    )
    measured: dict[Candidate, list[Measured]] = {c: [] for c in who}
    for (candidate, k, transfer), samples in taken.items():
        quantities = jobs[k].quantities(precision)
        own = {n: v if n.startswith("transfer") == transfer else 0.0 for n, v in quantities.items()}
        measured[candidate].append(Measured(own, samples))
    return measured, statistics.median(cores)


def _share_of_core(threads: int) -> float:
    """Return which share of a core the most hindered of so many threads at once gets."""
    data = bytes(1 << 20)

    def share(_: int) -> float:
        began, had = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < _CORE_SECONDS:
            sha256(data)  # leaves Python's lock to the others
        return (time.thread_time() - had) / (time.perf_counter() - began)

    with ThreadPoolExecutor(threads) as pool:
        return min(pool.map(share, range(threads)))


def _fit(measured: Mapping[Candidate, Sequence[Measured]]) -> dict[Candidate, tuple[dict[str, float], float]]:
    """Return prices and misfit of each candidate."""
    fitted = {}
    for _, group in groupby(measured, lambda c: (c.backend, c.device)):
        fewest, *more = sorted(group, key=lambda c: c.threads or 0)
        fitted[fewest] = fit_prices(measured[fewest])
        for candidate in more:
            fitted[candidate] = fit_sharing(measured[candidate], measured[fewest], fitted[fewest][0])
    return fitted


def fit_prices(rows: Sequence[Measured]) -> tuple[dict[str, float], float]:
    """Return the prices of quantities that fit measured times, and how well: the rms of ln(estimated / measured).

    Prices are at least 0. What is minimised is the sum of (p − t)² / (p t), p the estimate and t the time: too long and
    too short by the same factor count the same, and a microsecond of one job as much as a second of another. The
    estimate in the denominator is that of the round before.
    """
    names = [n for n in QUANTITIES if any(row.quantities[n] for row in rows)]
    found = _factors([[row.quantities[n] for n in names] for row in rows], [row.seconds for row in rows])
    prices = {n: float(p) for n, p in zip(names, found, strict=True) if p > 0}
    return prices, _misfit(prices, rows)


def fit_sharing(
    rows: Sequence[Measured], alone: Sequence[Measured], prices: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Return the prices on several threads that fit the times of the same jobs there and on the fewest, and how well.

    Parameters
    ----------
    alone, prices
        The times on the fewest threads, and the prices that were fitted to them.
    """
    run = prices.get("runs", 0.0)
    extra = ("runs", "steps", "operations")
    apart = [run * row.quantities["runs"] for row in alone]  # a run begins and ends on one thread
    shared = [max(0.0, one.seconds - a) for one, a in zip(alone, apart, strict=True)]
    columns = [[s, *(row.quantities[n] for n in extra)] for s, row in zip(shared, rows, strict=True)]
    share, *more = _factors(columns, [max(0.1 * r.seconds, r.seconds - a) for r, a in zip(rows, apart, strict=True)])
    found = {n: float(share) * p for n, p in prices.items()} | {"runs": run}
    for name, price in zip(extra, more, strict=True):
        found[name] = found.get(name, 0.0) + float(price)
    return found, _misfit(found, rows)


def _factors(columns: Sequence[Sequence[float]], times: Sequence[float]) -> Array:
    """Return what to multiply each column by, so that their sums are the times, nearly; no factor is negative."""
    matrix = np.array(columns) / np.array(times)[:, None]
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0.0] = 1.0
    matrix /= scale
    ratio, found = np.ones(len(times)), np.zeros(len(scale))
    for _ in range(10):
        weights = 1.0 / np.sqrt(np.clip(ratio, 0.05, 20.0))
        found = _non_negative(matrix * weights[:, None], weights)
        ratio = matrix @ found
    return np.asarray(found / scale)


def _misfit(prices: Mapping[str, float], rows: Sequence[Measured]) -> float:
    """Return the rms of ln(estimated / measured)."""
    estimated = np.array([sum(p * row.quantities[n] for n, p in prices.items()) for row in rows])
    ratio = estimated / np.array([row.seconds for row in rows])
    return float(np.sqrt(np.mean(np.log(np.maximum(ratio, 1e-9)) ** 2)))


def _non_negative(matrix: Array, target: Array) -> Array:
    """Return the x ≥ 0 with the least ‖matrix x − target‖, one coordinate at a time.

    The sequential coordinate-wise algorithm of Franc, Hlaváč and Navara (2005).
    """
    gram, x = matrix.T @ matrix, np.zeros(matrix.shape[1])
    slope = -(matrix.T @ target)
    for _ in range(10_000):
        largest = 0.0
        for k in range(len(x)):
            moved = max(0.0, x[k] - slope[k] / gram[k, k]) if gram[k, k] else 0.0
            change = moved - x[k]
            if change:
                slope += change * gram[:, k]
                x[k] = moved
                largest = max(largest, abs(change))
        if largest <= 1e-9 * float(x.max(initial=0.0)):
            break
    return x
