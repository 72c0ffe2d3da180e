"""The error over two parameters: as contours seen from above, and in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.errors import shown as told
from gdkernels.plots import style
from gdkernels.plots.given import checked_landscape, checked_limits, checked_path, checked_points, checked_texts
from gdkernels.plots.landscape import Floats, Landscape, Path, SingleParameter
from gdkernels.system.given import items_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["error_surface", "error_surface_3d"]

_MARGIN = 0.35  # of the span of the path, on each side
_COMPARABLE = 5.0  # spans within this ratio are given one scale: only then is a gradient at right angles to a contour
_LEVELS = 16
_ARROWS = 11  # along the longer side
_ARROWS_ON_FLOOR = 8
_FLOOR = 0.7  # of the height of the surface, below it


def error_surface(
    landscape: Landscape,
    parameters: tuple[str, str],
    *,
    path: Path | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    points: int = 81,
    labels: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error over two parameters as filled contours, with negative gradients as arrows.

    All other parameters stay as they are at the end of the path, or in the landscape's network. In a network of more
    than the two, the path is seen from above: the errors of its points are not those of the section below them.

    Parameters
    ----------
    parameters
        Two names, such as ("W0[0,0]", "b0[0]").
    path
        The descent to draw.
    limits
        Of each parameter the least and the greatest value; None is what shows the path, or 2 to each side.
    points
        Grid points along each parameter.
    labels
        What the two are; None is their names.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With the arrows (a `Quiver`, whose length grows with the slope's root) and the path as a line "descent".

    Raises
    ------
    InputError
        For a parameter that the network does not have, or limits that are none.
    """
    view = _View.of(landscape, parameters, path, limits, points, labels)
    ax = style.axes_or_new(ax)
    levels, norm = view.levels()
    filled = ax.contourf(view.a, view.b, view.errors, levels=levels, norm=norm, cmap=style.HEAT)
    ax.contour(view.a, view.b, view.errors, levels=levels, colors="white", linewidths=0.5, alpha=0.5)
    if view.even:
        ax.set_aspect("equal", adjustable="box")
    places, arrows = _downhill(view, _ARROWS)
    ax.quiver(*np.moveaxis(places, -1, 0), *np.moveaxis(arrows, -1, 0), angles="xy", scale_units="xy", scale=1,
              color="white", edgecolor="0.25", linewidth=0.3, width=0.004, label="_gradients")  # fmt: skip
    if path is not None:
        steps = path.along(*view.parameters)
        ax.plot(*steps.T, "-o", color=style.ORANGE, markersize=4, linewidth=1.8, label="descent")
        ax.plot(*steps[0], "o", color="white", markeredgecolor="black", markersize=9, label="start")
        ax.plot(*steps[-1], "*", color="white", markeredgecolor="black", markersize=14, label="end")
        ax.legend(loc="best", framealpha=0.85)
    assert ax.figure is not None
    bar = ax.figure.colorbar(filled, ax=ax, shrink=0.9, ticks=levels[::3], format=lambda v, _: style.number(v))
    bar.set_label("error (mean per record)")
    bar.outline.set_visible(False)
    style.dress(ax, title="Descent on the error surface", x=view.labels[0], y=view.labels[1], grid=None)
    ax.set(xlim=view.limits[0], ylim=view.limits[1])
    return ax


