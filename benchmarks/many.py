"""Many models in one pass: `gd.fit_many` beside a loop of fits, the engine alone, jax.vmap and torch's bmm.

``python -m benchmarks.many`` trains 64 models of each of three shapes by plain descent on the sum of squared errors,
each from its own weights, at its own rate, in its own order. Participants live in processes of their own and take
turns. The engine alone is called once for each model: it is what `fit_many` could reach. Then come other numbers of
models, models that draw their orders by seeds, mixed widths, and the CPU time of a further model.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import checkout

RECORDS = 2048
SHAPES = {
    "8-32-32-1, batch 32": ((8, 32, 32, 1), 32),
    "27-64-64-3, batch 64": ((27, 64, 64, 3), 64),
    "64-256-10, batch 128": ((64, 256, 10), 128),
}
# Of a slower participant a smaller share of the epochs is timed.
SHARE = {"jax.vmap": 0.2, "torch bmm": 0.05}
OURS = ("loop of fits", "fit_many, 1 thread", "fit_many", "engine, 1 thread", "engine")
PEERS = ("joblib", "jax.vmap", "torch bmm")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Task:
    """Models to train: their sizes and batch, and the epochs of each; all of them, or only one.

    Their orders are given, the same for all participants, unless they are to be drawn by each model's seed.
    """

    sizes: tuple[tuple[int, ...], ...]
    batch: int
    epochs: int
    only: int | None = None
    drawn: bool = False

    @property
    def models(self) -> int:
        return len(self.sizes)

    @property
    def samples(self) -> int:
        return self.models * self.epochs * RECORDS

    @property
    def flops(self) -> int:
        """FLOPs of the products of a sample in the first model: forward, back but for the inputs, and the gradient."""
        products = [m * n for m, n in itertools.pairwise(self.sizes[0])]
        return 6 * sum(products) - 2 * products[0]

    def data(self) -> tuple[Array, Array]:
        """Return the records."""
        random, (inputs, *_, outputs) = np.random.default_rng(7), self.sizes[0]
        x = random.standard_normal((RECORDS, inputs)).astype(np.float32)
        return x, np.tanh(x @ random.standard_normal((inputs, outputs)) / inputs**0.5).astype(np.float32)

    def weights(self, k: int) -> list[tuple[Array, Array]]:
        """Return the initial weights and biases of a model."""
        random, sizes = np.random.default_rng([k, 1]), self.sizes[k]
        pairs = itertools.pairwise(sizes)
        drawn = [(random.standard_normal((m, n)) * (2 / m) ** 0.5, np.zeros(n)) for m, n in pairs]
        return [(W.astype(np.float32), b.astype(np.float32)) for W, b in drawn]

    def rates(self) -> Array:
        return 0.02 * np.exp(np.random.default_rng(3).uniform(-1, 1, self.models))

    def orders(self, k: int) -> Array:
        """Return the rows of each epoch of a model."""
        return np.stack([np.random.default_rng([k, e]).permutation(RECORDS) for e in range(self.epochs)])


def _models(task: Task) -> tuple[list[Any], list[dict[str, Any]]]:
    import gdkernels as gd

    models, settings = [], []
    for k, rate in enumerate(task.rates()):
        if task.only not in (None, k):
            continue
        model, orders = gd.MLP(task.sizes[k], seed=k, backend="numba"), task.orders(k)
        model.set_parameters(task.weights(k))
        models.append(model)
        order = lambda epoch, _, orders=orders: orders[epoch]  # noqa: E731 - short, and bound at once
        given = {} if task.drawn else {"order": order}
        settings.append({"optimizer": gd.SGD(float(rate)), "batch_size": task.batch, **given})
    return models, settings


def _loop(task: Task) -> tuple[Callable[[], Any], Callable[[], Any]]:
    models, settings = _models(task)
    x, y = task.data()

    def run() -> None:
        for model, given in zip(models, settings, strict=True):
            model.trainer(**given).fit(x, y, epochs=task.epochs, progress=False)

    return run, lambda: [m.network.host_parameters() for m in models]


def _fit_many(task: Task, threads: int | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import gdkernels as gd

    models, settings = _models(task)
    x, y = task.data()

    def run() -> None:
        gd.fit_many(models, x, y, epochs=task.epochs, settings=settings, threads=threads, progress=False)

    return run, lambda: [m.network.host_parameters() for m in models]


def _engine(task: Task, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Call executables once for each model, and nothing else."""
    models, settings = _models(task)
    x, y = task.data()
    steps = -(-RECORDS // task.batch)
    jobs = []
    for k, (model, given) in enumerate(zip(models, settings, strict=True)):
        runner = model.trainer(**given).runner
        work = runner.workload(RECORDS)
        binding = model.network.bind(x, lambda _, work=work: work)
        rates = np.full((task.epochs, steps), given["optimizer"].learning_rate)
        runner.prepare(work)
        jobs.append((binding, work.program, runner.state(), task.orders(k), rates))
    kept = [jobs[0][0].executable(jobs[0][1], choices={"threads": 1}) for _ in range(threads)]

    def trained(thread: int) -> None:
        for _, program, state, orders, rates in jobs[thread::threads]:
            kept[thread].with_program(program).run_epochs(state, x, y, orders, task.batch, rates)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(trained, range(threads)))

    return run, lambda: [state.parameters for *_, state, _, _ in jobs]


