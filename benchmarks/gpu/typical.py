"""Fourteen narrow networks of the kinds that people train, by which the coverage of the persistent kernel is told."""

from __future__ import annotations

from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.activations import Activation
from gdkernels.definition.chain import chain
from gdkernels.definition.losses import Loss
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, Optimizer

__all__ = ["TYPICAL", "network"]


def network(function: Activation, widths: tuple[int, ...], optimizer: Optimizer, loss: Loss = losses.sse) -> Program:
    """Return the program that trains a chain of dense layers."""
    functions = (*[function] * (len(widths) - 2), activations.identity)
    return Program(chain(widths[1:], functions), widths[0], objective=Objective(loss), optimizer=optimizer)


def sine(z, *, xp):  # type: ignore[no-untyped-def]  # an activation of the user's, as of networks of coordinates
    return xp.sin(z)


_RELU, _GELU, _TANH, _SILU = activations.relu, activations.gelu, activations.tanh, activations.silu
_CLASSES = losses.cross_entropy

TYPICAL: dict[str, tuple[Program, str]] = {
    "two of 64, relu": (network(_RELU, (64,) * 3, SGD()), "bfloat16"),
    "two of 64, gelu, Adam, classes": (network(_GELU, (64,) * 3, Adam(), _CLASSES), "bfloat16"),
    "three of 64, gelu, Adam, classes": (network(_GELU, (64,) * 4, Adam(), _CLASSES), "bfloat16"),
    "four of 64, gelu, Adam, classes": (network(_GELU, (64,) * 5, Adam(), _CLASSES), "bfloat16"),
    "four of 64, relu": (network(_RELU, (64,) * 5, SGD()), "bfloat16"),
    "four of 64, tanh, Adam": (network(_TANH, (64,) * 5, Adam()), "bfloat16"),
    "seven of 64, relu": (network(_RELU, (64,) * 8, SGD()), "bfloat16"),
    "2-64-64-64-3, sine, Adam": (network(sine, (2, 64, 64, 64, 3), Adam()), "bfloat16"),
    "30-64-32-10, silu, Adam, classes": (network(_SILU, (30, 64, 32, 10), Adam(), _CLASSES), "bfloat16"),
    "8-32-32-1, relu": (network(_RELU, (8, 32, 32, 1), SGD()), "tf32"),
    "20-48-32-3, relu, Adam": (network(_RELU, (20, 48, 32, 3), Adam()), "tf32"),
    "three of 64, relu": (network(_RELU, (64,) * 4, SGD()), "tf32"),
    "8-64-64-1, tanh, Adam": (network(_TANH, (8, 64, 64, 1), Adam()), "tf32"),
    "2-64-64-3, sine, Adam": (network(sine, (2, 64, 64, 3), Adam()), "tf32"),
}
