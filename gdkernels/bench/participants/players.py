"""The peers: each trains as its own documentation would have it, given the same weights, data and rates.

An import inside each, so that none is needed but those that are asked for.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gdkernels.bench.participants.task import Task

__all__ = ["PLAYERS", "Player", "Unsuited"]

Pair = tuple[Any, Any]


class Unsuited(Exception):  # noqa: N818 (not an error: a row that is skipped, with its reason)
    """What is asked for is not to be had from this peer."""


class Player(ABC):
    """One peer with a task: its network, weights and data, ready to train."""

    precision = "float32"

    @abstractmethod
    def __init__(self, task: Task) -> None: ...

    @abstractmethod
    def epoch(self, records: int | None = None) -> None:
        """Do one shuffled pass; with `records`, one over the first so many in their order. Ends when it is done."""

    def train(self, epochs: int) -> None:
        """Do so many shuffled passes."""
        for _ in range(epochs):
            self.epoch()

    def product(self, size: int) -> Callable[[], Any] | None:
        """Return a float32 product of two square matrices by this peer's library, if that is worth knowing."""
        return None

    @abstractmethod
    def parameters(self) -> list[Pair]:
        """Return W [inputs, units] and b [units] of each layer as NumPy arrays."""


class Ours(Player):
    """gdkernels itself on one of its backends."""

    def __init__(self, task: Task, backend: str, precision: str = "float32") -> None:
        import gdkernels as gd
        from gdkernels.dispatch import registry
        from gdkernels.errors import GdkernelsError

        try:
            registry.decide(backend, precision=precision)
        except GdkernelsError as error:
            raise Unsuited(str(error)) from error
        self.precision = precision
        self._mlp = gd.MLP(task.sizes, activation=task.activation, seed=0, backend=backend, precision=precision)
        self._mlp.set_parameters(task.parameters())
        self._task = task
        self._trainer = gd.Trainer(self._mlp, optimizer=task.rule(), loss="sse", batch_size=task.batch)
        self._data = task.data()

    def epoch(self, records: int | None = None) -> None:
        x, y = self._data
        if records is None:
            self._trainer.epoch(x, y)
            return
        for start in range(0, records, self._task.batch):
            # One batch an epoch: its order within the batch does not matter, that of the batches does.
            rows = slice(start, start + self._task.batch)
            self._trainer.epoch(x[rows], y[rows])

    def train(self, epochs: int) -> None:
        self._trainer.fit(*self._data, epochs=epochs, progress=False)

    def parameters(self) -> list[Pair]:
        return [(np.asarray(layer.W), np.asarray(layer.b)) for layer in self._mlp.parameters]


class PlainNumPy(Player):
    """A training loop as one writes it by hand."""

    def __init__(self, task: Task) -> None:
        if task.optimizer != "sgd" or task.activation not in ("relu", "tanh"):
            raise Unsuited("the loop written by hand has plain descent with relu or tanh")
        self._task, self._layers = task, [(np.array(W), np.array(b)) for W, b in task.parameters()]
        self._data, self._rng = task.data(), np.random.default_rng(0)

    def epoch(self, records: int | None = None) -> None:
        X, Y = self._data
        rate = np.float32(self._task.learning_rate / self._task.batch)
        order = np.arange(records) if records is not None else self._rng.permutation(len(X))
        relu, last = self._task.activation == "relu", len(self._layers) - 1
        for start in range(0, len(order), self._task.batch):
            rows = order[start : start + self._task.batch]
            outputs = [X[rows]]
            for k, (W, b) in enumerate(self._layers):
                z = outputs[-1] @ W + b
                outputs.append(z if k == last else np.maximum(z, 0) if relu else np.tanh(z))
            delta = outputs[-1] - Y[rows]
            for k in reversed(range(len(self._layers))):
                W, b = self._layers[k]
                slope_W, slope_b = outputs[k].T @ delta, delta.sum(axis=0)
                if k:
                    a = outputs[k]
                    delta = (delta @ W.T) * ((a > 0) if relu else (1 - a * a))
                W -= rate * slope_W
                b -= rate * slope_b

    def product(self, size: int) -> Callable[[], Any] | None:
        a = np.ones((size, size), dtype=np.float32)
        return lambda: a @ a

    def parameters(self) -> list[Pair]:
        return self._layers


