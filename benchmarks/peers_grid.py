"""The command: peers take turns on each task, and the table says who trained how fast and how exactly."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gdkernels.bench.participants.players import PLAYERS
from gdkernels.bench.processes.peer_process import Peer
from gdkernels.bench.participants.task import GRID, TrainingTask, error_of, random_tasks
from gdkernels.bench.sampling.interleaving import settle
from gdkernels.errors import FileError
from gdkernels.system.atomic_files import check_destination, write_atomically

# A round is as long as a peer's epoch, but at least this; rounds go on until the median is known to about 2 %.
_ROUND_SECONDS = 0.25
_ROUNDS = (5, 9)
_SPREAD = 0.02

# The plain product of two matrices of this size is taken for what a machine can do at best.
_PRODUCT = 1536


@dataclass(frozen=True)
class Row:
    """One peer on one task: samples/s of each round, the error against the definition, or why it was skipped."""

    peer: str
    samples: tuple[float, ...] = ()
    error: float | None = None
    first_seconds: float | None = None
    skipped: str | None = None

    @property
    def rate(self) -> float:
        return statistics.median(self.samples) if self.samples else math.nan

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median."""
        if len(self.samples) < 2:
            return math.inf
        low, _, high = statistics.quantiles(self.samples, n=4)
        return 0.5 * (high - low) / self.rate


def main(arguments: list[str] | None = None) -> int:
    """SeedRun the comparison and return the exit code."""
    options = _parser().parse_args(arguments)
    names = options.peers.split(",")
    unknown = [name for name in names if name not in PLAYERS]
    if unknown:
        print(f"unknown peers {', '.join(unknown)}; choices: {', '.join(PLAYERS)}", file=sys.stderr)
        return 2
    given = [word for word in arguments or sys.argv[1:] if word != "--resume"]
    try:
        results = _Results(["python", "-m", "benchmarks.peers_grid", *given], options)
    except FileError as error:
        print(error, file=sys.stderr)
        return 2
    ratios = []
    print(f"{platform.platform()}, {options.threads} threads of {os.cpu_count()}; {', '.join(_versions())}")
    peers = {name: Peer(name, options.threads) for name in names}
    try:
        for task in _tasks(options):
            found = results.of(task)
            if found is None:
                limits = _limits(options.threads)
                rows, limits["product_ceiling_flops"] = _compare(task, list(peers.values()))
                found = results.add(task, limits, rows)
            ratio = _print_rows(task, *found, names[0])
            if ratio is not None:
                ratios.append((ratio, str(task)))
    finally:
        for peer in peers.values():
            peer.close()
    if ratios:
        mean = math.exp(statistics.fmean(math.log(r) for r, _ in ratios))
        worst, where = min(ratios)
        summary = f"geometric mean {mean:.2f}, worst {worst:.2f} ({where})"
        print(f"\n{names[0]} over the best other in its precision: {summary}")
    return 0


class _Results:
    """What was measured, written whole after every task where a file is named.

    Raises
    ------
    FileError
        Where the file cannot be written, or what it is to go on with was measured otherwise.
    """

    def __init__(self, command: list[str], options: argparse.Namespace) -> None:
        environment = {"platform": platform.platform(), "processor": _processor(), "versions": _versions()}
        self._head = {"command": command, "threads": options.threads, "environment": environment}
        self._path = None if options.json is None else Path(options.json)
        self._done: list[dict[str, Any]] = []
        if self._path is None:
            return
        check_destination(self._path, overwrite=True)
        if options.resume and self._path.exists():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._done = content.pop("results")
            if content != self._head:
                differing = ", ".join(name for name, value in self._head.items() if content.get(name) != value)
                raise FileError(f"{self._path} has another {differing}; name another file, or leave out --resume")

    def of(self, task: TrainingTask) -> tuple[list[Row], dict[str, float]] | None:
        """Return the rows and limits of a task that has been measured."""
        for result in self._done:
            if TrainingTask.from_dict(result["task"]) == task:
                rows = [Row(**{**row, "samples": tuple(row["samples"])}) for row in result["rows"]]
                return rows, {name: value for name, value in result.items() if name not in ("task", "rows")}
        return None

    def add(self, task: TrainingTask, limits: dict[str, float], rows: list[Row]) -> tuple[list[Row], dict[str, float]]:
        """Keep rows and limits, and return them."""
        self._done.append({"task": task.as_dict(), **limits, "rows": [vars(row) for row in rows]})
        if self._path is not None:
            text = json.dumps({**self._head, "results": self._done}, indent=1)
            write_atomically(self._path, lambda file: file.write(text.encode()), overwrite=True)
        return rows, limits


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_grid", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--grid", nargs="?", const="all", metavar="ROWS", help="the grid, or rows of it: 0,3")
    what.add_argument("--sizes", help="inputs, hidden layers, outputs: 784-512-10")
    what.add_argument("--random", type=int, metavar="N", help="so many random tasks")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--records", type=int, help="records in an epoch; default: 32 batches")
    parser.add_argument("--activation", choices=["relu", "tanh", "gelu"], default="relu")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0, help="of the random tasks")
    parser.add_argument("--least", type=int, default=1, help="width and batch of the random tasks, at most 100")
    parser.add_argument("--peers", default=",".join(n for n in PLAYERS if n != "torch-compile"), help="first: ours")
    parser.add_argument("--json", metavar="FILE", help="keep every sample, after each task")
    parser.add_argument("--resume", action="store_true", help="go on after the tasks that the file has already")
    return parser


