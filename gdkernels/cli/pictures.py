"""Pictures as files: rejected before any work if they cannot be written, written whole, the same bytes each time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdkernels import plots
from gdkernels.errors import InputError
from gdkernels.plots import style
from gdkernels.system.atomic_files import check_destination, write_atomically
from gdkernels.tables import Preparation
from gdkernels.tabular import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panel", "check", "check_classes", "compared", "draw", "matching", "write"]

# Draws on the Axes that it is given by the keyword ``ax``.
Panel = Callable[..., Any]

# What would tell when the file was written, by format.
_DATES: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_DPI = 150
_COLUMNS = 2
MOST_CLASSES = 1000  # of a confusion matrix: of more, a class would be narrower than a dot of the screen


def check(path: str, *, overwrite: bool) -> None:
    """Raise the error that `write` would raise, as far as it can be foreseen.

    Raises
    ------
    InputError
        For a suffix that is no format, or where matplotlib is not installed.
    FileError
        If the file exists already and `overwrite` is false, or cannot be written.
    """
    if _format(path) not in _DATES:
        raise InputError(f"cannot write {path}: the name of a picture ends in .png, .svg or .pdf; give it such a name")
    check_destination(path, overwrite=overwrite)
    style.require()


def draw(panels: Sequence[Panel]) -> Figure:
    """Return a figure of these panels, two to a row."""
    columns = min(_COLUMNS, len(panels))
    figure, places = style.panels(math.ceil(len(panels) / columns), columns)
    for k, ax in enumerate(places):
        if k < len(panels):
            panels[k](ax=ax)
        else:
            ax.remove()
    return figure


def write(figure: Figure, path: str, *, overwrite: bool) -> None:
    """Write `figure` in the format of the suffix of `path`.

    Raises
    ------
    FileError
        If the file exists already and `overwrite` is false, or cannot be written; nothing is left behind.
    """
    import matplotlib

    kind = _format(path)
    with matplotlib.rc_context({"svg.hashsalt": "gdkernels"}):
        write_atomically(
            path,
            lambda file: figure.savefig(file, format=kind, dpi=_DPI, metadata=_DATES[kind]),
            overwrite=overwrite,
        )


def check_classes(preparation: Preparation) -> None:
    """Reject a confusion matrix of more classes than you could tell apart, before anything is predicted."""
    if preparation.classes is not None and _too_many(preparation):
        raise InputError(
            f"a confusion matrix of {len(preparation.classes):,} classes cannot be drawn; it can have "
            f"{MOST_CLASSES:,} at most. `gdkernels evaluate` without --plot lists the pairs confused most often"
        )


def _too_many(preparation: Preparation) -> bool:
    return preparation.classes is not None and len(preparation.classes) > MOST_CLASSES


def matching(preparation: Preparation, evaluation: Evaluation) -> list[Panel]:
    """Return the panels that set predictions beside the truth: one for each target, or the confusion matrix.

    There is none of more classes than can be drawn.
    """
    if _too_many(preparation):
        return []
    return [panel for panels in _by_target(preparation, evaluation) for panel in panels[:1]]


def compared(preparation: Preparation, evaluation: Evaluation) -> list[Panel]:
    """Return the panels of `matching`, each for numbers followed by one of the residuals."""
    return [panel for panels in _by_target(preparation, evaluation) for panel in panels]


def _by_target(preparation: Preparation, evaluation: Evaluation) -> list[list[Panel]]:
    if preparation.classes is not None:
        assert evaluation.pairs is not None
        return [[partial(plots.confusion_matrix, evaluation.pairs.matrix(), preparation.classes.tolist())]]
    truth, predicted = (a.reshape(len(a), -1).T for a in (evaluation.truth, evaluation.predicted))
    pairs = zip(truth, predicted, strict=True)
    return [
        [partial(function, true, predicted, name=name) for function in (plots.predicted_against_true, plots.residuals)]
        for name, (true, predicted) in zip(preparation.targets, pairs, strict=True)
    ]


def _format(path: str | os.PathLike[str]) -> str:
    return Path(path).suffix[1:].lower()
