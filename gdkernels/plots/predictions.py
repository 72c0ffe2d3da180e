"""Pictures of predictions: a fit over its data, predicted against true, residuals, the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gdkernels import metrics
from gdkernels.errors import InputError, shown
from gdkernels.plots import style
from gdkernels.plots.given import checked_text, numbers_of
from gdkernels.system.given import items_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion_matrix", "fitted_curve", "predicted_against_true", "residuals"]

_MANY = 5_000  # points beyond which a vector file gets them as an image
_LABELLED = 12  # classes up to which every cell shows its count
_BRIGHT = 0.467  # the share from which black text stands out more from the colour than white
_LONGEST, _ROW = 18, 30  # letters of a label, and of all that stand in a row


def fitted_curve(
    predict: Callable[[npt.NDArray[Any]], Any],
    X: Any,
    Y: Any,
    *,
    x: str = "x",
    y: str = "y",
    ax: Axes | None = None,
) -> Axes:
    """Draw a fitted line or curve over the data, with the residual y − ŷ of each record as a vertical line.

    Parameters
    ----------
    predict
        From inputs [records, 1] to predictions [records] or [records, 1], such as ``mlp.predict``.
    X, Y
        The data, one number each: [records] or [records, 1].
    x, y
        Their names, with units.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With the points, the residuals (a `LineCollection`) and the curve.

    Raises
    ------
    InputError
        If X or Y is not one number for each record.
    """
    inputs, targets = numbers_of(X, "X"), numbers_of(Y, "Y")
    _check_lengths(inputs, targets, "X", "Y")
    if not callable(predict):
        raise InputError(f"predict must be a function such as mlp.predict, got {shown(predict)}")
    x, y = checked_text("x", x), checked_text("y", y)
    predicted = numbers_of(predict(inputs[:, None]), "the prediction")
    _check_lengths(inputs, predicted, "X", "the prediction")
    margin = 0.03 * (np.ptp(inputs) or 1.0)
    along = np.linspace(inputs.min() - margin, inputs.max() + margin, 300)
    ax = style.axes_or_new(ax)
    ax.vlines(inputs, targets, predicted, color=style.GREY, linewidth=1.2, label="residuals")
    ax.plot(along, numbers_of(predict(along[:, None]), "the prediction"), color=style.RED, linewidth=2.2, label="fit")
    ax.plot(inputs, targets, "o", color=style.BLUE, markeredgecolor="white", markersize=6.5, label="data")
    style.dress(ax, title=f"Fit and residuals: {_figures(targets, predicted)}", x=x, y=y)
    ax.legend(frameon=False)
    return ax


def predicted_against_true(true: Any, predicted: Any, *, name: str = "target", ax: Axes | None = None) -> Axes:
    """Draw a point for each record, its prediction over its true value; on the diagonal both agree.

    Parameters
    ----------
    true, predicted
        Numbers [records] or [records, 1], in the target's own terms.
    name
        The name of the quantity, with its unit.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Square, with one scale for both axes.

    Raises
    ------
    InputError
        If they are not one number for each record.
    """
    t, p = _pairs(true, predicted)
    name = checked_text("name", name)
    ax = style.axes_or_new(ax)
    low, high = min(t.min(), p.min()), max(t.max(), p.max())
    margin = 0.04 * ((high - low) or 1.0)
    ends = [low - margin, high + margin]
    ax.plot(ends, ends, color=style.GREY, linewidth=1.2, linestyle="--", label="predicted = true")
    _scatter(ax, t, p)
    ax.set(xlim=ends, ylim=ends)
    ax.set_aspect("equal", adjustable="box")
    style.dress(ax, title=f"Predicted against true: {_figures(t, p)}", x=f"true {name}", y=f"predicted {name}")
    ax.legend(frameon=False, loc="upper left")
    return ax


def residuals(true: Any, predicted: Any, *, name: str = "target", ax: Axes | None = None) -> Axes:
    """Draw the residual, true − predicted, of each record over its prediction; a good model leaves no pattern.

    Parameters
    ----------
    true, predicted, name, ax
        As for `predicted_against_true`.

    Raises
    ------
    InputError
        If they are not one number for each record.
    """
    t, p = _pairs(true, predicted)
    name = checked_text("name", name)
    ax = style.axes_or_new(ax)
    ax.axhline(0.0, color=style.GREY, linewidth=1.2, linestyle="--")
    _scatter(ax, p, t - p)
    spread = f"mean {style.number(float(np.mean(t - p)))}, standard deviation {style.number(float(np.std(t - p)))}"
    style.dress(ax, title=f"Residuals: {spread}", x=f"predicted {name}", y="true − predicted")
    return ax


def confusion_matrix(counts: Any, labels: Sequence[Any], *, ax: Axes | None = None) -> Axes:
    """Draw how many records of each true class were given each class; colours are shares of the true class.

    Parameters
    ----------
    counts
        [true class, predicted class].
    labels
        The names of the classes.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With the counts in the cells where there are up to 12 classes.

    Raises
    ------
    InputError
        If `counts` is not a square of whole numbers with a label for each class.
    """
    names_of_classes = tuple(labels) if isinstance(labels, str) else items_of(labels)
    if names_of_classes is None:
        raise InputError(f"labels must be the names of the classes, got {shown(labels)}")
    try:
        matrix = np.asarray(counts)
    except ValueError:  # rows of several lengths
        raise InputError(f"counts must be whole numbers [true class, predicted class], got {shown(counts)}") from None
    labels, k = names_of_classes, len(names_of_classes)
    if not k:
        raise InputError("there is no confusion to draw: labels names no class")
    if matrix.shape != (k, k) or matrix.dtype.kind not in "iu":
        raise InputError(f"counts must be whole numbers [{k}, {k}], as there are {k} labels; got {list(matrix.shape)}")
    ax = style.axes_or_new(ax)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    image = ax.imshow(shares, cmap=style.HEAT, vmin=0, vmax=1)
    assert ax.figure is not None
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85)
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    if k <= _LABELLED:
        for (i, j), n in np.ndenumerate(matrix):
            ax.text(j, i, f"{n:,}", ha="center", va="center", color="white" if shares[i, j] < _BRIGHT else "black")
        names = [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in map(str, labels)]
        turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if sum(map(len, names)) > _ROW else {}
        ax.set_xticks(range(k), names, parse_math=False, **turned)
        ax.set_yticks(range(k), names, parse_math=False)
    accuracy = np.trace(matrix) / max(1, matrix.sum())
    title = f"Confusion matrix: {accuracy:.1%} of {matrix.sum():,} right"
    style.dress(ax, title=title, x="predicted class", y="true class", grid=None)
    ax.spines[:].set_visible(False)
    return ax


def _figures(true: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> str:
    with np.errstate(over="ignore", invalid="ignore"):  # figures too large for a number come out as such
        return f"R² {style.number(metrics.r2(true, predicted))}, RMSE {style.number(metrics.rmse(true, predicted))}"


def _scatter(ax: Axes, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    few = len(x) <= 300
    ax.plot(
        x,
        y,
        "o",
        color=style.BLUE,
        markersize=5.5 if few else 3.5,
        markeredgecolor="white",
        markeredgewidth=0.5 if few else 0,
        alpha=0.8 if few else max(0.05, min(0.6, 1_500 / len(x))),
        rasterized=len(x) > _MANY,
        label="_records",
    )


def _pairs(true: Any, predicted: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    t, p = numbers_of(true, "true"), numbers_of(predicted, "predicted")
    _check_lengths(t, p, "true", "predicted")
    return t, p


def _check_lengths(a: npt.NDArray[Any], b: npt.NDArray[Any], a_name: str, b_name: str) -> None:
    if len(a) != len(b):
        raise InputError(f"{a_name} has {len(a):,} records and {b_name} {len(b):,}; they must be the same records")
