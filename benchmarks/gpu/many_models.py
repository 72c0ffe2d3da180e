"""Many models on a device, with a CTA each or as a batch: they are right and keep their bits, and how fast that is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gdkernels_cupy.persistent.shape import WIDEST

from benchmarks.gpu.first import environment
from benchmarks.gpu.typical import TYPICAL, network
from benchmarks.many.process import Process
from benchmarks.many.task import SHAPES, Task
from gdkernels.backend import Executable, Job, Plan
from gdkernels.backend.program import Program
from gdkernels.backend.verification import named_arrays, relative_error, start
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.testing.cases import CASES

__all__ = ["LARGE", "agree", "batches_agree", "speed"]

# Beside the shapes of `benchmarks.many`, one whose products fill a device less than a quarter, and one that fills it.
LARGE = {
    "27-128-128-3, batch 64": ((27, 128, 128, 3), 64),
    "784-512-512-10, batch 256": ((784, 512, 512, 10), 256),
}

_NETWORKS = ("8-32-32-1, relu", "20-48-32-3, relu, Adam", "30-64-32-10, silu, Adam, classes")
_RECORDS, _EPOCHS, _MODELS = 500, 3, 300  # more models than there is room for at a time

# From the fit of a model alone, after at most 48 steps: the bound that every backend has from float64; where products
# round their operands, what a rounding the other way leaves of it.
_APART = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 1e-1}

# What no CTA has room for, with residual blocks too.
_LARGER = {
    "64-256-10, relu": network(activations.relu, (64, 256, 10), SGD()),
    "30-200-100-10, silu, Adam, classes": network(activations.silu, (30, 200, 100, 10), Adam(), losses.cross_entropy),
    "residual blocks": CASES["pre-norm residual, everything"].program,
}

_WAYS: dict[str, dict[str, Any]] = {
    "a CTA for each": {"many": True, "kernel": "narrow"},
    "a batch": {"many": True, "kernel": "batches"},
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
    choices = _WAYS["a CTA for each"]
    return {name: _compared(TYPICAL[name][0], precision, models, times, choices) for name in _NETWORKS}


def batches_agree(precision: str, *, models: int = 40, times: int = 20) -> dict[str, str]:
    """Return by network what `agree` does, of models as batches: of each batch size one.

    Besides, models are compared with the fit of each alone, by CUDA graphs, whose products may be others.
    """
    return {name: _compared(of, precision, models, times, _WAYS["a batch"]) for name, of in _LARGER.items()}


def _compared(program: Program, precision: str, models: int, times: int, choices: dict[str, Any]) -> str:
    from gdkernels_cupy import CuPyBackend
    from gdkernels_cupy.choice import ChosenExecutable

    backend = CuPyBackend()
    with environment(GDKERNELS_CHECK="always"):
        executable = backend.compile(program, Plan("cupy", "cuda:0", precision, choices))
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
        assert not executable.passed_over, executable.passed_over
        assert executable.plan.choices["kernel"] == choices["kernel"], executable.why(program.widths)
        wanted = bits(jobs)
        for k in range(0, models, max(1, models // 10)):
            alone = job(k)
            alone.run()
            assert bits([alone]) == [wanted[k]], f"model {k} of {models} has other bits alone"
        for _ in range(times):
            again = [job(k) for k in range(models)]
            list(executable.run_many(again))
            assert bits(again) == wanted, "other bits than before"
        told = f"{models} models, {times} times"
        if choices["kernel"] == "batches":
            apart = 0.0
            by_graphs = backend.compile(program, Plan("cupy", "cuda:0", precision, {"kernel": "graphs"}))
            assert by_graphs is not None, "it was not compiled"
            for k in range(0, models, max(1, models // 5)):
                alone = replace(job(k), executable=by_graphs)
                alone.run()
                both = (named_arrays(state, backend.to_numpy) for state in (alone.state, jobs[k].state))
                apart = max(apart, *(relative_error(a, b) for (_, a), (_, b) in zip(*both, strict=True)))
            assert apart <= _APART[precision], f"{apart:.1e} from the fit of a model alone"
            told += f", {apart:.1e} from fits alone"
    return f"{told}: {dict(executable.plan.choices)}"


def speed(name: str, precision: str, *, models: int = 64, epochs: int = 20, rounds: int = 3) -> dict[str, Any]:
    """Return the samples a second of models of one of `benchmarks.many`'s shapes, the best of some rounds.

    A CTA each, where that is possible, and batches are compared with one after the other, by the persistent kernel that
    all CTAs share and by CUDA graphs; all by executables, as `fit_many` calls them, without its own work. Then come
    `fit_many`, `jax.vmap` with `lax.scan`, and PyTorch's bmm on the device, where these are installed.
    """
    sizes, batch = {**SHAPES, **LARGE}[name]
    task = Task((sizes,) * models, batch, epochs)
    found: dict[str, Any] = {}
    for told, choices in _WAYS.items():
        if choices.get("kernel") == "narrow" and max(sizes) > WIDEST:
            continue
        few = task if "many" in choices else Task((sizes,) * min(models, 8), batch, epochs)
        found[told] = _executables(few, precision, choices, rounds)
    found["fit_many"] = _fit_many(task, precision, rounds)
    peers = ["jax.vmap", f"torch bmm on cuda{', tf32' if precision == 'tf32' else ''}"]
    for peer in map(Process, peers if precision != "bfloat16" else peers[:1]):
        try:
            answers = [peer.ask(task) for _ in range(rounds)]
            found[peer.name] = answers[0] if isinstance(answers[0], str) else max(answer[0] for answer in answers)
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
        rates = np.full((task.epochs, steps), task.rates()[k])
        return Job(executables[k], start(program, task.named_weights(k), put), x, y, task.orders(k), task.batch, rates)

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
