"""PyTorch with its own modules and optimizers: eager or compiled, on the CPU or a GPU, with bfloat16 by autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gdkernels.bench.participants.adapter import Adapter, Order, imported
from gdkernels.bench.participants.participant import LIBRARIES, UnsuitableError
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["TorchAdapter"]


class TorchAdapter(Adapter):
    """PyTorch. On a GPU its step can be captured into CUDA graphs: gradients stay where they are between steps."""

    def ready(self) -> None:
        with suppress(UnsuitableError):
            imported("torch")

    def load(self, task: TrainingTask) -> None:
        torch = imported("torch")
        gpu = self.participant.device != "cpu" and torch.cuda.is_available()
        device = "cuda" if gpu else "cpu"
        torch.set_num_threads(task.threads)
        torch.backends.cuda.matmul.allow_tf32 = self.participant.precision == "tf32"
        functions = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": partial(torch.nn.GELU, approximate="tanh")}
        modules: list[Any] = []
        self._linear = []
        for k, (W, b) in enumerate(task.layers()):
            linear = torch.nn.Linear(*W.shape)
            linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
            self._linear.append(linear)
            modules += [linear] if k == len(task.sizes) - 2 else [linear, functions[task.activation]()]
        model = torch.nn.Sequential(*modules).to(device)
        kind = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
        self._optimizer = kind(model.parameters(), lr=task.learning_rate, **({"foreach": True} if gpu else {}))
        self._data = [torch.from_numpy(a).to(device) for a in task.data()]
        self._torch, self._device, self.task = torch, device, task
        autocast = self.participant.precision == "bfloat16"

        def step(x: Any, y: Any) -> Any:
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                loss = 0.5 * ((model(x) - y) ** 2).sum() / task.batch
            loss.backward()
            return loss

        compiled = partial(torch.compile, **({"mode": "max-autotune"} if gpu else {}))
        self._step = compiled(step) if LIBRARIES[self.participant.name].compiled else step

    def epoch(self) -> None:
        self._train_on(self._torch.randperm(self.task.records))

    def train_on(self, order: Order) -> None:
        self._train_on(self._torch.from_numpy(order))

    def _train_on(self, order: Any) -> None:
        X, Y = self._data
        order, gpu = order.to(self._device), self._device == "cuda"
        for start in range(0, len(order), self.task.batch):
            rows = order[start : start + self.task.batch]
            self._optimizer.zero_grad(set_to_none=not gpu)
            self._step(X[rows], Y[rows])
            self._optimizer.step()
        if gpu:
            self._torch.cuda.synchronize()

    def product(self, size: int) -> Callable[[], Any] | None:
        a = self._torch.ones((size, size))
        return lambda: a @ a

    def layers(self) -> list[tuple[Any, Any]]:
        return [(m.weight.detach().cpu().numpy().T, m.bias.detach().cpu().numpy()) for m in self._linear]