def error_surface_3d(
    landscape: Landscape,
    parameters: tuple[str, str],
    *,
    path: Path | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    points: int = 61,
    labels: tuple[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the error over two parameters as a surface, its contours on the floor, and the path on both.

    The path on the surface is at the true error of each of its points; on the floor, arrows along the negative gradient
    start from them.

    Parameters
    ----------
    landscape, parameters, path, limits, points, labels
        As for `error_surface`.
    ax
        Axes with the projection "3d"; None makes a figure.

    Returns
    -------
    Axes3D
        With the surface, and the path as a line "descent".

    Raises
    ------
    InputError
        As for `error_surface`, and for Axes that are flat.
    """
    view = _View.of(landscape, parameters, path, limits, points, labels)
    ax = style.axes_or_new(ax, projection="3d")
    if ax.name != "3d":
        raise InputError('error_surface_3d draws on Axes with the projection "3d": figure.add_subplot(projection="3d")')
    ax.computed_zorder = False  # the path lies on the surface, and is never hidden by it
    levels, norm = view.levels()
    floor = levels[0] - _FLOOR * (levels[-1] - levels[0])
    height = np.clip(view.errors, None, levels[-1])
    ax.contourf(view.a, view.b, view.errors, levels=levels, norm=norm, cmap=style.HEAT, zdir="z", offset=floor,
                alpha=0.75, zorder=1)  # fmt: skip
    ax.plot_surface(view.a, view.b, height, cmap=style.HEAT, norm=norm, rcount=points, ccount=points,
                    linewidth=0, antialiased=False, zorder=3, rasterized=True)  # fmt: skip
    places, arrows = _downhill(view, _ARROWS_ON_FLOOR)
    ax.add_collection3d(_flat_arrows(places.reshape(-1, 2), arrows.reshape(-1, 2), floor))
    if path is not None:
        steps = path.along(*view.parameters)
        heights = [landscape.error(p) for p in path.points]
        ax.plot(*steps.T, floor, "-o", color=style.ORANGE, markersize=2.5, linewidth=1.2, zorder=2.5)
        ax.plot(*steps.T, heights, "-o", color=style.ORANGE, markersize=3.5, linewidth=2, zorder=4, label="descent")
        ax.plot(*steps[:1].T, heights[:1], "o", color="white", markeredgecolor="black", markersize=8, zorder=5)
        ax.plot(*steps[-1:].T, heights[-1:], "*", color="white", markeredgecolor="black", markersize=12, zorder=5)
    ax.set(xlim=view.limits[0], ylim=view.limits[1], zlim=(floor, levels[-1]))
    ax.set_title("Error surface", loc="left")
    ax.set(xlabel=view.labels[0], ylabel=view.labels[1], zlabel="error (mean per record)")
    ax.view_init(elev=32, azim=-58)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((0, 0, 0, 0))
    ax.locator_params(axis="x", nbins=5)
    ax.locator_params(axis="y", nbins=5)
    ax.set_zticks([tick for tick in ax.get_zticks() if levels[0] - 0.05 * np.ptp(levels) <= tick <= levels[-1]])
    return ax


def _flat_arrows(places: Floats, arrows: Floats, floor: float) -> Any:
    """Return arrows that lie on the floor: those of matplotlib have their heads upright."""
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    tips, back, aside = places + arrows, -0.35 * arrows, 0.2 * arrows[:, ::-1] * [-1, 1]
    flat = np.stack([places, tips, tips + back + aside, tips, tips + back - aside], axis=1)
    lines = np.concatenate([flat, np.full((*flat.shape[:-1], 1), floor)], axis=-1)
    return Line3DCollection(lines, colors="white", linewidths=0.9, zorder=2, label="_gradients")


@dataclass(frozen=True)
class _View:
    """A grid over two parameters with the errors there."""

    landscape: Landscape
    parameters: tuple[SingleParameter, SingleParameter]
    labels: tuple[str, str]
    limits: tuple[tuple[float, float], tuple[float, float]]
    at: Any
    a: Floats
    b: Floats
    errors: Floats

    @classmethod
    def of(
        cls,
        landscape: Landscape,
        names: tuple[str, str],
        path: Path | None,
        limits: tuple[tuple[float, float], tuple[float, float]] | None,
        points: int,
        labels: tuple[str, str] | None,
    ) -> _View:
        landscape, path, points = checked_landscape(landscape), checked_path(path), checked_points(points)
        first, second = checked_texts("parameters", names, 2)
        shown_names = (first, second) if labels is None else checked_texts("labels", labels, 2)
        parameters = (SingleParameter.of(first), SingleParameter.of(second))
        if parameters[0] == parameters[1]:
            raise InputError(f"a surface needs two different parameters, not {first!r} twice")
        at = landscape.here if path is None else path.points[-1]
        if limits is None:
            shown = np.array([[p.read(at) for p in parameters]]) if path is None else path.along(*parameters)
            limits = _limits(shown)
        else:
            limits = _checked_pairs(limits)
        a, b = np.meshgrid(*(np.linspace(*pair, points) for pair in limits))
        errors = landscape.errors(parameters, np.stack([a, b], axis=-1), at=at)
        return cls(landscape, parameters, (shown_names[0], shown_names[1]), limits, at, a, b, errors)

    @property
    def even(self) -> bool:
        """Whether both parameters can be drawn on one scale."""
        spans = np.ptp(self.limits, axis=1)
        return bool(spans.max() <= _COMPARABLE * spans.min())

    def levels(self) -> tuple[Floats, Any]:
        """Return the levels of the contours, denser towards the lowest, and the colours' norm to go with them."""
        from matplotlib.colors import PowerNorm

        finite = self.errors[np.isfinite(self.errors)]
        if not finite.size:
            raise InputError("the error is not finite anywhere in these limits; choose others")
        low, high = float(finite.min()), float(finite.max())
        high = high if high > low else low + 1.0
        return low + (high - low) * np.linspace(0, 1, _LEVELS) ** 2, PowerNorm(0.5, low, high)


def _checked_pairs(limits: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    pairs = items_of(limits)
    try:
        first, second = map(checked_limits, pairs or ())
        if first is not None and second is not None:
            return first, second
    except ValueError:  # another number of pairs, or what is no pair
        pass
    raise InputError(f"limits must be two pairs (least, greatest), got {told(limits)}")


def _limits(shown: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits in which all of `shown` [points, 2] can be seen, nearly square where the scales are comparable."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    spans = high - low
    spans = np.where(spans > 0, spans, spans.max() or 4.0 / (1 + 2 * _MARGIN))
    if spans.max() <= _COMPARABLE * spans.min():
        spans = np.maximum(spans, 0.75 * spans.max())
    half = (0.5 + _MARGIN) * spans
    centre = (low + high) / 2
    (a, b), (c, d) = np.column_stack([centre - half, centre + half]).tolist()
    return (a, b), (c, d)


def _downhill(view: _View, along: int) -> tuple[Floats, Floats]:
    """Return places [rows, columns, 2] on a coarse grid, `along` the longer side, and −∇E there as arrows that fit.

    Lengths follow the root of the slope's size, as otherwise a few steep ones would hide all the rest.
    """
    spans = np.ptp(view.limits, axis=1)
    scale = np.full(2, spans.max()) if view.even else spans  # on the paper, parameters have no units
    counts = np.maximum(4, np.round(along * spans / scale)).astype(int)
    inside = [low + (high - low) * (np.arange(n) + 0.5) / n for (low, high), n in zip(view.limits, counts, strict=True)]
    places = np.stack(np.meshgrid(*inside), axis=-1)
    slopes = view.landscape.slopes(view.parameters, places, at=view.at)
    size = np.hypot(*np.moveaxis(slopes / scale, -1, 0))[..., None]
    largest = np.max(size, initial=0.0, where=np.isfinite(size))
    if largest == 0.0:
        return places, np.zeros_like(slopes)
    with np.errstate(all="ignore"):  # where a slope is not finite there is no arrow
        return places, -slopes * np.where(size > 0, np.sqrt(size / largest) / size, 0.0) * (0.9 / counts.max())