def _joblib_fit(task: Task, k: int) -> dict[str, Array]:
    one = Task(task.sizes, task.batch, task.epochs, only=k)
    run, parameters = _loop(one)
    run()
    return dict(parameters()[0])


def _joblib(task: Task) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Fit each model in one of several processes, as `joblib` starts them."""
    from joblib import Parallel, delayed

    pool, short = Parallel(n_jobs=os.cpu_count()), Task(task.sizes[:4], task.batch, 1)
    pool(delayed(_joblib_fit)(short, k) for k in range(short.models))  # they have started, and loaded code
    begin = [
        {f"{n}{j}": a for j, p in enumerate(task.weights(k)) for n, a in zip("Wb", p, strict=True)}
        for k in range(task.models)
    ]
    found: list[Any] = [begin]

    def run() -> None:
        found[0] = pool(delayed(_joblib_fit)(task, k) for k in range(task.models))

    return run, lambda: found[0]


def _jax(task: Task) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, task.data())

    def forward(p: Any, rows: Any) -> Any:
        for W, b in p[:-1]:
            rows = jnp.maximum(rows @ W + b, 0)
        return rows @ p[-1][0] + p[-1][1]

    def loss(p: Any, rows: Any) -> Any:
        return 0.5 * jnp.sum((forward(p, x[rows]) - y[rows]) ** 2) / rows.shape[0]

    def epoch(p: Any, rate: Any, batches: Any) -> Any:
        def step(p: Any, rows: Any) -> Any:
            return jax.tree.map(lambda w, g: w - rate * g, p, jax.grad(loss)(p, rows)), None

        return jax.lax.scan(step, p, batches)[0]

    several = jax.jit(jax.vmap(epoch))
    parts = [task.weights(k) for k in range(task.models)]
    state = [tuple(jnp.stack([p[k][j] for p in parts]) for j in (0, 1)) for k in range(len(parts[0]))]
    rates = jnp.asarray(task.rates(), jnp.float32)
    orders = np.stack([task.orders(k) for k in range(task.models)], axis=1).astype(np.int32)
    batches = orders.reshape(task.epochs, task.models, -1, task.batch)
    several(state, rates, batches[0])[0][0].block_until_ready()  # compiled off the clock
    found: list[Any] = [state]

    def run() -> None:
        for one in batches:
            found[0] = several(found[0], rates, one)
        found[0][0][0].block_until_ready()

    return run, lambda: [{f"{n}{k}": a for k, p in enumerate(found[0]) for n, a in zip("Wb", p, strict=True)}]


def _torch(task: Task, device: str = "cpu", products: str = "highest") -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    torch.set_float32_matmul_precision(products)

    def there(a: Array) -> Any:
        return torch.from_numpy(a).to(device)

    x, y = map(there, task.data())
    parts = [task.weights(k) for k in range(task.models)]
    state = [there(np.stack([p[k][j] for p in parts])) for k in range(len(parts[0])) for j in (0, 1)]
    rates = there(task.rates().astype(np.float32))[:, None, None]
    orders = there(np.stack([task.orders(k) for k in range(task.models)], axis=1))
    found: list[Any] = [state]

    def step(p: Any, rows: Any) -> Any:
        q = [w.detach().requires_grad_() for w in p]
        a = x[rows]
        for k in range(0, len(q), 2):
            a = torch.baddbmm(q[k + 1].unsqueeze(1), a, q[k])
            a = torch.relu(a) if k + 2 < len(q) else a
        slopes = torch.autograd.grad(0.5 * torch.sum((a - y[rows]) ** 2) / rows.shape[1], q)
        with torch.no_grad():
            return [w - (rates if w.dim() == 3 else rates[:, 0]) * g for w, g in zip(p, slopes, strict=True)]

    def run() -> None:
        for epoch in orders:
            for rows in epoch.split(task.batch, dim=1):
                found[0] = step(found[0], rows)
        if device != "cpu":
            torch.cuda.synchronize(device)

    return run, lambda: [{f"p{k}": a.cpu().numpy() for k, a in enumerate(found[0])}]


def participant(name: str, task: Task) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return what trains all models once, and what returns their parameters."""
    threads = 1 if name.endswith("1 thread") else (os.cpu_count() or 1)
    if name == "loop of fits":
        return _loop(task)
    if name.startswith("fit_many"):
        return _fit_many(task, threads)
    if name.startswith("engine"):
        return _engine(task, threads)
    if name.startswith("torch bmm on cuda"):
        return _torch(task, "cuda", "high" if name.endswith("tf32") else "highest")
    return {"joblib": _joblib, "jax.vmap": _jax, "torch bmm": _torch}[name](task)


