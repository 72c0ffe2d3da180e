"""Many models on a device: each with a CTA of its own is right and keeps its bits, and how fast that is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.gpu.first import environment
from benchmarks.gpu.typical import TYPICAL
from benchmarks.many import SHAPES, Process, Task
from gdkernels.backend import Executable, Job, Plan
from gdkernels.backend.program import Program
from gdkernels.backend.verification import named_arrays, start

__all__ = ["agree", "speed"]

_NETWORKS = ("8-32-32-1, relu", "20-48-32-3, relu, Adam", "30-64-32-10, silu, Adam, classes")
_RECORDS, _EPOCHS, _MODELS = 500, 3, 300  # more models than there is room for at a time

_WAYS: dict[str, dict[str, Any]] = {
    "a CTA for each": {"many": True},
    "one after the other": {},
    "one after the other, CUDA graphs": {"kernel": "graphs"},
}


def agree(precision: str, *, models: int = _MODELS, times: int = 20) -> dict[str, str]:
    """Return by network what was compared: with the definition, with each model alone, and with itself.

    Raises
    ------
    AssertionError
        If anything differs, or models had no CTA of their own.
    """
    return {name: _compared(TYPICAL[name][0], precision, models, times) for name in _NETWORKS}


def _compared(program: Program, precision: str, models: int, times: int) -> str:
    from gdkernels_cupy import CuPyBackend
    from gdkernels_cupy.choice import ChosenExecutable

    backend = CuPyBackend()
    with environment(GDKERNELS_CHECK="always"):
        executable = backend.compile(program, Plan("cupy", "cuda:0", precision, {"many": True}))
        assert isinstance(executable, ChosenExecutable), "it was not compiled"
        assert executable.is_one_of_many, executable.why(program.widths)

        def put(a: Any) -> Any:
            return backend.asarray(np.asarray(a), dtype="float32", device="cuda:0")

        random = np.random.default_rng(0)
        x = put(random.standard_normal((_RECORDS, program.inputs)))
        y = put(np.eye(program.outputs)[random.integers(program.outputs, size=_RECORDS)])

        def job(k: int) -> Job:
            drawn, batch = np.random.default_rng(k), (32, 64, 200)[k % 3]
            parameters = {n: drawn.standard_normal(p.shape) / 8 for n, p in program.parameters.items()}
            orders = np.stack([drawn.permutation(_RECORDS) for _ in range(_EPOCHS)])
            rates = drawn.uniform(1e-4, 1e-3, (_EPOCHS, -(-_RECORDS // batch)))
            return Job(executable, start(program, parameters, put), x, y, orders, batch, rates)

        def bits(jobs: Sequence[Job]) -> list[bytes]:
            return [b"".join(a.tobytes() for _, a in named_arrays(job.state, backend.to_numpy)) for job in jobs]

        jobs = [job(k) for k in range(models)]
        list(executable.run_many(jobs))
        wrong = executable.passed_over.get("a CTA for each model")
        assert wrong is None, wrong
        wanted = bits(jobs)
        for k in range(0, models, max(1, models // 10)):
            alone = job(k)
            alone.run()
            assert bits([alone]) == [wanted[k]], f"model {k} of {models} has other bits alone"
        for _ in range(times):
            again = [job(k) for k in range(models)]
            list(executable.run_many(again))
            assert bits(again) == wanted, "other bits than before"
    return f"{models} models, {times} times: {dict(executable.plan.choices)}"


def speed(name: str, precision: str, *, models: int = 64, epochs: int = 20, rounds: int = 3) -> dict[str, Any]:
    """Return the samples a second of models of one of `benchmarks.many`'s shapes, the best of some rounds.

    A CTA each is compared with one after the other, by the persistent kernel that all CTAs share and by CUDA graphs;
    all by executables, as `fit_many` calls them, without its own work; then `fit_many`, and `jax.vmap` with `lax.scan`
    where JAX is installed.
    """
    sizes, batch = SHAPES[name]
    task = Task((sizes,) * models, batch, epochs)
    found: dict[str, Any] = {}
    for told, choices in _WAYS.items():
        few = task if "many" in choices else Task((sizes,) * min(models, 8), batch, epochs)
        found[told] = _executables(few, precision, choices, rounds)
    found["fit_many"] = _fit_many(task, precision, rounds)
    peer = Process("jax.vmap")
    try:
        answers = [peer.ask(task) for _ in range(rounds)]
        found["jax.vmap"] = answers[0] if isinstance(answers[0], str) else max(answer[0] for answer in answers)
    finally:
        peer.close()
    return found


def _executables(task: Task, precision: str, choices: dict[str, Any], rounds: int) -> dict[str, Any]:
    from gdkernels_cupy import CuPyBackend

    backend, program = CuPyBackend(), _program(task)
    first = backend.compile(program, Plan("cupy", "cuda:0", precision, choices))
    assert first is not None, "it was not compiled"

    def put(a: Any) -> Any:
        return backend.asarray(np.asarray(a), dtype="float32", device="cuda:0")

    x, y = map(put, task.data())
    steps = -(-len(x) // task.batch)
    executables: list[Executable] = [first.with_program(program) or first for _ in range(task.models)]

    def job(k: int) -> Job:
        pairs = dict(enumerate(task.weights(k)))
        parameters = {f"{n}{j}": a for j, pair in pairs.items() for n, a in zip("Wb", pair, strict=True)}
        rates = np.full((task.epochs, steps), task.rates()[k])
        return Job(executables[k], start(program, parameters, put), x, y, task.orders(k), task.batch, rates)

    seconds = []
    for _ in range(rounds + 1):  # the first one compiles
        jobs = [job(k) for k in range(task.models)]
        backend.synchronize("cuda:0")
        began = time.perf_counter()
        list(first.run_many(jobs))
        backend.synchronize("cuda:0")
        seconds.append(time.perf_counter() - began)
    return {
        "samples a second": task.samples / min(seconds[1:]),
        "seconds": seconds,
        "choices": dict(executables[-1].plan.choices),
    }


def _program(task: Task) -> Program:
    from benchmarks.gpu.typical import network
    from gdkernels.definition import activations
    from gdkernels.definition.optimizers import SGD

    return network(activations.relu, task.sizes[0], SGD())


def _fit_many(task: Task, precision: str, rounds: int) -> dict[str, Any]:
    import gdkernels as gd

    x, y = task.data()
    seconds, reason = [], ""
    for _ in range(rounds + 1):
        models, settings = [], []
        for k, rate in enumerate(task.rates()):
            model = gd.MLP(task.sizes[k], seed=k, backend="cupy", precision=precision)
            model.set_parameters(task.weights(k))
            models.append(model)
            settings.append({"optimizer": gd.SGD(float(rate)), "batch_size": task.batch})
        began = time.perf_counter()
        histories = gd.fit_many(models, x, y, epochs=task.epochs, settings=settings, progress=False)
        seconds.append(time.perf_counter() - began)
        reason = histories[0].reason
    return {"samples a second": task.samples / min(seconds[1:]), "seconds": seconds, "reason": reason}
