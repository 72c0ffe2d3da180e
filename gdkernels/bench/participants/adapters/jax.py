"""JAX: a whole pass in one jit, a scan over the batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

import numpy as np

from gdkernels.bench.participants.adapter import Adapter, Order, imported
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["JaxAdapter"]


class JaxAdapter(Adapter):
    """JAX on the device that it takes by default."""

    def ready(self) -> None:
        with suppress(UnsuitableError):
            imported("jax")

    def load(self, task: TrainingTask) -> None:
        jax = imported("jax")
        jnp = jax.numpy
        gpu, precision = self.participant.device != "cpu", self.participant.precision
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}[task.activation]
        X, Y = map(jnp.asarray, task.data())
        self._key, self._jax, self.task = jax.random.key(0), jax, task
        self._products: Callable[[], AbstractContextManager[Any]] = nullcontext
        if gpu and precision != "bfloat16":  # what a CPU does is float32
            wanted = "highest" if precision == "float32" else "tensorfloat32"
            self._products = partial(jax.default_matmul_precision, wanted)

        def product(a: Any, W: Any) -> Any:
            if precision != "bfloat16":
                return a @ W
            return jnp.matmul(a.astype(jnp.bfloat16), W.astype(jnp.bfloat16), preferred_element_type=jnp.float32)

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            for W, b in parameters[:-1]:
                x = activation(product(x, W) + b)
            W, b = parameters[-1]
            return 0.5 * ((product(x, W) + b - y) ** 2).sum() / task.batch

        def update(state: Any, slopes: Any) -> Any:
            parameters, m, v, t = state
            tree, rate = jax.tree.map, task.learning_rate
            if task.optimizer == "sgd":
                return tree(lambda w, g: w - rate * g, parameters, slopes), m, v, t
            m = tree(lambda a, g: 0.9 * a + 0.1 * g, m, slopes)
            v = tree(lambda a, g: 0.999 * a + 0.001 * g * g, v, slopes)
            scale = rate / (1 - 0.9**t)
            moved = tree(lambda w, a, s: w - scale * a / (jnp.sqrt(s / (1 - 0.999**t)) + 1e-8), parameters, m, v)
            return moved, m, v, t + 1

        def run(state: Any, batches: Any) -> Any:
            def step(state: Any, rows: Any) -> Any:
                value, slopes = jax.value_and_grad(loss)(state[0], X[rows], Y[rows])
                return update(state, slopes), value

            return jax.lax.scan(step, state, batches)

        def shuffled(state: Any, key: Any) -> Any:
            return run(state, jax.random.permutation(key, task.records).reshape(-1, task.batch))

        parameters = [(jnp.asarray(W), jnp.asarray(b)) for W, b in task.layers()]
        m, v = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
        self._state = (parameters, m, v, jnp.float32(1))
        jit = partial(jax.jit, donate_argnums=0) if gpu else jax.jit
        self._in_order, self._shuffled = jit(run), jit(shuffled)

    def epoch(self) -> None:
        self._key, key = self._jax.random.split(self._key)
        self._run(self._shuffled, key)

    def train_on(self, order: Order) -> None:
        self._run(self._in_order, order.reshape(-1, self.task.batch))

    def _run(self, jitted: Callable[[Any, Any], Any], batches: Any) -> None:
        with self._products():
            self._state, losses = jitted(self._state, batches)
        losses.block_until_ready()

    def layers(self) -> list[tuple[Any, Any]]:
        return [(np.asarray(W), np.asarray(b)) for W, b in self._state[0]]
