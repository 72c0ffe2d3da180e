"""Training beside processes that spin on cores: what each participant keeps of its quiet speed.

``python -m benchmarks.busy_cores`` lets participants take turns on four rows of the grid, each sample once without and
once with a spinning process, which is pinned to one core after the other. With two cores, 1.5 of them are left then, so
0.75 is the most that can be kept. ``--busy`` has several spin. ``--before`` adds another checkout, such as that before
a change. The row "one thread" is ours without a second thread, beside them: the least that two threads should reach.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import checkout
from gdkernels.bench.participants.participant import LIBRARIES, Participant, ParticipantError
from gdkernels.bench.participants.task import GRID, TrainingTask
from gdkernels.bench.processes.busy import BusyProcesses
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.bench.sampling.interleaving import settle
from gdkernels.system.machine import cores, machine

__all__ = ["main"]

_ROWS = (2, 3, 5, 7)  # of the grid: a step takes 0.1 ms to 50 ms
_KINDS = ("quiet", "busy")
_OURS, _ALONE, _BEFORE = "gdkernels", "one thread", "before"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy_cores", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, _ROWS)), help="of the grid (%(default)s)")
    parser.add_argument("--peers", default="jax,torch", help=f"of {', '.join(LIBRARIES)}; may be empty (%(default)s)")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout, to compare with")
    parser.add_argument("--busy", type=int, default=1, metavar="N", help="processes that spin (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="that a sample takes at least (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file")
    options = parser.parse_args(arguments)
    if not hasattr(os, "sched_setaffinity") or cores() < 2:
        print("this needs a system that pins processes to cores, and two cores", file=sys.stderr)
        return 2
    results = []
    for row in map(int, options.rows.split(",")):
        task = replace(GRID[row], threads=cores())
        samples = _measure(task, options)
        results.append({"task": task.as_dict(), "samples": samples})
        print(f"\n{task}")
        for line in _lines(samples):
            print(f"  {line}", flush=True)
    _print_summary([result["samples"] for result in results])
    if options.json:
        said = list(arguments or sys.argv[1:])
        content = {"command": checkout.command("busy_cores", said), "machine": machine(), "results": results}
        checkout.write_json(options.json, content)
    return 0


def _participants(options: argparse.Namespace) -> dict[str, tuple[Participant, dict[str, str]]]:
    """Return by name each participant with the variables of its process."""
    ours, here = Participant("numba", external=False, threads=cores()), checkout.environment()
    found = {_OURS: (ours, here), _ALONE: (replace(ours, threads=1), here)}
    if options.before is not None:
        root = options.before.resolve()
        path = os.pathsep.join([str(root), str(root / "backends")])
        found[_BEFORE] = (
            ours,
            {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )  # not the folder where it starts
    for name in filter(None, options.peers.split(",")):
        library = LIBRARIES[name]
        found[name] = Participant(name, external=True, precision=library.precision, threads=cores()), here
    return found


def _measure(task: TrainingTask, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Return the records/s of each participant, "quiet" and "busy"."""
    processes: dict[str, ParticipantProcess] = {}
    samples: dict[str, dict[str, list[float]]] = {}
    busy = BusyProcesses(options.busy)
    try:
        for name, (participant, variables) in _participants(options).items():
            processes[name] = ParticipantProcess(participant, variables)
            try:
                processes[name].load(replace(task, threads=participant.threads))
                processes[name].fit_seconds(0.0)  # what is compiled, is now
                samples[name] = {"quiet": [], "busy": []}
            except ParticipantError as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr)
        for number in range(options.rounds):
            for name, mine in samples.items():
                settle()
                mine["quiet"].append(task.records / processes[name].fit_seconds(options.seconds))
                with busy.spinning(number):
                    mine["busy"].append(task.records / processes[name].fit_seconds(options.seconds))
    finally:
        busy.close()
        for process in processes.values():
            process.close()
    return samples


def _lines(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    quiet, busy = ({name: statistics.median(mine[kind]) for name, mine in samples.items()} for kind in _KINDS)
    for name in samples:
        text = f"{name:12} {quiet[name]:12,.0f} records/s, under load {busy[name]:12,.0f}"
        text += f": keeps {_kept(samples[name]):.2f}"
        if name != _OURS and _OURS in samples:
            text += f"; ours over it {quiet[_OURS] / quiet[name]:.2f} ×, under load {busy[_OURS] / busy[name]:.2f} ×"
        yield text


def _kept(mine: Mapping[str, Sequence[float]]) -> float:
    """Return the median of the ratios within the rounds: speed under load over quiet speed."""
    return statistics.median(busy / quiet for quiet, busy in zip(mine["quiet"], mine["busy"], strict=True))


def _print_summary(results: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> None:
    others = [name for name in results[0] if name not in (_OURS, _ALONE, _BEFORE)] if results else []
    if not others:
        return
    best: list[float] = []
    for samples in results:
        busy: dict[str, Any] = {name: statistics.median(mine["busy"]) for name, mine in samples.items()}
        best.append(busy[_OURS] / max(busy[name] for name in others))
    mean = math.exp(statistics.fmean(map(math.log, best)))
    print(f"\nunder load, ours over the best of {', '.join(others)}: mean {mean:.2f} ×, worst {min(best):.2f} ×")


if __name__ == "__main__":
    sys.exit(main())
