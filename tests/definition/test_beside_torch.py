"""The differences between a step and PyTorch's, as docs/api/definition.md lists them, with their sizes."""

import inspect

import array_api_compat.numpy as xp
import numpy as np
import pytest
from layered import Layer, gradient_norm, update

import gdkernels as gd

torch = pytest.importorskip("torch", reason="torch is not installed")


def stepped(optimizer, w, gradients, rates):
    """Return a weight after these steps of ours."""
    slots = tuple(np.zeros_like(w) for _ in range(optimizer.slots))
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        w, slots = optimizer.rule(w, g, slots, learning_rate=rate, t=float(t), xp=xp)
    return w


def torch_stepped(make, w, gradients, rates):
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = make([parameter])
    for g, rate in zip(gradients, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        parameter.grad = torch.tensor(g)
        optimizer.step()
    return parameter.detach().numpy()


DRAW = np.random.default_rng(0)
W, GRADIENTS = DRAW.normal(size=5), DRAW.normal(size=(4, 5))


def test_clipping_is_exact_here():
    g = np.array([[3.0, 4.0]])
    layer = (Layer(np.zeros((1, 2)), None),)
    for c in (1e-3, 2.0):
        norm = gradient_norm((Layer(g, None),), xp=xp)
        (moved,), _ = update(
            layer, (Layer(g, None),), (Layer((), None),), optimizer=gd.SGD(1.0), learning_rate=1.0, t=1.0,
            clip_norm=c, norm=norm, xp=xp,
        )  # fmt: skip
        assert np.linalg.norm(moved.W) == pytest.approx(c, rel=1e-15)
        parameter = torch.nn.Parameter(torch.zeros(1, 2, dtype=torch.float64))
        parameter.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_([parameter], c)
        assert float(parameter.grad.norm()) == pytest.approx(c * 5 / (5 + 1e-6), rel=1e-12)


def test_momentum_under_a_schedule():
    def make(parameters):
        return torch.optim.SGD(parameters, lr=1.0, momentum=0.9)

    constant, falling = [0.1] * 4, [0.1, 0.05, 0.02, 0.01]
    ours = gd.SGD(0.1, momentum=0.9)
    np.testing.assert_allclose(stepped(ours, W, GRADIENTS, constant), torch_stepped(make, W, GRADIENTS, constant))
    here, there = stepped(ours, W, GRADIENTS, falling), torch_stepped(make, W, GRADIENTS, falling)
    assert np.abs(here - there).max() > 1e-3
    share = [sum(0.9**j for j in range(4 - k)) for k in range(4)]  # of each gradient, with the rate of its own step
    np.testing.assert_allclose(here, W - sum(s * r * g for s, r, g in zip(share, falling, GRADIENTS, strict=True)))


def test_rmsprop_has_other_defaults():
    defaults = inspect.signature(torch.optim.RMSprop).parameters
    assert (defaults["alpha"].default, defaults["lr"].default) == (0.99, 0.01)
    assert (gd.RMSprop().rho, gd.RMSprop().learning_rate) == (0.9, 1e-3)
    rates = [0.01] * 4
    np.testing.assert_allclose(
        stepped(gd.RMSprop(0.01, rho=0.9), W, GRADIENTS, rates),
        torch_stepped(lambda p: torch.optim.RMSprop(p, alpha=0.9), W, GRADIENTS, rates),
        rtol=1e-6,
    )


def test_biases_do_not_decay():
    layers, zero = (Layer(np.ones((1, 1)), np.ones(1)),), np.zeros(1)
    optimizer = gd.AdamW(0.1, weight_decay=0.5)
    slots = (Layer((np.zeros((1, 1)),) * 2, (zero, zero)),)
    (moved,), _ = update(
        layers, (Layer(np.zeros((1, 1)), zero),), slots, optimizer=optimizer, learning_rate=0.1, t=1.0, xp=xp
    )
    assert (moved.W.item(), moved.b.item()) == (pytest.approx(0.95), 1.0)
    there = torch_stepped(lambda p: torch.optim.AdamW(p, weight_decay=0.5), np.ones(1), [zero], [0.1])
    assert there.item() == pytest.approx(0.95)
