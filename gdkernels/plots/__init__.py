"""Pictures of training and of its results; they need ``pip install "gdkernels[plot]"``.

Every function draws on the matplotlib Axes that you pass, or on those of a new figure, and returns them.
``ax.figure.savefig("picture.svg")`` writes the picture; ``ax.figure`` at the end of a notebook's cell shows it. These
functions never touch pyplot, which stays yours, and need no display.

>>> from gdkernels import plots
>>> path = plots.Path(mlp)  # doctest: +SKIP
>>> history = mlp.fit(X, Y, epochs=30, batch_size=len(X), callbacks=[path])  # doctest: +SKIP
>>> ax = plots.loss_curves(history)  # doctest: +SKIP
>>> landscape = plots.Landscape(mlp, X, Y)  # doctest: +SKIP
>>> ax = plots.error_surface(landscape, ("W0[0,0]", "b0[0]"), path=path)  # doctest: +SKIP
"""

from gdkernels.plots.curves import loss_curves, throughput
from gdkernels.plots.landscape import Landscape, Path
from gdkernels.plots.layers import gradients_by_layer, weights_by_layer
from gdkernels.plots.predictions import confusion_matrix, fitted_curve, predicted_against_true, residuals
from gdkernels.plots.slope import error_over_weight, several_starts
from gdkernels.plots.style import panels
from gdkernels.plots.surface import error_surface, error_surface_3d

__all__ = [
    "Landscape",
    "Path",
    "confusion_matrix",
    "error_over_weight",
    "error_surface",
    "error_surface_3d",
    "fitted_curve",
    "gradients_by_layer",
    "loss_curves",
    "panels",
    "predicted_against_true",
    "residuals",
    "several_starts",
    "throughput",
    "weights_by_layer",
]
