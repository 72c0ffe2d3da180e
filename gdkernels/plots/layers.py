"""Weights and gradients by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.losses import Loss
from gdkernels.errors import InputError
from gdkernels.plots import style
from gdkernels.plots.landscape import Landscape, checked_network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdkernels.models.network import Network

__all__ = ["gradients_by_layer", "weights_by_layer"]

_BINS = 60
_SHOWN = (0.001, 0.999)  # of the values; the few beyond would flatten the rest


def weights_by_layer(mlp: Network, *, ax: Axes | None = None) -> Axes:
    """Draw how the weights of each layer are distributed, the first layer on top.

    Parameters
    ----------
    mlp
        The network.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With a filled outline for each matrix of weights, all of one height.

    Raises
    ------
    InputError
        If the network has none.
    """
    weights = _weights(checked_network(mlp), mlp.network.host_parameters())
    ax = style.axes_or_new(ax)
    _ridges(ax, [np.asarray(a, dtype=np.float64).reshape(-1) for a in weights.values()], _names(weights))
    ax.axvline(0.0, color=style.GREY, linewidth=0.8, linestyle=":")
    style.dress(ax, title="Weights by layer", x="weight", y="layer (inputs → units)", grid="x")
    return ax


def gradients_by_layer(mlp: Network, X: Any, Y: Any, *, loss: str | Loss | None = None, ax: Axes | None = None) -> Axes:
    """Draw how large the slopes of the weights of each layer are, on a logarithmic axis, the first layer on top.

    Where gradients vanish on the way back, the first layers lie far to the left of the last. Slopes of exactly 0, those
    of units that are never active, are not drawn but counted.

    Parameters
    ----------
    mlp
        The network.
    X, Y, loss
        As for `gdkernels.Network.loss`; the slopes are those of the mean error.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With a filled outline for each layer, all of one height.

    Raises
    ------
    InputError
        For records that do not fit the network, where all slopes are 0, or where there are no matrices of weights.
    """
    landscape = Landscape(mlp, X, Y, loss=loss)
    slopes = _weights(mlp, landscape.named_gradient())
    sizes = [np.abs(a).reshape(-1) for a in slopes.values()]
    if not any(size.any() for size in sizes):
        raise InputError("all slopes are 0, which a logarithmic axis cannot show: the network is at a critical point")
    zeros = [float(np.mean(size == 0)) for size in sizes]
    names = [f"{name}\n{zero:.1%} are 0" if zero else name for name, zero in zip(_names(slopes), zeros, strict=True)]
    ax = style.axes_or_new(ax)
    _ridges(ax, [np.log10(size[size > 0]) for size in sizes], names)
    style.dress(ax, title="Gradients by layer", x="size of the slope |∂E/∂w|", y="layer (inputs → units)", grid="x")
    ax.xaxis.set_major_locator(_whole_powers())
    ax.xaxis.set_major_formatter(lambda power, _: f"$10^{{{power:.0f}}}$")
    return ax


def _ridges(ax: Axes, values: Sequence[npt.NDArray[np.float64]], names: Sequence[str]) -> None:
    """Draw the distribution of each array on a base line of its own, the first on top; all of the same height."""
    every = [np.quantile(v, _SHOWN) for v in values if v.size]
    low, high = min(q[0] for q in every), max(q[1] for q in every)
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, _BINS + 1)
    for k, v in enumerate(values):
        base = len(values) - 1 - k
        counts = np.histogram(v, edges)[0]
        heights = 0.85 * counts / max(1, counts.max())
        colour = style.COLOURS[k % len(style.COLOURS)]
        ax.stairs(base + heights, edges, baseline=base, fill=True, color=colour, alpha=0.75, label=f"_{names[k]}")
        ax.axhline(base, color=style.GREY, linewidth=0.6)
        if v.size:
            ax.plot([np.median(v)], [base], "|", color=colour, markersize=14, markeredgewidth=2)
    ax.set_yticks(range(len(values)), names[::-1])
    ax.set_ylim(-0.15, len(values))


def _weights(mlp: Network, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the matrices that training changes, by name."""
    found = {name: arrays[name] for name in mlp.network.structure.trained if arrays[name].ndim == 2}
    if not found:
        raise InputError("the network has no matrices of weights to draw")
    return found


def _names(weights: dict[str, Any]) -> list[str]:
    return [f"{name}  ({a.shape[0]} → {a.shape[1]})" for name, a in weights.items()]


def _whole_powers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=8, integer=True)
