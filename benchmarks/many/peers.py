"""The same training by jax.vmap and by torch's bmm."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.many.task import Array, ManyTraining, Task

__all__ = ["jax_vmap", "torch_bmm"]


def jax_vmap(task: Task) -> ManyTraining:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, task.data())

    def forward(p: Any, rows: Any) -> Any:
        for W, b in p[:-1]:
            rows = jnp.maximum(rows @ W + b, 0)
        return rows @ p[-1][0] + p[-1][1]

    def loss(p: Any, rows: Any) -> Any:
        return 0.5 * jnp.sum((forward(p, x[rows]) - y[rows]) ** 2) / rows.shape[0]

    def epoch(p: Any, rate: Any, batches: Any) -> Any:
        def step(p: Any, rows: Any) -> Any:
            return jax.tree.map(lambda w, g: w - rate * g, p, jax.grad(loss)(p, rows)), None

        return jax.lax.scan(step, p, batches)[0]

    several = jax.jit(jax.vmap(epoch))
    parts = [task.weights(k) for k in range(task.models)]
    state = [tuple(jnp.stack([p[k][j] for p in parts]) for j in (0, 1)) for k in range(len(parts[0]))]
    rates = jnp.asarray(task.rates(), jnp.float32)
    orders = np.stack([task.orders(k) for k in range(task.models)], axis=1).astype(np.int32)
    batches = orders.reshape(task.epochs, task.models, -1, task.batch)
    several(state, rates, batches[0])[0][0].block_until_ready()  # compiled off the clock
    found: list[Any] = [state]

    def run() -> None:
        for one in batches:
            found[0] = several(found[0], rates, one)
        found[0][0][0].block_until_ready()

    def parameters() -> list[dict[str, Any]]:
        return [{f"{n}{k}": a for k, p in enumerate(found[0]) for n, a in zip("Wb", p, strict=True)}]

    return ManyTraining(run, parameters)


def torch_bmm(task: Task, device: str = "cpu", products: str = "highest") -> ManyTraining:
    import torch

    torch.set_float32_matmul_precision(products)

    def there(a: Array) -> Any:
        return torch.from_numpy(a).to(device)

    x, y = map(there, task.data())
    parts = [task.weights(k) for k in range(task.models)]
    state = [there(np.stack([p[k][j] for p in parts])) for k in range(len(parts[0])) for j in (0, 1)]
    rates = there(task.rates().astype(np.float32))[:, None, None]
    orders = there(np.stack([task.orders(k) for k in range(task.models)], axis=1))
    found: list[Any] = [state]

    def step(p: Any, rows: Any) -> Any:
        q = [w.detach().requires_grad_() for w in p]
        a = x[rows]
        for k in range(0, len(q), 2):
            a = torch.baddbmm(q[k + 1].unsqueeze(1), a, q[k])
            a = torch.relu(a) if k + 2 < len(q) else a
        slopes = torch.autograd.grad(0.5 * torch.sum((a - y[rows]) ** 2) / rows.shape[1], q)
        with torch.no_grad():
            return [w - (rates if w.dim() == 3 else rates[:, 0]) * g for w, g in zip(p, slopes, strict=True)]

    def run() -> None:
        for epoch in orders:
            for rows in epoch.split(task.batch, dim=1):
                found[0] = step(found[0], rows)
        if device != "cpu":
            torch.cuda.synchronize(device)

    return ManyTraining(run, lambda: [{f"p{k}": a.cpu().numpy() for k, a in enumerate(found[0])}])