def _tasks(options: argparse.Namespace) -> list[TrainingTask]:
    if options.random:
        return random_tasks(options.random, options.seed, options.threads, options.least)
    if options.grid:
        rows = range(len(GRID)) if options.grid == "all" else [int(k) for k in options.grid.split(",")]
        chosen = [GRID[k] for k in rows]
    else:
        sizes = tuple(int(n) for n in options.sizes.split("-"))
        records = options.records or 32 * options.batch
        chosen = [TrainingTask(sizes, options.batch, max(1, records // options.batch) * options.batch)]
    return [
        replace(task, activation=options.activation, optimizer=options.optimizer, threads=options.threads)
        for task in chosen
    ]


def _compare(task: TrainingTask, peers: list[Peer]) -> tuple[list[Row], float]:
    """Let the peers take turns on `task`, one running at a time; also return the best FLOP/s of a plain product."""
    ready: dict[str, tuple[Peer, float, float]] = {}
    skipped = {}
    for peer in peers:
        reason = peer.load(task)
        if reason is None:
            parameters, seconds = peer.check(task.checked_records())
            ready[peer.name] = (peer, error_of(task, parameters), seconds)
        else:
            skipped[peer.name] = Row(peer.name, skipped=reason)
    rows = {name: Row(name, (), error, seconds) for name, (_, error, seconds) in ready.items()}
    settle()  # what they are compared with was computed here
    ceiling = max((peer.product_rate(_PRODUCT) for peer, _, _ in ready.values()), default=0.0)
    for peer, _, _ in ready.values():
        peer.time(0.0)  # the shuffled epoch may have to be compiled as well
    for done in range(_ROUNDS[1]):
        if done >= _ROUNDS[0] and all(row.spread < _SPREAD for row in rows.values()):
            break
        for name, (peer, _, _) in ready.items():
            rate = task.records / peer.time(_ROUND_SECONDS)
            rows[name] = replace(rows[name], samples=(*rows[name].samples, rate))
    return [rows[p.name] if p.name in rows else skipped[p.name] for p in peers], ceiling


def _limits(threads: int) -> dict[str, float]:
    """Return what as many cores can do at best, where the CPU engine is there to measure it: just now, clocks drift."""
    command = [sys.executable, "-m", "gdkernels_numba.ceilings", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def _print_rows(task: TrainingTask, rows: list[Row], limits: dict[str, float], ours: str) -> float | None:
    """Print the rows of one task; return the ratio of `ours` to the best other in the same precision."""
    units = {
        "fma_flops": "registers {:.0f} GFLOP/s",
        "pair_flops": "registers in bfloat16 {:.0f} GFLOP/s",
        "product_ceiling_flops": "product {:.0f} GFLOP/s",
        "update_bytes": "memory in place {:.0f} GB/s",
    }
    known = [text.format(limits[name] / 1e9) for name, text in units.items() if limits.get(name)]
    if "turns_seconds" in limits:
        known.append(f"all threads in turn at one word {limits['turns_seconds'] * 1e9:.0f} ns")
    print(f"\n{task}" + (f"; at best: {', '.join(known)}" if known else ""))
    by_name = {row.peer: row for row in rows}
    mine = by_name[ours].rate
    for row in rows:
        if row.skipped:
            print(f"  {row.peer:16} skipped: {row.skipped}")
        else:
            flops = row.rate * task.flops_per_record()
            most = limits.get("pair_flops" if _is_narrow(row.peer) else "fma_flops")
            share = f" ({flops / most:4.0%})" if most else ""
            print(
                f"  {row.peer:16} {row.rate:12,.0f} samples/s ± {row.spread:4.0%}   {mine / row.rate:6.2f}×"
                f"   {flops / 1e9:7.1f} GFLOP/s{share}"
                f"   error {row.error:.1e}   first {row.first_seconds:.2f} s"
            )
    peers = [r for r in rows if r.samples and not r.peer.startswith("gdkernels")]
    others = [r.rate for r in peers if _is_narrow(r.peer) == _is_narrow(ours)]
    sys.stdout.flush()
    return mine / max(others) if others and not math.isnan(mine) else None


def _is_narrow(peer: str) -> bool:
    return peer.endswith("bf16")


def _versions() -> list[str]:
    found = []
    for name in ("gdkernels", "numpy", "numba", "torch", "jax", "scikit-learn", "thinc"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _processor() -> Any:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    sys.exit(main())