class Torch(Player):
    """PyTorch with its own modules and optimizers: eager, compiled, or with bfloat16 autocast."""

    def __init__(self, task: Task, *, compiled: bool = False, autocast: bool = False) -> None:
        torch = _imported("torch")
        torch.set_num_threads(task.threads)
        functions = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": partial(torch.nn.GELU, approximate="tanh")}
        modules: list[Any] = []
        self._linear = []
        for k, (W, b) in enumerate(task.parameters()):
            linear = torch.nn.Linear(*W.shape)
            linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
            self._linear.append(linear)
            modules += [linear] if k == len(task.sizes) - 2 else [linear, functions[task.activation]()]
        model = torch.nn.Sequential(*modules)
        kind = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
        self._optimizer = kind(model.parameters(), lr=task.learning_rate)
        self._data = [torch.from_numpy(a) for a in task.data()]
        self._torch, self._task = torch, task
        if autocast:
            self.precision = "bfloat16"

        def step(x: Any, y: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = 0.5 * ((model(x) - y) ** 2).sum() / task.batch
            loss.backward()
            return loss

        self._step = torch.compile(step) if compiled else step

    def epoch(self, records: int | None = None) -> None:
        torch, (X, Y) = self._torch, self._data
        order = torch.arange(records) if records is not None else torch.randperm(len(X))
        for start in range(0, len(order), self._task.batch):
            rows = order[start : start + self._task.batch]
            self._optimizer.zero_grad(set_to_none=True)
            self._step(X[rows], Y[rows])
            self._optimizer.step()

    def product(self, size: int) -> Callable[[], Any] | None:
        a = self._torch.ones((size, size))
        return lambda: a @ a

    def parameters(self) -> list[Pair]:
        return [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in self._linear]


class Jax(Player):
    """JAX: the whole epoch in one jit, a scan over the batches."""

    def __init__(self, task: Task) -> None:
        jax = _imported("jax")
        jnp = jax.numpy
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}[task.activation]
        self._parameters = [(jnp.asarray(W), jnp.asarray(b)) for W, b in task.parameters()]
        X, Y = map(jnp.asarray, task.data())
        self._key, self._jax, self._task = jax.random.key(0), jax, task

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            for W, b in parameters[:-1]:
                x = activation(x @ W + b)
            W, b = parameters[-1]
            return 0.5 * ((x @ W + b - y) ** 2).sum() / task.batch

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

        zeros = jax.tree.map(jnp.zeros_like, self._parameters)
        self._state = (self._parameters, zeros, zeros, jnp.float32(1))
        self._in_order, self._shuffled = jax.jit(run), jax.jit(shuffled)

    def epoch(self, records: int | None = None) -> None:
        if records is not None:
            batches = np.arange(records).reshape(-1, self._task.batch)
            self._state, losses = self._in_order(self._state, batches)
        else:
            self._key, key = self._jax.random.split(self._key)
            self._state, losses = self._shuffled(self._state, key)
        losses.block_until_ready()

    def parameters(self) -> list[Pair]:
        return [(np.asarray(W), np.asarray(b)) for W, b in self._state[0]]


class ScikitLearn(Player):
    """scikit-learn's MLPRegressor."""

    def __init__(self, task: Task) -> None:
        if task.activation == "gelu":
            raise Unsuited("scikit-learn has no gelu")
        module = _imported("sklearn.neural_network")
        self._model = module.MLPRegressor(
            hidden_layer_sizes=task.sizes[1:-1],
            activation=task.activation,
            solver=task.optimizer,
            batch_size=task.batch,
            learning_rate_init=task.learning_rate,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            random_state=0,
        )
        self._task, (self._X, Y) = task, task.data()
        self._Y = Y[:, 0] if Y.shape[1] == 1 else Y
        self._begun = False

    def epoch(self, records: int | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not self._begun:
                self._begin()
            # partial_fit shuffles within what it is given, which within one batch does not matter.
            for start in range(0, records or 1, self._task.batch):
                rows = slice(None) if records is None else slice(start, start + self._task.batch)
                self._model.partial_fit(self._X[rows], self._Y[rows])

    def _begin(self) -> None:
        # The first call makes weights and optimizer: it runs on one batch, then gets ours, and a new optimizer.
        self._model.partial_fit(self._X[: self._task.batch], self._Y[: self._task.batch])
        parameters = self._task.parameters()
        for k, (W, b) in enumerate(parameters):
            self._model.coefs_[k][...], self._model.intercepts_[k][...] = W, b
        if self._task.optimizer == "adam":
            optimizer = self._model._optimizer
            optimizer.t = 0
            for moment in (*optimizer.ms, *optimizer.vs):
                moment[...] = 0
        self._begun = True

    def parameters(self) -> list[Pair]:
        return list(zip(self._model.coefs_, self._model.intercepts_, strict=True))


class Thinc(Player):
    """thinc with its own layers and optimizers."""

    def __init__(self, task: Task) -> None:
        api = _imported("thinc.api")
        if task.activation != "relu" or task.optimizer != "sgd":
            raise Unsuited("thinc's layers are compared with relu and plain descent")
        parameters = task.parameters()
        hidden = [api.Relu(nO=W.shape[1], nI=W.shape[0]) for W, _ in parameters[:-1]]
        self._layers = [*hidden, api.Linear(nO=task.sizes[-1], nI=task.sizes[-2])]
        self._model = api.chain(*self._layers) if hidden else self._layers[0]
        self._X, self._Y = task.data()
        self._model.initialize(X=self._X[:2], Y=self._Y[:2])
        for layer, (W, b) in zip(self._layers, parameters, strict=True):
            layer.set_param("W", W.T.copy())
            layer.set_param("b", b.copy())
        self._optimizer = api.SGD(task.learning_rate / task.batch, L2=0.0, grad_clip=0.0)
        self._batch = task.batch

    def epoch(self, records: int | None = None) -> None:
        X, Y = self._X[:records], self._Y[:records]
        for x, y in self._model.ops.multibatch(self._batch, X, Y, shuffle=records is None):
            prediction, back = self._model.begin_update(x)
            back(prediction - y)
            self._model.finish_update(self._optimizer)

    def parameters(self) -> list[Pair]:
        return [(layer.get_param("W").T, layer.get_param("b")) for layer in self._layers]


PLAYERS: dict[str, Callable[[Task], Player]] = {
    "gdkernels-numba": partial(Ours, backend="numba"),
    "gdkernels-numba-bf16": partial(Ours, backend="numba", precision="bfloat16"),
    "gdkernels-numpy": partial(Ours, backend="numpy"),
    "numpy": PlainNumPy,
    "torch": Torch,
    "torch-compile": partial(Torch, compiled=True),
    "torch-bf16": partial(Torch, autocast=True),
    "jax": Jax,
    "sklearn": ScikitLearn,
    "thinc": Thinc,
}


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        package, _, _ = name.partition(".")
        raise Unsuited(
            f"{package} is not installed: pip install {'scikit-learn' if package == 'sklearn' else package}"
        ) from error
