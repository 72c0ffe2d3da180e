"""Participants in processes of their own, which train when they are asked."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.many import ours, peers
from benchmarks.many.task import ManyTraining, Task

__all__ = ["Process"]


def training_of(name: str, task: Task) -> ManyTraining:
    """Return how the participant of this name does a task."""
    threads = 1 if name.endswith("1 thread") else (os.cpu_count() or 1)
    if name == "loop of fits":
        return ours.loop_of_fits(task)
    if name.startswith("fit_many"):
        return ours.fit_many(task, threads)
    if name.startswith("engine"):
        return ours.engine(task, threads)
    if name.startswith("torch bmm on cuda"):
        return peers.torch_bmm(task, "cuda", "high" if name.endswith("tf32") else "highest")
    if name == "joblib":
        return ours.joblib_processes(task)
    return peers.jax_vmap(task) if name == "jax.vmap" else peers.torch_bmm(task)


def _serve(pipe: Any, name: str) -> None:
    while (task := pipe.recv()) is not None:
        if isinstance(task, int):
            pipe.send(_multiply_adds(task))
            continue
        try:
            training = training_of(name, task)
            size = _sum_of_squares(training)
            began, cpu = time.perf_counter(), time.process_time()
            training.run()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            grown = _sum_of_squares(training) / size
            pipe.send((task.samples / seconds, task.samples / cpu, cpu, grown))
        except Exception as error:  # a library that is missing, or fails
            pipe.send(f"{type(error).__name__}: {error}")
    if name == "joblib":  # whose processes and folders outlive this one otherwise
        with suppress(ImportError):
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown()


def _sum_of_squares(training: ManyTraining) -> float:
    return sum(float((np.asarray(a, np.float64) ** 2).sum()) for p in training.parameters() for a in p.values())


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
