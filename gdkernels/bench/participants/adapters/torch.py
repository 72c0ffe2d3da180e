"""PyTorch with its own modules and optimizers: eager or compiled, on the CPU or a GPU, with bfloat16 by autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from gdkernels.bench.participants.adapter import Adapter, Order, copied, imported
from gdkernels.bench.participants.adapters.torch_blocks import computed_by
from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import LIBRARIES, UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["TorchAdapter"]


class TorchAdapter(Adapter):
    """PyTorch. On a GPU its step can be captured into CUDA graphs: gradients stay where they are between steps."""

    def ready(self) -> None:
        with suppress(UnsuitableError):
            imported("torch")

    def load(self, task: TrainingTask) -> None:
        torch = imported("torch")
        precision = self.participant.precision
        if task.network != CHAIN and precision == "bfloat16":
            raise UnsuitableError("networks of blocks are compared with PyTorch only in float32 and tf32")
        gpu = self.participant.device != "cpu" and torch.cuda.is_available()
        device = "cuda" if gpu else "cpu"
        torch.set_num_threads(task.threads)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        model = (_chain if task.network == CHAIN else _network)(torch, task, device)
        kind = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
        self._optimizer = kind(model.parameters.values(), lr=task.learning_rate, **({"foreach": True} if gpu else {}))
        self._data = [torch.from_numpy(a).to(device) for a in task.data()]
        self._torch, self._device, self._model = torch, device, model
        self.task, self.draws, self.steps_done, self._whole_step = task, task.program().draws, 0, None
        autocast = precision == "bfloat16"

        def step(x: Any, y: Any, keys: Any) -> Any:
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                loss = 0.5 * ((model.outputs(x, keys) - y) ** 2).sum() / task.batch
            loss.backward()
            return loss

        library = LIBRARIES[self.participant.name]
        compiled = partial(torch.compile, **({"mode": "max-autotune"} if gpu else {}))
        self._step = compiled(step) if library.compiled and not library.whole_step else step
        if library.whole_step:
            whole = _whole_step(torch, model, self._data, task, device, autocast=autocast)
            self._whole_step = compiled(whole, fullgraph=True)

    def epoch(self) -> None:
        self._train_on(self._torch.randperm(self.task.records))

    def train_on(self, order: Order) -> None:
        self._train_on(self._torch.from_numpy(order))

    def _train_on(self, order: Any) -> None:
        X, Y = self._data
        order, gpu = order.to(self._device), self._device == "cuda"
        drawn = self.next_keys(len(order))
        keys = None if drawn is None else self._torch.from_numpy(drawn).to(self._device)
        for start in range(0, len(order), self.task.batch):
            part = slice(start, start + self.task.batch)
            rows, of_rows = order[part], None if keys is None else keys[part]
            if self._whole_step is not None:
                self._whole_step(rows, of_rows)
                continue
            self._optimizer.zero_grad(set_to_none=not gpu)
            self._step(X[rows], Y[rows], of_rows)
            self._optimizer.step()
        if gpu:
            self._torch.cuda.synchronize()

    def product(self, size: int) -> Callable[[], Any] | None:
        a = self._torch.ones((size, size))
        return lambda: a @ a

    def parameters(self) -> Arrays:
        return self._model.arrays()


@dataclass(frozen=True)
class _TorchModel:
    """A network in PyTorch.

    Attributes
    ----------
    parameters
        The tensors that training changes, by name.
    outputs
        A function of the inputs, and of the keys of what blocks draw or None.
    outputs_with
        The same with other parameters, by name, before these.
    arrays
        Returns copies of all parameters and constants, by the names of the task.
    """

    parameters: dict[str, Any]
    outputs: Callable[[Any, Any], Any]
    outputs_with: Callable[[dict[str, Any], Any, Any], Any]
    arrays: Callable[[], Arrays]


def _chain(torch: Any, task: TrainingTask, device: str) -> _TorchModel:
    """Return dense layers as PyTorch's own modules."""
    functions = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": partial(torch.nn.GELU, approximate="tanh")}
    modules: list[Any] = []
    layers = []
    for k, (W, b) in enumerate(task.layers()):
        linear = torch.nn.Linear(*W.shape)
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
        layers.append(linear)
        modules += [linear] if k == len(task.sizes) - 2 else [linear, functions[task.activation]()]
    model = torch.nn.Sequential(*modules).to(device)

    def outputs(x: Any, keys: Any) -> Any:
        return model(x)

    def outputs_with(given: dict[str, Any], x: Any, keys: Any) -> Any:
        return torch.func.functional_call(model, given, (x,))

    def arrays() -> Arrays:
        return copied((m.weight.detach().cpu().numpy().T, m.bias.detach().cpu().numpy()) for m in layers)

    return _TorchModel(dict(model.named_parameters()), outputs, outputs_with, arrays)


def _network(torch: Any, task: TrainingTask, device: str) -> _TorchModel:
    """Return blocks on PyTorch's tensors; what they draw is what every participant draws."""
    program = task.program()
    computed = computed_by(torch, program.block, tuple(program.parameters))
    placed = {name: torch.from_numpy(a).to(device) for name, a in task.parameters().items()}
    trained = {name: placed[name].requires_grad_() for name in program.trained}
    constants = {name: a for name, a in placed.items() if name not in trained}

    def outputs(x: Any, keys: Any) -> Any:
        return computed(placed, x, keys)

    def outputs_with(given: dict[str, Any], x: Any, keys: Any) -> Any:
        return computed({**given, **constants}, x, keys)

    def arrays() -> Arrays:
        return {name: a.detach().cpu().numpy().copy() for name, a in placed.items()}

    return _TorchModel(trained, outputs, outputs_with, arrays)


def _whole_step(
    torch: Any, model: _TorchModel, data: Any, task: TrainingTask, device: str, *, autocast: bool
) -> Callable[[Any, Any], Any]:
    """Return a step that takes row numbers and keys: gather, gradient and update, all of which one graph can hold.

    PyTorch's own optimizers break a graph in two, so their rule is written here: with the same result, and as one loop.
    """
    (X, Y), dynamo = data, imported("torch._dynamo")
    parameters = {name: p.detach() for name, p in model.parameters.items()}  # the model's own memory
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in parameters.items()}
    t, rate = torch.zeros((), device=device), task.learning_rate
    for fixed in (X, Y, t, *parameters.values(), *(m for pair in moments.values() for m in pair)):
        dynamo.mark_static_address(fixed)  # so that CUDA graphs write to them where they are

    def loss_of(given: Any, x: Any, y: Any, keys: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            return 0.5 * ((model.outputs_with(given, x, keys) - y) ** 2).sum() / task.batch

    def step(rows: Any, keys: Any) -> Any:
        gradients, loss = torch.func.grad_and_value(loss_of)(parameters, X[rows], Y[rows], keys)
        t.add_(1)
        for name, p in parameters.items():
            g = gradients[name]
            if task.optimizer == "sgd":
                p.sub_(rate * g)
                continue
            m, v = moments[name]
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            p.sub_(rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8))
        return loss

    return step
