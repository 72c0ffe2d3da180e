"""Loss curves, and throughput across backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gdkernels.errors import InputError, shown
from gdkernels.plots import style
from gdkernels.plots.given import checked_text
from gdkernels.system.given import items_of
from gdkernels.system.ranges import POSITIVE
from gdkernels.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["loss_curves", "throughput"]

_DECADE = 10.0


def loss_curves(history: History | Mapping[str, Any] | Sequence[Any], *, ax: Axes | None = None) -> Axes:
    """Draw training and validation loss over the epochs, and mark the epoch whose parameters were kept.

    The loss axis is logarithmic where the losses are positive and span more than a factor of 10.

    Parameters
    ----------
    history
        A `History`, or a mapping with its "loss", "validation_loss" and "best_epoch" as a model file keeps it; or
        several of them, those of networks that were averaged.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With a line "training" and, where there was validation, "validation" for each history.

    Raises
    ------
    InputError
        If no epoch has a finite loss.
    """
    several = (history,) if isinstance(history, (History, Mapping)) else items_of(history)
    if several is None:
        raise _no_history(history)
    runs = [_run(h) for h in several]
    if not any(np.isfinite(run.loss).any() for run in runs):
        raise InputError("there are no loss curves to draw: no epoch has a finite loss")
    ax = style.axes_or_new(ax)
    width = 2.0 if len(runs) == 1 else 1.2
    drawn: list[float] = []
    for k, run in enumerate(runs):
        for name, values, colour, dashes in (
            ("training", run.loss, style.BLUE, "-"),
            ("validation", run.validation_loss, style.RED, "--"),
        ):
            losses = np.array(values, dtype=np.float64)  # None becomes NaN
            if np.isfinite(losses).any():
                ax.plot(run.epochs, losses, dashes, color=colour, linewidth=width, label=name if k == 0 else "_")
                drawn.extend(losses[np.isfinite(losses)])
        _mark_best(ax, run, alone=len(runs) == 1, first=k == 0)
    if min(drawn) > 0 and max(drawn) > _DECADE * min(drawn):
        _logarithmic(ax, max(drawn) / min(drawn))
    networks = f", {len(runs)} networks" if len(runs) > 1 else ""
    style.dress(ax, title=f"Loss while training{networks}", x="epoch", y="loss (mean per record)")
    ax.legend(frameon=False)
    return ax


@dataclass(frozen=True)
class _Run:
    """The curves that are drawn of a history."""

    epochs: list[int]
    loss: list[float]
    validation_loss: list[float | None]
    best: int | None


def _run(history: History | Mapping[str, Any]) -> _Run:
    if isinstance(history, History):
        numbers = [e.number for e in history.epochs]
        return _Run(numbers, history.loss, history.validation_loss, history.best_epoch)
    try:
        loss, validation = list(history["loss"]), list(history["validation_loss"] or ()) or None
        curves = [None if losses is None else np.array(losses, np.float64) for losses in (loss, validation)]
        best = history["best_epoch"]
    except (TypeError, ValueError, KeyError, IndexError):
        raise _no_history(history) from None
    if any(losses is not None and losses.shape != (len(loss),) for losses in curves):
        raise _no_history(history)
    return _Run(list(range(1, len(loss) + 1)), loss, validation or [None] * len(loss), best)


def _no_history(history: Any) -> InputError:
    return InputError(
        "history must be what fit returns, or a mapping with as many of loss as of validation_loss, and best_epoch; "
        f"got {shown(history)}"
    )


def _mark_best(ax: Axes, run: _Run, *, alone: bool, first: bool) -> None:
    if run.best not in run.epochs:
        return
    k = run.epochs.index(run.best)
    validation = run.validation_loss[k]
    loss, colour = (run.loss[k], style.BLUE) if validation is None else (validation, style.RED)
    if alone:
        ax.axvline(run.best, color=style.GREY, linewidth=0.8, linestyle=":")
    label = f"kept: epoch {run.best}, {style.number(loss)}" if alone else "kept" if first else "_"
    ax.plot([run.best], [loss], "o", color=colour, markersize=7, markeredgecolor="white", label=label)


def _logarithmic(ax: Axes, ratio: float) -> None:
    """Make the y axis logarithmic, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < _DECADE**2 else (1.0,)))
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def throughput(
    samples_per_second: Mapping[str, Mapping[float, float]], *, size: str = "batch size", ax: Axes | None = None
) -> Axes:
    """Draw how many records a second each backend trains on, over the size of the work.

    Parameters
    ----------
    samples_per_second
        For each backend (or backend and device: any name) the samples per second by size.
    size
        The name of the sizes, with their unit.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With a line for each backend; both axes are logarithmic, so that equal distances are equal ratios.

    Raises
    ------
    InputError
        If there is nothing to draw, or a size or a throughput is not above 0.
    """
    rows = samples_per_second.items() if isinstance(samples_per_second, Mapping) else [("", None)]
    if not all(isinstance(by_size, Mapping) for _, by_size in rows):
        raise InputError(
            "samples_per_second must be a mapping from each backend to a mapping from sizes to samples per second, got "
            f"{shown(samples_per_second)}"
        )
    if not any(samples_per_second.values()):
        raise InputError("there is no throughput to draw: no backend has a measurement")
    for name, by_size in samples_per_second.items():
        for n, value in by_size.items():
            if not (POSITIVE.has(n) and POSITIVE.has(value)):
                raise InputError(
                    f"sizes and throughputs must be above 0; {name!r} has {_told(value)} samples/s at {_told(n)}"
                )
    size = checked_text("size", size)
    ax = style.axes_or_new(ax)
    for k, (name, by_size) in enumerate(samples_per_second.items()):
        sizes = sorted(by_size)
        values = [by_size[n] for n in sizes]
        colour, marker = style.COLOURS[k % len(style.COLOURS)], style.MARKERS[k % len(style.MARKERS)]
        ax.plot(sizes, values, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
        if sizes:
            ax.annotate(
                name,
                (sizes[-1], values[-1]),
                xytext=(7, 0),
                textcoords="offset points",
                color=colour,
                va="center",
                parse_math=False,
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda n, _: f"{n:,.6g}")
    style.dress(ax, title="Training throughput", x=size, y="samples per second")
    return ax


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else shown(value)
