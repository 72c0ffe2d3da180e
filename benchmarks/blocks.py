"""Networks of blocks beside plain networks of as many FLOPs, and beside other libraries: ratios with their intervals.

``python -m benchmarks.blocks`` trains the networks of blocks of the grid in turns with a chain of dense layers that has
as many FLOPs, and with other libraries on the same blocks: whole epochs of plain descent on the sum of squared errors,
in float32. Beside each rate stands the error of the first steps against the definition in float64.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import checkout
from gdkernels.bench.participants.participant import LIBRARIES, Participant, ParticipantError
from gdkernels.bench.participants.task import BLOCK_GRID, TrainingTask, errors_by_array
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.bench.sampling.interleaving import SamplingLimit, interleave, settle
from gdkernels.bench.sampling.statistics import interval
from gdkernels.system.machine import cores, machine

_OURS, _PLAIN = "ours", "ours, plain"

# Chains of dense layers that have as many FLOPs as the networks of the grid, in its order.
_PLAIN_SIZES = ((*(128,) * 7, 10), (256, 512, 256, 256, 256, 10), (512, 512, 512, 10))

_SAMPLE_SECONDS = 0.25


@dataclass(frozen=True)
class _Entrant:
    """A participant with the task that it is given, and the error of its first steps."""

    process: ParticipantProcess
    task: TrainingTask
    error: float


def _plain(task: TrainingTask, sizes: tuple[int, ...]) -> TrainingTask:
    return TrainingTask(sizes, task.batch, task.records, threads=task.threads)


def _begun(process: ParticipantProcess, task: TrainingTask) -> _Entrant:
    """Return a participant that has done its first steps, and everything once that it compiles."""
    process.load(task)
    steps = process.first_steps(task.checked_records())
    error = max(errors_by_array(task, steps.parameters, task.checked_records()).values())
    process.fit_seconds(0.0)
    return _Entrant(process, task, error)


def measure(task: TrainingTask, plain: TrainingTask, peers: list[str], seconds: float) -> dict[str, Any]:
    """Return the rates, ratios and errors on a network."""
    ours = Participant("numba", external=False, threads=task.threads)
    others = {name: Participant(name, external=True, threads=task.threads) for name in peers}
    processes: dict[str, ParticipantProcess] = {}
    racing: dict[str, _Entrant] = {}
    try:
        for name, participant in {_OURS: ours, _PLAIN: ours, **others}.items():
            processes[name] = ParticipantProcess(participant, checkout.environment())
            try:
                racing[name] = _begun(processes[name], plain if name == _PLAIN else task)
            except ParticipantError as reason:
                print(f"without {name}: {reason}")
        settle()  # the definition was computed in this process
        sampled = {name: partial(one.process.fit_seconds, _SAMPLE_SECONDS) for name, one in racing.items()}
        times = interleave(sampled, SamplingLimit(0.01, seconds))
    finally:
        for process in processes.values():
            process.close()
    ratios = {name: np.asarray(times[name]) / np.asarray(times[_OURS]) for name in times if name != _OURS}
    return {
        "network": str(task),
        "records/s": {name: task.records / statistics.median(taken) for name, taken in times.items()},
        "ratio": {name: float(np.median(each)) for name, each in ratios.items()},
        "95 %": {name: interval(list(each)) for name, each in ratios.items()},
        "error": {name: one.error for name, one in racing.items()},
        "flops": {name: one.task.flops_per_record() for name, one in racing.items()},
    }


def _print(row: dict[str, Any]) -> None:
    print(row["network"])
    for who, rate in row["records/s"].items():
        ratio = ""
        if who != _OURS:
            low, high = row["95 %"][who]
            ratio = f", ours {row['ratio'][who]:.2f} × [{low:.2f}, {high:.2f}]"
        flops = row["flops"][who]
        print(f"  {who:20s} {rate:12,.0f} records/s, error {row['error'][who]:.1e}, {flops:,} FLOPs a record{ratio}")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of sampling for each network (%(default)g)")
    parser.add_argument(
        "--peers", default="jax,torch-compile-step", help=f"of {', '.join(LIBRARIES)}; may be empty (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="that each participant may use (%(default)s)")
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON")
    options = parser.parse_args(arguments)
    peers = [name for name in options.peers.split(",") if name]
    if unknown := [name for name in peers if name not in LIBRARIES]:
        parser.error(f"unknown peers {', '.join(unknown)}; choices: {', '.join(LIBRARIES)}")
    rows = []
    for task, sizes in zip(BLOCK_GRID, _PLAIN_SIZES, strict=True):
        threaded = replace(task, threads=options.threads)
        rows.append(measure(threaded, _plain(threaded, sizes), peers, options.seconds))
        _print(rows[-1])
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
