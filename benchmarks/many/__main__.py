"""``python -m benchmarks.many``: measures, and prints."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

from benchmarks import checkout, many
from benchmarks.many.process import Process
from benchmarks.many.task import SHAPES, Task

# Of a slower participant a smaller share of the epochs is timed.
SHARE = {"jax.vmap": 0.2, "torch bmm": 0.05}
OURS = ("loop of fits", "fit_many, 1 thread", "fit_many", "engine, 1 thread", "engine")
PEERS = ("joblib", "jax.vmap", "torch bmm")


def compared(names: list[str], tasks: dict[str, Task], rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each task the best samples/s, and samples for each CPU second, of each participant.

    Then comes the share of the most multiply-adds that all cores can do.
    """
    processes = [Process(name) for name in names]
    for told, task in tasks.items():
        found: dict[str, list[Any]] = {name: [] for name in names}
        short = Task(task.sizes, task.batch, 1)
        same = {p.name: p.ask(short) for p in processes}  # and off the clock
        grown = [answer[3] for answer in same.values() if not isinstance(answer, str)]
        assert max(grown) - min(grown) < 1e-3, f"participants do not train the same: {same}"
        for number in range(rounds):
            for process in processes if number % 2 else processes[::-1]:
                if not isinstance(same[process.name], str):
                    epochs = max(1, round(task.epochs * SHARE.get(process.name, 1.0)))
                    found[process.name].append(process.ask(Task(task.sizes, task.batch, epochs)))
        best = {n: tuple(max(a[j] for a in answers) for j in (0, 1)) for n, answers in found.items() if answers}
        peak = max(processes[0].multiply_adds(os.cpu_count() or 1) for _ in range(rounds))
        best = {n: (*rates, rates[0] * task.flops / peak) for n, rates in best.items()}
        yield told, best | {n: answer for n, answer in same.items() if isinstance(answer, str)}
    for process in processes:
        process.close()


def _print_rows(names: list[str], models: int, epochs: int, rounds: int) -> None:
    tasks = {told: Task((sizes,) * models, batch, epochs) for told, (sizes, batch) in SHAPES.items()}
    print(f"{models} models, {epochs} epochs; M samples/s, and M samples for each second of CPU time")
    for row, best in compared(names, tasks, rounds):
        print(row)
        loop = best[names[0]][0]
        for name, value in best.items():
            if isinstance(value, str):
                print(f"  {name:<20} {value:.90}")
            else:
                told = f"{value[0] / loop:5.2f} of the loop, {value[2]:4.0%} of the cores' multiply-adds"
                print(f"  {name:<20} {value[0] / 1e6:8.2f} {value[1] / 1e6:8.2f}   {told}")
        print(flush=True)


def _print_more(rounds: int) -> None:
    sizes, batch = SHAPES["8-32-32-1, batch 32"]
    process = Process("fit_many")

    def best(task: Task, column: int = 0) -> float:
        return float(max(process.ask(task)[column] for _ in range(rounds)))

    best(Task((sizes,) * 2, batch, 2))
    for models in (2, 16, 64, 256, 1024):
        rate = best(Task((sizes,) * models, batch, 20))
        print(f"{models:5} models of 8-32-32-1: {rate / 1e6:7.2f} M samples/s", flush=True)
    drawn = best(Task((sizes,) * 64, batch, 20, drawn=True))
    print(f"   64 models that draw orders by seeds: {drawn / 1e6:.2f} M samples/s", flush=True)
    widths = (24, 32, 40, 48)
    equal = [best(Task(((8, w, w, 1),) * 64, batch, 20)) for w in widths]
    mixed = best(Task(tuple((8, w, w, 1) for w in widths) * 16, batch, 20))
    print(f"mixed widths {widths}: {mixed * sum(1 / e for e in equal) / len(widths):.2f} of equal ones")
    times = {n: min(process.ask(Task((sizes,) * n, 2048, 1))[2] for _ in range(rounds)) for n in (64, 576)}
    engine = Process("engine")
    alone = {n: min(engine.ask(Task((sizes,) * n, 2048, 1))[2] for _ in range(rounds)) for n in (64, 576)}
    further = ((times[576] - times[64]) - (alone[576] - alone[64])) / 512
    print(f"a further model: {further * 1e3:.2f} ms of CPU beside the engine's")
    for one in (process, engine):
        one.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=many.__doc__)
    parser.add_argument("--models", type=int, default=64, metavar="N", help="models at a time (64)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="epochs of each (20)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each participant (5)")
    parser.add_argument("--ours", action="store_true", help="leave out jax and torch")
    given = parser.parse_args(arguments)
    os.environ.update(checkout.environment())
    names = [*OURS, *(() if given.ours else PEERS)]
    _print_rows(names, given.models, given.epochs, given.rounds)
    _print_more(given.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
