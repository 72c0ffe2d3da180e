"""The error over one parameter: the slope, the steps down it, and the minima that several starts reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gdkernels.plots import style
from gdkernels.plots.given import (
    checked_landscape,
    checked_limits,
    checked_path,
    checked_paths,
    checked_points,
    checked_text,
)
from gdkernels.plots.landscape import Floats, Landscape, Path, Point, SingleParameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["error_over_weight", "several_starts"]

_MARGIN = 0.4  # of the span of one path, on each side
_MARGIN_OF_SEVERAL = 0.15
_TANGENT = 0.4  # of the axis


def error_over_weight(
    landscape: Landscape,
    parameter: str,
    *,
    path: Path | None = None,
    limits: tuple[float, float] | None = None,
    points: int = 301,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error over one parameter, the tangent at the start, and the steps that the descent took.

    All other parameters stay as they are at the start. In a network of more than the one, the steps' true errors leave
    the curve.

    Parameters
    ----------
    parameter
        Its name, such as "W0[0,0]".
    path
        The descent to draw; None draws the tangent at the landscape's network.
    limits
        The least and the greatest value; None shows the path, or 2 to each side.
    points
        The number of values at which the error is computed.
    label
        A label for the parameter; None is its name.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With the lines "error", "slope" and "descent".

    Raises
    ------
    InputError
        For a parameter that the network does not have, or limits that are none.
    """
    landscape, path, limits = checked_landscape(landscape), checked_path(path), checked_limits(limits)
    points, label = checked_points(points), parameter if label is None else checked_text("label", label)
    at = landscape.here if path is None else path.points[0]
    one = SingleParameter.of(parameter)
    steps = np.array([[one.read(at)]]) if path is None else path.along(one)
    heights = [landscape.error(at)] if path is None else [landscape.error(p) for p in path.points]
    ax = style.axes_or_new(ax)
    shown, values, errors = _curve(landscape, one, at, limits or _limits(steps, _MARGIN), points)
    ax.plot(values, errors, color=style.BLUE, linewidth=2.2, label="error")
    _tangent(ax, landscape, one, at, shown[1] - shown[0])
    if path is not None:
        _stairs(ax, steps[:, 0], np.array(heights))
    ax.plot(
        steps[:, 0], heights, "o", color=style.RED, markersize=5, label=f"descent, {len(steps) - 1} steps", zorder=4
    )
    ax.plot(
        steps[0], heights[:1], "o", color=style.RED, markersize=9, markeredgecolor="white", label="_start", zorder=4
    )
    _frame(ax, shown, [*errors, *heights])
    style.dress(ax, title="Gradient descent on one parameter", x=label, y="error (mean per record)")
    ax.legend(frameon=False)
    return ax


def several_starts(
    landscape: Landscape,
    parameter: str,
    paths: Sequence[Path],
    *,
    limits: tuple[float, float] | None = None,
    points: int = 501,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error over one parameter with the descents from several starts, and the minima that they reach.

    Parameters
    ----------
    landscape, parameter, limits, points, label, ax
        As for `error_over_weight`; all other parameters stay as they are in the landscape's network.
    paths
        A descent from each start.

    Returns
    -------
    Axes
        With the lines "error", and "start 1" and so on for each descent.

    Raises
    ------
    InputError
        As for `error_over_weight`, and where there are no paths.
    """
    landscape, paths, limits = checked_landscape(landscape), checked_paths(paths), checked_limits(limits)
    points, label = checked_points(points), parameter if label is None else checked_text("label", label)
    one = SingleParameter.of(parameter)
    ax = style.axes_or_new(ax)
    everywhere = np.concatenate([path.along(one) for path in paths])
    shown, values, errors = _curve(
        landscape, one, landscape.here, limits or _limits(everywhere, _MARGIN_OF_SEVERAL), points
    )
    ax.plot(values, errors, color=style.GREY, linewidth=2.2, label="error")
    reached = []
    for k, path in enumerate(paths):
        colour, marker = style.COLOURS[k % len(style.COLOURS)], style.MARKERS[k % len(style.MARKERS)]
        steps, heights = path.along(one)[:, 0], [landscape.error(p) for p in path.points]
        ax.plot(steps, heights, "-o", color=colour, linewidth=1.2, markersize=3, label="_descent", zorder=3)
        ax.plot(steps[:1], heights[:1], marker, color="white", markeredgecolor=colour, markeredgewidth=2, markersize=8,
                label="_start", zorder=4)  # fmt: skip
        ax.plot(steps[-1:], heights[-1:], marker, color=colour, markeredgecolor="white", markersize=11, zorder=5,
                label=f"start {k + 1}: error {style.number(heights[-1])}")  # fmt: skip
        reached.append((heights[-1], steps[-1]))
    _frame(ax, shown, errors)
    best, at = min(reached)
    ax.annotate(f"lowest: {style.number(best)}", (at, best), xytext=(0, -18), textcoords="offset points", ha="center")
    style.dress(ax, title="Several starts, several minima", x=label, y="error (mean per record)")
    # Below the axes, which the curve fills.
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.15), ncols=2)
    return ax


def _limits(shown: Floats, margin: float) -> tuple[float, float]:
    low, high = float(shown.min()), float(shown.max())
    room = margin * (high - low) or 2.0
    return low - room, high + room


def _curve(
    landscape: Landscape, one: SingleParameter, at: Point, limits: tuple[float, float], points: int
) -> tuple[tuple[float, float], Floats, Floats]:
    """Return the limits, and values between them with the errors there."""
    values = np.linspace(*limits, points)
    return limits, values, landscape.errors([one], values[:, None], at=at)


def _tangent(ax: Axes, landscape: Landscape, one: SingleParameter, at: Point, span: float) -> None:
    value, slope = one.read(at), one.read(landscape.gradient(at))
    ends = np.array([-0.5, 0.5]) * _TANGENT * span
    label = f"slope at the start: {style.number(slope)}"
    ax.plot(value + ends, landscape.error(at) + slope * ends, "--", color=style.ORANGE, linewidth=2, label=label)


def _stairs(ax: Axes, values: Floats, heights: Floats) -> None:
    """Draw each step as an arrow to the parameter's next value, from where a dotted line leads to the error there."""
    ax.quiver(values[:-1], heights[:-1], np.diff(values), 0 * values[1:], angles="xy", scale_units="xy", scale=1,
              color=style.RED, width=0.005, zorder=3, label="_steps")  # fmt: skip
    ax.vlines(values[1:], heights[:-1], heights[1:], color=style.RED, linewidth=1, linestyle=":")
    ax.plot([], [], color=style.RED, linewidth=2, label="a step, against the slope")


def _frame(ax: Axes, limits: tuple[float, float], heights: npt.ArrayLike) -> None:
    """Show all of the curve and the steps, and a little below, however long the tangents are."""
    every = np.asarray(heights)
    finite = every[np.isfinite(every)]
    low, high = float(finite.min()), float(finite.max())
    room = 0.14 * ((high - low) or 1.0)
    ax.set(xlim=limits, ylim=(low - room, high + room))
