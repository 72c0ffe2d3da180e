"""JAX: a whole pass in one jit, a scan over the batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gdkernels.bench.participants.adapter import Adapter, Order, copied, imported
from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.randomness import RandomNumbers

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
        if task.network != CHAIN and precision == "bfloat16":
            raise UnsuitableError("networks of blocks are compared with JAX only in float32 and tf32")
        X, Y = map(jnp.asarray, task.data())
        self._key, self._jax = jax.random.key(0), jax
        self.task, self.draws, self.steps_done = task, task.program().draws, 0
        self._products: Callable[[], AbstractContextManager[Any]] = nullcontext
        if gpu and precision != "bfloat16":  # what a CPU does is float32
            wanted = "highest" if precision == "float32" else "tensorfloat32"
            self._products = partial(jax.default_matmul_precision, wanted)

        model = _chain(jax, task, precision) if task.network == CHAIN else _network(jax, task)

        def loss(parameters: Any, x: Any, y: Any, keys: Any) -> Any:
            return 0.5 * ((model.outputs(parameters, x, keys) - y) ** 2).sum() / task.batch

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

        def run(state: Any, batches: Any, keys: Any) -> Any:
            def step(state: Any, given: Any) -> Any:
                rows, of_rows = given
                value, slopes = jax.value_and_grad(loss)(state[0], X[rows], Y[rows], of_rows)
                return update(state, slopes), value

            return jax.lax.scan(step, state, (batches, keys))

        def shuffled(state: Any, key: Any, keys: Any) -> Any:
            return run(state, jax.random.permutation(key, task.records).reshape(-1, task.batch), keys)

        m, v = (jax.tree.map(jnp.zeros_like, model.parameters) for _ in range(2))
        self._model, self._state = model, (model.parameters, m, v, jnp.float32(1))
        jit = partial(jax.jit, donate_argnums=0) if gpu else jax.jit
        self._in_order, self._shuffled = jit(run), jit(shuffled)

    def epoch(self) -> None:
        self._key, key = self._jax.random.split(self._key)
        self._run(self._shuffled, key, self.task.records)

    def train_on(self, order: Order) -> None:
        self._run(self._in_order, order.reshape(-1, self.task.batch), len(order))

    def _run(self, jitted: Callable[[Any, Any, Any], Any], batches: Any, records: int) -> None:
        drawn = self.next_keys(records)
        keys = None if drawn is None else drawn.reshape(-1, self.task.batch)
        with self._products():
            self._state, losses = jitted(self._state, batches, keys)
        losses.block_until_ready()

    def parameters(self) -> Arrays:
        return self._model.arrays(self._state[0])


@dataclass(frozen=True)
class _JaxModel:
    """A network in JAX.

    Attributes
    ----------
    parameters
        The initial values of what training changes.
    outputs
        A function of parameters like these, of the inputs, and of the keys of what blocks draw or None.
    arrays
        Returns parameters like these, and the constants, as copies by the names of the task.
    """

    parameters: Any
    outputs: Callable[[Any, Any, Any], Any]
    arrays: Callable[[Any], Arrays]


def _chain(jax: Any, task: TrainingTask, precision: str) -> _JaxModel:
    """Return dense layers, as you would write them."""
    jnp = jax.numpy
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}[task.activation]

    def product(a: Any, W: Any) -> Any:
        if precision != "bfloat16":
            return a @ W
        return jnp.matmul(a.astype(jnp.bfloat16), W.astype(jnp.bfloat16), preferred_element_type=jnp.float32)

    def outputs(parameters: Any, x: Any, keys: Any) -> Any:
        for W, b in parameters[:-1]:
            x = activation(product(x, W) + b)
        W, b = parameters[-1]
        return product(x, W) + b

    return _JaxModel([(jnp.asarray(W), jnp.asarray(b)) for W, b in task.layers()], outputs, copied)


def _network(jax: Any, task: TrainingTask) -> _JaxModel:
    """Return blocks on JAX's arrays; what they draw is what every participant draws."""
    program, jnp = task.program(), jax.numpy
    placed = {name: jnp.asarray(a) for name, a in task.parameters().items()}
    trained = {name: placed[name] for name in program.trained}
    constants = {name: a for name, a in placed.items() if name not in trained}

    def outputs(parameters: Any, x: Any, keys: Any) -> Any:
        random = None if keys is None else RandomNumbers(keys)
        return program.block(parameters | constants, x, xp=jnp, random=random)

    def arrays(parameters: Any) -> Arrays:
        return {name: np.array(a) for name, a in (parameters | constants).items()}

    return _JaxModel(trained, outputs, arrays)
