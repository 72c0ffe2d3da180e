"""The ways in which gdkernels trains many models."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.many.task import Array, ManyTraining, Task

__all__ = ["engine", "fit_many", "joblib_processes", "loop_of_fits"]


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


def loop_of_fits(task: Task) -> ManyTraining:
    models, settings = _models(task)
    x, y = task.data()

    def run() -> None:
        for model, given in zip(models, settings, strict=True):
            model.trainer(**given).fit(x, y, epochs=task.epochs, progress=False)

    return ManyTraining(run, lambda: [m.network.host_parameters() for m in models])


def fit_many(task: Task, threads: int | None) -> ManyTraining:
    import gdkernels as gd

    models, settings = _models(task)
    x, y = task.data()

    def run() -> None:
        gd.fit_many(models, x, y, epochs=task.epochs, settings=settings, threads=threads, progress=False)

    return ManyTraining(run, lambda: [m.network.host_parameters() for m in models])


def engine(task: Task, threads: int) -> ManyTraining:
    """Call executables once for each model, and nothing else."""
    models, settings = _models(task)
    x, y = task.data()
    steps = -(-len(x) // task.batch)
    jobs = []
    for k, (model, given) in enumerate(zip(models, settings, strict=True)):
        runner = model.trainer(**given).runner
        work = runner.workload(len(x))
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

    return ManyTraining(run, lambda: [state.parameters for *_, state, _, _ in jobs])


def _joblib_fit(task: Task, k: int) -> dict[str, Array]:
    one = Task(task.sizes, task.batch, task.epochs, only=k)
    training = loop_of_fits(one)
    training.run()
    return dict(training.parameters()[0])


def joblib_processes(task: Task) -> ManyTraining:
    """Fit each model in one of several processes, as `joblib` starts them."""
    from joblib import Parallel, delayed

    pool, short = Parallel(n_jobs=os.cpu_count()), Task(task.sizes[:4], task.batch, 1)
    pool(delayed(_joblib_fit)(short, k) for k in range(short.models))  # they have started, and loaded code
    found: list[Any] = [[task.named_weights(k) for k in range(task.models)]]

    def run() -> None:
        found[0] = pool(delayed(_joblib_fit)(task, k) for k in range(task.models))

    return ManyTraining(run, lambda: found[0])
