"""Who trains a row of the grid: gdkernels, PyTorch eager and compiled, JAX; each as its own documentation has it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu.rows import RATE, Row
from gdkernels.backend import Backend, Plan, State, storage_dtype
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.verification import start

__all__ = ["CONTENDERS", "Contender"]

Pair = tuple[Any, Any]


class Contender(ABC):
    """One of them with a row: network, weights and data on the device."""

    @abstractmethod
    def __init__(self, row: Row) -> None: ...

    @abstractmethod
    def run(self, batches: list[Any]) -> None:
        """Do a step on each batch, given as row numbers, and wait for the device."""

    @abstractmethod
    def parameters(self) -> list[Pair]:
        """Return W [inputs, units] and b [units] of each layer as NumPy arrays."""


class Ours(Contender):
    """gdkernels, compiled, by one of its kernels if that is named; or its definition on CuPy."""

    def __init__(self, row: Row, *, compiled: bool = True, kernel: str | None = None) -> None:
        from gdkernels_cupy import CuPyBackend

        if not compiled and row.precision != storage_dtype(row.precision):
            raise LookupError(f"CuPy's own products know no {row.precision}")
        choices = {} if kernel is None else {"kernel": kernel}
        self._prepare(row, CuPyBackend(), Plan("cupy", "cuda:0", row.precision, choices), compiled=compiled)

    def _prepare(self, row: Row, backend: Backend, plan: Plan, *, compiled: bool) -> None:
        self._backend, self._device, self._batch = backend, plan.device, row.batch
        program = row.program()
        executable = backend.compile(program, plan) if compiled else None
        self._executable = executable or DefinitionExecutable(backend, program, plan)

        def put(a: Any) -> Any:
            return backend.asarray(np.array(a), dtype=storage_dtype(plan.precision), device=plan.device)

        self._state: State = start(program, row.parameters(), put)
        self._x, self._y = map(put, row.data())

    def run(self, batches: list[Any]) -> None:
        order = np.concatenate(batches)
        rates = np.full(len(batches), RATE)
        self._executable.run(self._state, self._x, self._y, order, self._batch, rates)
        self._backend.synchronize(self._device)

    def parameters(self) -> list[Pair]:
        to_numpy = self._backend.to_numpy
        return [(to_numpy(layer.W), to_numpy(layer.b)) for layer in self._state.parameters]

    @property
    def choices(self) -> dict[str, Any]:
        return dict(self._executable.plan.choices)


class Reference(Ours):
    """The definition in float64: on the GPU where there is one, for the sake of time."""

    def __init__(self, row: Row) -> None:
        from gdkernels_cupy import CuPyBackend
        from gdkernels_numpy import NumPyBackend

        backend, device = (CuPyBackend(), "cuda:0") if CuPyBackend().unavailable() is None else (NumPyBackend(), "cpu")
        self._prepare(row, backend, Plan(backend.name, device, "float64"), compiled=False)


class Torch(Contender):
    """PyTorch: modules and SGD, eager or compiled into CUDA graphs; bfloat16 by autocast, on float32 weights."""

    def __init__(self, row: Row, *, compiled: bool) -> None:
        import torch

        self._torch, self._device = torch, "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = row.precision == "tf32"
        self._linear = []
        modules: list[Any] = []
        for k, (W, b) in enumerate(row.parameters()):
            linear = torch.nn.Linear(*W.shape)
            linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
            self._linear.append(linear)
            modules += [linear] if k == row.layers - 1 else [linear, torch.nn.ReLU()]
        model = torch.nn.Sequential(*modules).to(self._device)
        self._optimizer = torch.optim.SGD(model.parameters(), lr=RATE, foreach=True)
        self._data = [torch.from_numpy(a).to(self._device) for a in row.data()]
        narrow = row.precision == "bfloat16"

        def step(x: Any, y: Any) -> Any:
            with torch.autocast(self._device, torch.bfloat16, enabled=narrow):
                prediction = model(x)
            loss = 0.5 * ((prediction.float() - y) ** 2).sum() / row.batch
            loss.backward()
            return loss

        self._step: Callable[[Any, Any], Any] = torch.compile(step, mode="max-autotune") if compiled else step

    def run(self, batches: list[Any]) -> None:
        x, y = self._data
        for rows in self._torch.from_numpy(np.stack(batches)).to(self._device):
            self._optimizer.zero_grad(set_to_none=False)
            self._step(x[rows], y[rows])
            self._optimizer.step()
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def parameters(self) -> list[Pair]:
        return [(m.weight.detach().cpu().numpy().T, m.bias.detach().cpu().numpy()) for m in self._linear]


class Jax(Contender):
    """JAX: all steps in one jit, a scan over the batches."""

    def __init__(self, row: Row) -> None:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        jnp = jax.numpy
        x, y = map(jnp.asarray, row.data())
        self._parameters = [(jnp.asarray(W), jnp.asarray(b)) for W, b in row.parameters()]
        narrow = row.precision == "bfloat16"
        self._context: Callable[[], AbstractContextManager[Any]] = nullcontext
        if not narrow:
            wanted = "highest" if row.precision == "float32" else "tensorfloat32"
            self._context = partial(jax.default_matmul_precision, wanted)

        def product(a: Any, W: Any) -> Any:
            if not narrow:
                return a @ W
            return jnp.matmul(a.astype(jnp.bfloat16), W.astype(jnp.bfloat16), preferred_element_type=jnp.float32)

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            for W, b in parameters[:-1]:
                x = jax.nn.relu(product(x, W) + b)
            W, b = parameters[-1]
            return 0.5 * ((product(x, W) + b - y) ** 2).sum() / row.batch

        def run(parameters: Any, batches: Any) -> Any:
            def step(parameters: Any, rows: Any) -> Any:
                value, slopes = jax.value_and_grad(loss)(parameters, x[rows], y[rows])
                return jax.tree.map(lambda w, g: w - RATE * g, parameters, slopes), value

            return jax.lax.scan(step, parameters, batches)

        self._run = jax.jit(run, donate_argnums=0)

    def run(self, batches: list[Any]) -> None:
        with self._context():
            self._parameters, values = self._run(self._parameters, np.stack(batches))
        values.block_until_ready()

    def parameters(self) -> list[Pair]:
        return [(np.asarray(W), np.asarray(b)) for W, b in self._parameters]


CONTENDERS: dict[str, Callable[[Row], Contender]] = {
    "gdkernels": Ours,
    "gdkernels, CUDA graphs": partial(Ours, kernel="graphs"),
    "gdkernels, definition on CuPy": partial(Ours, compiled=False),
    "torch eager": partial(Torch, compiled=False),
    "torch.compile": partial(Torch, compiled=True),
    "jax jit + scan": Jax,
    "reference": Reference,
}
