"""The look of the pictures: one palette that colour-blind people can tell apart, one way to dress axes.

Colours of text, spines and background are left to the user's matplotlib, so that pictures fit a dark notebook as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdkernels.errors import InputError, shown
from gdkernels.system.given import is_one_of, items_of
from gdkernels.system.libraries import lack_of
from gdkernels.system.ranges import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "HEAT",
    "MARKERS",
    "ORANGE",
    "RED",
    "axes_or_new",
    "dress",
    "number",
    "panels",
    "require",
]

# The palette of Okabe & Ito (2008), without its black and its yellow, which vanish on a dark and a light ground.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
COLOURS = (BLUE, RED, GREEN, ORANGE, "#56B4E9", "#CC79A7")
MARKERS = "osD^vP"  # beside the colours, so that a picture can be read without them
GREY = "0.5"
HEAT = "cividis"  # Nuñez, Anderton & Renslow 2018: the same to people with and without a colour vision deficiency

_PANEL_INCHES = (5.6, 4.2)


def require() -> None:
    """Raise an error if pictures cannot be drawn here.

    Raises
    ------
    InputError
        If matplotlib is not installed, or broken; it says how to mend that.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except Exception as error:  # a library that is broken raises anything
        lack = lack_of("matplotlib.figure", error, 'pip install "gdkernels[plot]"')
        raise InputError(f"pictures need matplotlib, {lack}") from None


def panels(rows: int, columns: int, *, projections: Sequence[str | None] = (None,)) -> tuple[Figure, list[Axes]]:
    """Return a new figure with its Axes, row by row; pyplot does not know of it.

    Parameters
    ----------
    projections
        That of each panel, repeated as needed: None, or "3d".
    """
    for name, value in (("rows", rows), ("columns", columns)):
        if not whole(1).has(value):
            raise InputError(f"{name} must be {whole(1).wanted}, got {shown(value)}")
    known = items_of(projections) or ()
    if not known or not all(projection is None or is_one_of(projection, ("3d",)) for projection in known):
        raise InputError(f'projections must be a list of None and "3d", got {shown(projections)}')
    require()
    from gdkernels.plots.figure import NotebookFigure

    width, height = _PANEL_INCHES
    figure = NotebookFigure(figsize=(columns * width, rows * height), layout="constrained")
    places = range(rows * columns)
    chosen = [known[k % len(known)] for k in places]
    return figure, [figure.add_subplot(rows, columns, k + 1, projection=chosen[k]) for k in places]


def axes_or_new(ax: Axes | None, *, projection: str | None = None) -> Any:
    """Return `ax`, or the Axes of a new figure.

    Raises
    ------
    InputError
        For what is not matplotlib's Axes.
    """
    require()
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise InputError(f"ax must be the Axes of matplotlib to draw on, or None for a new figure, got {shown(ax)}")
    return panels(1, 1, projections=(projection,))[1][0] if ax is None else ax


def dress(ax: Axes, *, title: str, x: str, y: str, grid: str | None = "both") -> None:
    """Give `ax` its title and labels, a faint grid, and no more frame than needed."""
    ax.set_title(title, loc="left")
    ax.set_xlabel(x, parse_math=False)  # the user's columns: a dollar is a dollar
    ax.set_ylabel(y, parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid is not None:
        ax.grid(visible=True, axis=grid, color=GREY, alpha=0.25, linewidth=0.6)  # type: ignore[arg-type]


def number(value: float) -> str:
    """Return `value` to three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "−")
