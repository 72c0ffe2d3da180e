"""Is the automatic choice the best? Every candidate is measured on the same shapes, and compared with the chosen one.

``python -m gdkernels.bench.choice`` checks the grid of `gdkernels.bench.peers` and twenty random shapes; ``--random 40
--seed 1``, ``--no-grid``, ``--precision``, ``--seconds`` a shape, ``--json FILE``. It exits with 1 where the choice is
within 10 % of the best in fewer than nine of ten.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass

from gdkernels import calibration, registry
from gdkernels.backend import PRECISIONS
from gdkernels.bench.jobs import Job, candidates
from gdkernels.bench.peers.task import GRID, Task, random_tasks
from gdkernels.bench.sampling import Width, interleave
from gdkernels.calibration import Candidate
from gdkernels.definition import activations, losses
from gdkernels.definition.naming import resolve
from gdkernels.estimates import in_words, plan_choices
from gdkernels.files.atomic import write_atomically
from gdkernels.program import Program
from gdkernels.work import Work

__all__ = ["Checked", "check", "chosen", "main"]

_NEAR = 1.1
_SHARE = 0.9


@dataclass(frozen=True)
class Checked:
    """One shape: what was chosen, and every sample of each candidate, in seconds a step."""

    task: Task
    choice: Candidate
    samples: dict[Candidate, list[float]]

    def seconds(self, candidate: Candidate) -> float:
        return statistics.median(self.samples[candidate])

    @property
    def best(self) -> Candidate:
        return min(self.samples, key=self.seconds)

    @property
    def ratio(self) -> float:
        """The time of the choice over that of the best."""
        return self.seconds(self.choice) / self.seconds(self.best)


def work_of(task: Task) -> Work:
    hidden = (resolve("activation", task.activation),) * (len(task.sizes) - 2)
    program = Program((*hidden, activations.identity), loss=losses.sse, optimizer=task.rule())
    return Work(program, task.sizes, task.batch, task.records)


def chosen(work: Work, precision: str) -> Candidate:
    """Return where a model that is not told would train, and on how many threads."""
    choice = registry.choose("auto", None, precision, work)
    plan = plan_choices(choice.backend, choice.device, precision, work, registry.versions())
    return Candidate(choice.backend.name, choice.device, plan.get("threads"))


def check(task: Task, precision: str, seconds: float) -> Checked:
    """Measure every candidate on `task`, in turn, and what is chosen for it beside them."""
    work = work_of(task)
    choice, job = chosen(work, precision), Job(work, precision)
    timers = {c: job.timer(c) for c in dict.fromkeys([*candidates(precision), choice])}
    for timer in timers.values():
        timer()
    taken = interleave(timers, Width(share=0.03, seconds=seconds))
    return Checked(task, choice, {c: [t / work.steps for t in times] for c, times in taken.items()})


def main(arguments: list[str] | None = None) -> int:
    """Check the shapes that the command line asks for, print a line for each, and return the exit code."""
    options = _parser().parse_args(arguments)
    tasks = [*(() if options.no_grid else GRID), *random_tasks(options.random, options.seed, 1)]
    _, source = calibration.current(options.precision, registry.versions())
    print(f"chosen {source}; the ratio is the time of the choice over that of the best, {_NEAR} is near enough")
    rows = []
    for task in tasks:
        row = check(task, options.precision, options.seconds)
        rows.append(row)
        times = "; ".join(f"{c} {in_words(row.seconds(c))}" for c in row.samples)
        print(f"{row.ratio:5.2f}  {row.choice}  [{task}: {times}]", flush=True)
    near = sum(row.ratio <= _NEAR for row in rows)
    print(f"\nwithin {_NEAR - 1:.0%} of the best in {near} of {len(rows)}, worst {max(r.ratio for r in rows):.2f}")
    if options.json:
        content = {
            "command": ["python", "-m", "gdkernels.bench.choice", *(arguments or sys.argv[1:])],
            "chosen": source,
            "rows": [
                {
                    "task": r.task.as_dict(),
                    "choice": asdict(r.choice),
                    "ratio": r.ratio,
                    "candidates": [{**asdict(c), "seconds_per_step": s} for c, s in r.samples.items()],
                }
                for r in rows
            ],
        }
        text = json.dumps(content, indent=1, allow_nan=False)
        write_atomically(options.json, lambda file: file.write(text.encode()), overwrite=True)
    return 0 if near >= _SHARE * len(rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gdkernels.bench.choice", description=__doc__)
    parser.add_argument("--random", type=int, default=20, metavar="N", help="so many random shapes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes")
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--seconds", type=float, default=8.0, help="for a shape, at most (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="keep every sample")
    return parser


if __name__ == "__main__":
    sys.exit(main())