def _serve(pipe: Any, name: str) -> None:
    while (task := pipe.recv()) is not None:
        if isinstance(task, int):
            pipe.send(_multiply_adds(task))
            continue
        try:
            run, parameters = participant(name, task)
            size = sum(float((np.asarray(a, np.float64) ** 2).sum()) for p in parameters() for a in p.values())
            began, cpu = time.perf_counter(), time.process_time()
            run()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            moved = sum(float((np.asarray(a, np.float64) ** 2).sum()) for p in parameters() for a in p.values())
            pipe.send((task.samples / seconds, task.samples / cpu, cpu, moved / size))
        except Exception as error:  # a library that is missing, or fails
            pipe.send(f"{type(error).__name__}: {error}")
    if name == "joblib":  # whose processes and folders outlive this one otherwise
        with suppress(ImportError):
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown()


def _multiply_adds(threads: int) -> float:
    from gdkernels_numba.ceilings import fma_rate

    return fma_rate(threads)


class Process:
    """A participant in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name))
        self._process.start()

    def ask(self, task: Task) -> Any:
        """Return samples/s, samples for each second of CPU, the CPU seconds, and how the parameters grew."""
        self._pipe.send(task)
        return self._pipe.recv()

    def multiply_adds(self, threads: int) -> float:
        """Return the FLOP/s of multiply-adds on so many threads that wait for no memory."""
        self._pipe.send(threads)
        return float(self._pipe.recv())

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(10)
        self._process.terminate()  # processes of joblib may keep it


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
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
    # Processes find what they run by the name of this module, and not by that of the script that was started.
    raise SystemExit(import_module("benchmarks.many").main())
