"""Is the automatic choice the best? Every candidate is measured on the same shapes, and compared with the choice.

The shapes are those of the grid and twenty random ones. Exit code 1 if the choice is within 10 % of the best in fewer
than nine of ten shapes, or if the machine is too busy: if times differ so much from one round to the next that the best
is not known in more than one shape in five.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from math import inf

from benchmarks import checkout
from gdkernels.backend import PRECISIONS
from gdkernels.bench.calibrating.jobs import CalibrationJob, candidates
from gdkernels.bench.participants.task import GRID, TrainingTask, random_tasks
from gdkernels.bench.sampling.interleaving import SamplingLimit, interleave
from gdkernels.bench.sampling.statistics import LEAST_SAMPLES, interval
from gdkernels.dispatch import calibration, choosing, registry
from gdkernels.dispatch.calibration import Candidate
from gdkernels.dispatch.estimates import in_words, plan_choices
from gdkernels.dispatch.workload import Workload

__all__ = ["CheckedShape", "check", "chosen", "main"]

_NEAR = 1.1
_SHARE = 0.9  # of the shapes whose best is known: in so many, the choice must be near it
_KNOWN = 0.8  # of all shapes: in so many, the best must be known
_FLOPS = 2e10  # of a run, about at most: a run takes some tenths of a second, and many fit into a shape's time


@dataclass(frozen=True)
class CheckedShape:
    """One shape with its choice, and every sample of each candidate, in seconds a step."""

    task: TrainingTask
    choice: Candidate
    samples: dict[Candidate, list[float]]

    def seconds(self, candidate: Candidate) -> float:
        return statistics.median(self.samples[candidate])

    @property
    def ratio(self) -> float:
        """The time of the choice over that of the best, both medians."""
        return self.seconds(self.choice) / min(map(self.seconds, self.samples))

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the ratio, by the 95 % intervals of the medians."""
        if len(self.samples[self.choice]) < LEAST_SAMPLES:
            return 1.0, inf
        low, high = interval(self.samples[self.choice])
        others = [interval(times) for candidate, times in self.samples.items() if candidate != self.choice]
        return max([1.0, *(low / o[1] for o in others)]), max([1.0, *(high / o[0] for o in others)])

    @property
    def known(self) -> bool:
        """Whether the choice is surely near the best or surely not, or the ratio known to within 10 %."""
        low, high = self.bounds
        return not low <= _NEAR < high or high <= _NEAR * low

    @property
    def near(self) -> bool:
        return self.ratio <= _NEAR


def workload_of(task: TrainingTask) -> Workload:
    return Workload(task.program(), task.batch, task.records)


def chosen(workload: Workload, precision: str) -> Candidate:
    """Return the place where a model trains whose backend nobody names, and the number of threads."""
    choice = choosing.choose("auto", None, precision, workload)
    plan = plan_choices(choice.backend, choice.device, precision, workload, registry.versions())
    return Candidate(choice.backend.name, choice.device, plan.get("threads"))


def check(task: TrainingTask, precision: str, seconds: float) -> CheckedShape:
    """Measure every candidate on `task`, in turn, and the choice beside them."""
    task = replace(task, records=min(task.records, task.batch * max(1, int(_FLOPS // _flops(task)))))
    workload = workload_of(task)
    choice, job = chosen(workload, precision), CalibrationJob(workload, precision)
    timers = {c: job.timer(c) for c in dict.fromkeys([*candidates(precision), choice])}
    for timer in timers.values():
        timer()
    own = replace(choice, threads=job.plans[choice].choices.get("threads"))
    if choice.threads is None and own in timers:  # it has chosen by itself one of those that are measured
        del timers[choice]
        choice = own
    round_seconds = sum(timer() for timer in timers.values())
    limit = SamplingLimit(share=0.03, seconds=max(seconds, 1.5 * LEAST_SAMPLES * round_seconds))
    taken = interleave(timers, limit, library=lambda candidate: candidate.backend)
    return CheckedShape(task, choice, {c: [t / workload.steps for t in times] for c, times in taken.items()})


def _flops(task: TrainingTask) -> int:
    return task.batch * task.flops_per_record()


def main(arguments: list[str] | None = None) -> int:
    """Check the shapes that the command line asks for, print a line for each, and return the exit code."""
    options = _parser().parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    tasks = [*(() if options.no_grid else GRID), *random_tasks(options.random, options.seed, 1)]
    _, source = calibration.current(options.precision, registry.versions())
    print(f"chosen {source}; the ratio is the time of the choice over that of the best, {_NEAR} is near enough")
    print("(? where the times differ too much to tell)")

    def checked(task: TrainingTask) -> CheckedShape:
        row = check(task, options.precision, options.seconds)
        times = "; ".join(f"{c} {in_words(row.seconds(c))}" for c in row.samples)
        print(f"{row.ratio:5.2f}{' ' if row.known else '?'} {row.choice}  [{task}: {times}]", flush=True)
        return row

    rows = [checked(task) for task in tasks]
    for k, row in enumerate(rows):
        if not row.known and time.monotonic() < end:
            print("again:", end=" ")
            rows[k] = checked(tasks[k])
    known = [row for row in rows if row.known]
    near = sum(row.near for row in known)
    print(f"\n{len(rows) - len(known)} of {len(rows)} are not known: their times differ too much within the run")
    if known:
        worst = max(row.ratio for row in known)
        print(f"within {_NEAR - 1:.0%} of the best in {near} of {len(known)}, worst {worst:.2f}")
    if options.json:
        content = {
            "command": checkout.command("choice", arguments or sys.argv[1:]),
            "chosen": source,
            "rows": [
                {
                    "task": r.task.as_dict(),
                    "choice": asdict(r.choice),
                    "ratio": r.ratio,
                    "known": r.known,
                    "candidates": [{**asdict(c), "seconds_per_step": s} for c, s in r.samples.items()],
                }
                for r in rows
            ],
        }
        checkout.write_json(options.json, content)
    if len(known) < _KNOWN * len(rows):
        print(f"busy: at least {_KNOWN:.0%} must be known; try again when the machine is idle")
        return 1
    return 0 if near >= _SHARE * len(known) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choice", description=__doc__)
    parser.add_argument("--random", type=int, default=20, metavar="N", help="so many random shapes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes")
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a shape, about at most (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="in which unknown shapes are measured again (%(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
