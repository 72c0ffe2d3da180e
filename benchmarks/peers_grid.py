"""gdkernels beside other libraries: whole trainings of the same networks, with the error beside each time.

The participants take turns on each task. The first of ``--peers`` is compared with the best other in its precision.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import checkout
from benchmarks.grid_results import GridFile, GridResult, GridRow, is_bfloat16
from gdkernels.bench.comparing.ratios import summarised
from gdkernels.bench.participants.networks import CHAIN, NETWORKS
from gdkernels.bench.participants.participant import LIBRARIES, Participant, ParticipantError
from gdkernels.bench.participants.task import BLOCK_GRID, GRID, TrainingTask, errors_by_array, random_tasks
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.bench.sampling.interleaving import settle
from gdkernels.errors import FileError
from gdkernels.system.machine import cores, package_versions, processor

__all__ = ["PARTICIPANTS", "main"]

PARTICIPANTS = {
    "gdkernels-numba": Participant("numba", external=False),
    "gdkernels-numba-bf16": Participant("numba", external=False, precision="bfloat16"),
    "gdkernels-numpy": Participant("numpy", external=False),
    **{name: Participant(name, external=True, precision=library.precision) for name, library in LIBRARIES.items()},
}

# A round is as long as an epoch, but at least this; rounds go on until the median is known to about 2 %.
_ROUND_SECONDS = 0.25
_ROUNDS = (5, 9)
_SPREAD = 0.02

# The plain product of two matrices of this size stands for the best that a library does.
_PRODUCT = 1536

_PACKAGES = ("gdkernels", "numpy", "numba", "torch", "jax", "scikit-learn", "thinc")
_UNITS = {
    "fma_flops": "registers {:.0f} GFLOP/s",
    "pair_flops": "registers in bfloat16 {:.0f} GFLOP/s",
    "product_ceiling_flops": "product {:.0f} GFLOP/s",
    "update_bytes": "memory in place {:.0f} GB/s",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.network is not None and options.sizes is None:
        parser.error("--network is for networks of your own; give --sizes too")
    names = options.peers.split(",")
    unknown = [name for name in names if name not in PARTICIPANTS]
    if unknown:
        print(f"unknown peers {', '.join(unknown)}; choices: {', '.join(PARTICIPANTS)}", file=sys.stderr)
        return 2
    given = [word for word in arguments or sys.argv[1:] if word != "--resume"]
    head = {
        "command": ["python", "-m", "benchmarks.peers_grid", *given],
        "threads": options.threads,
        "environment": {"platform": platform.platform(), "processor": processor(), "versions": _versions()},
    }
    try:
        file = GridFile(None if options.json is None else Path(options.json), head, resume=options.resume)
    except FileError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{platform.platform()}, {options.threads} threads of {os.cpu_count()}; {', '.join(_versions())}")
    ratios: dict[str, float] = {}
    processes = {
        name: ParticipantProcess(replace(PARTICIPANTS[name], threads=options.threads), checkout.environment())
        for name in names
    }
    try:
        for task in _tasks(options):
            result = file.of(task)
            if result is None:
                result = _compare(task, processes, _limits(options.threads))
                file.add(result)
            _print_rows(result, names[0])
            ratio = result.ratio(names[0])
            if ratio is not None:
                ratios[str(task)] = ratio
    finally:
        for process in processes.values():
            process.close()
    if ratios:
        found = summarised(ratios)
        summary = f"geometric mean {found.mean:.2f}, worst {found.worst:.2f} ({found.where})"
        print(f"\n{names[0]} over the best other in its precision: {summary}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_grid", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--grid", nargs="?", const="all", metavar="ROWS", help="the grid, or rows of it: 0,3")
    what.add_argument("--sizes", help="inputs, hidden layers, outputs: 784-512-10")
    what.add_argument("--random", type=int, metavar="N", help="so many random tasks")
    parser.add_argument("--network", choices=list(NETWORKS), help=f"what is made of --sizes ({CHAIN})")
    parser.add_argument("--batch", type=int, default=256, help="records a step (%(default)s)")
    parser.add_argument("--records", type=int, help="records of an epoch (32 batches)")
    parser.add_argument("--activation", choices=["relu", "tanh", "gelu"], help="(that of the task)")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--threads", type=int, default=cores(), help="that each participant may use (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random tasks")
    parser.add_argument("--least", type=int, default=1, help="width and batch of the random tasks, at most 100")
    parser.add_argument(
        "--peers",
        default=",".join(n for n in PARTICIPANTS if not n.startswith("torch-compile")),
        metavar="NAME,…",
        help="who takes part, first the one that others are compared with (%(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file, after each task")
    parser.add_argument("--resume", action="store_true", help="go on after the tasks that the file has already")
    return parser


def _tasks(options: argparse.Namespace) -> list[TrainingTask]:
    if options.random:
        return random_tasks(options.random, options.seed, options.threads, options.least)
    if options.grid:
        grid = (*GRID, *BLOCK_GRID)
        rows = range(len(grid)) if options.grid == "all" else [int(k) for k in options.grid.split(",")]
        chosen = [grid[k] for k in rows]
    else:
        sizes = tuple(int(n) for n in options.sizes.split("-"))
        records = options.records or 32 * options.batch
        network = options.network or CHAIN
        activation = NETWORKS[network].activation
        records = max(1, records // options.batch) * options.batch
        chosen = [TrainingTask(sizes, options.batch, records, activation, network=network)]
    return [
        replace(
            task,
            activation=options.activation or task.activation,
            optimizer=options.optimizer,
            threads=options.threads,
        )
        for task in chosen
    ]


@dataclass
class _Racing:
    """A participant that can do the task, with its row so far."""

    process: ParticipantProcess
    row: GridRow


def _compare(
    task: TrainingTask, processes: Mapping[str, ParticipantProcess], limits: Mapping[str, float]
) -> GridResult:
    """Let the participants take turns on `task`, one running at a time."""
    racing, skipped = [], {}
    for name, process in processes.items():
        try:
            racing.append(_Racing(process, _first_row(name, task, process)))
        except ParticipantError as reason:
            skipped[name] = GridRow(name, skipped=str(reason))
    settle()  # the definition was computed in this process
    products = [one.process.ceiling("product", _PRODUCT) for one in racing if one.process.participant.external]
    for one in racing:
        one.process.fit_seconds(0.0)  # the shuffled epoch may have to be compiled as well
    for done in range(_ROUNDS[1]):
        if done >= _ROUNDS[0] and all(one.row.spread < _SPREAD for one in racing):
            break
        for one in racing:
            rate = task.records / one.process.fit_seconds(_ROUND_SECONDS)
            one.row = replace(one.row, samples=(*one.row.samples, rate))
    rows = skipped | {one.row.participant: one.row for one in racing}
    known = {**limits, "product_ceiling_flops": max(products, default=0.0)}
    return GridResult(task, known, tuple(rows[name] for name in processes))


def _first_row(name: str, task: TrainingTask, process: ParticipantProcess) -> GridRow:
    """Return the row of a participant that has done its first steps: their error, and how long they took."""
    bound = process.load(task).bind_seconds or 0.0
    steps = process.first_steps(task.checked_records())
    errors = errors_by_array(task, steps.parameters, task.checked_records())
    return GridRow(name, (), max(errors.values()), bound + steps.seconds)


def _limits(threads: int) -> dict[str, float]:
    """Return what as many cores can do at best just now (clocks drift), if the CPU engine is there to measure it."""
    command = [sys.executable, "-m", "gdkernels_numba.ceilings", str(threads)]
    variables = os.environ | checkout.environment()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def _print_rows(result: GridResult, ours: str) -> None:
    task, limits = result.task, result.limits
    known = [text.format(limits[name] / 1e9) for name, text in _UNITS.items() if limits.get(name)]
    if "turns_seconds" in limits:
        known.append(f"all threads in turn at one word {limits['turns_seconds'] * 1e9:.0f} ns")
    print(f"\n{task}" + (f"; at best: {', '.join(known)}" if known else ""))
    mine = result.row(ours).rate
    for row in result.rows:
        if row.skipped:
            print(f"  {row.participant:20} skipped: {row.skipped}")
            continue
        flops = row.rate * task.flops_per_record()
        most = limits.get("pair_flops" if is_bfloat16(row.participant) else "fma_flops")
        share = f" ({flops / most:4.0%})" if most else ""
        ratio = "       " if math.isnan(mine) else f"{mine / row.rate:6.2f}×"
        print(
            f"  {row.participant:20} {row.rate:12,.0f} samples/s ± {row.spread:4.0%}   {ratio}"
            f"   {flops / 1e9:7.1f} GFLOP/s{share}"
            f"   error {row.error:.1e}   first {row.first_seconds:.2f} s"
        )
    sys.stdout.flush()


def _versions() -> list[str]:
    return [f"{name} {version}" for name, version in package_versions(_PACKAGES).items()]


if __name__ == "__main__":
    sys.exit(main())
