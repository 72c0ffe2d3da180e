"""Pictures with fixed content, how they are rendered, and how much two renderings differ.

Run as a program, it writes the stored images anew: look at each before it is committed.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.image
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import Normal

import gdkernels as gd
from gdkernels import plots
from gdkernels.plots import examples

BASELINE = Path(__file__).parent / "plots" / "baseline"
WEIGHT, BIAS = "W0[0,0]", "b0[0]"
HISTORY = {
    "loss": [2.0, 1.1, 0.6, 0.35, 0.2, 0.12, 0.07, 0.05],
    "validation_loss": [1.8, 1.2, 0.8, 0.6, 0.5, 0.48, 0.52, 0.6],
    "best_epoch": 6,
}

_DPI = 60
_WINDOW = 12  # pixels: about a letter


@cache
def on_a_line():
    return examples.line((-2.0, 2.0), seed=0).go(gd.SGD(0.15), 25)


def surface():
    landscape, path = on_a_line()
    return plots.error_surface(landscape, (WEIGHT, BIAS), path=path, labels=("slope w", "intercept b"))


def surface_3d():
    landscape, path = on_a_line()
    return plots.error_surface_3d(landscape, (WEIGHT, BIAS), path=path, labels=("slope w", "intercept b"))


def slope():
    landscape, path = examples.one_weight(0.5).go(gd.SGD(0.02), 8)
    return plots.error_over_weight(landscape, WEIGHT, path=path, label="weight w")


def starts():
    descents = [examples.wave(start, seed=0).go(gd.SGD(0.02), 40) for start in (0.5, 1.6, 5.9)]
    return plots.several_starts(descents[0][0], WEIGHT, [path for _, path in descents], label="weight w")


def fit():
    descent = examples.line((1.4, -0.4), seed=0)
    return plots.fitted_curve(descent.mlp.predict, descent.X, descent.Y)


def numbers():
    draw = np.random.default_rng(0)
    true = draw.normal(50, 10, size=80)
    return true, true + draw.normal(0, 4, size=80)


@cache
def network():
    draw = np.random.default_rng(0)
    X = draw.standard_normal((100, 6))
    return gd.MLP([6, 20, 15, 1], seed=0, backend="numpy", precision="float64"), X, X[:, :1] * X[:, 1:2]


def throughput():
    sizes = (32, 128, 512, 2048)
    measured = {"numpy": (2e5, 4e5, 6e5, 7e5), "numba": (9e5, 2e6, 2.6e6, 2.8e6), "cupy": (1e5, 5e5, 2e6, 8e6)}
    return plots.throughput({name: dict(zip(sizes, values, strict=True)) for name, values in measured.items()})


PICTURES: dict[str, Callable[[], Any]] = {
    "surface": surface,
    "surface_3d": surface_3d,
    "slope": slope,
    "starts": starts,
    "fit": fit,
    "loss": lambda: plots.loss_curves(HISTORY),
    "predicted": lambda: plots.predicted_against_true(*numbers(), name="price (€)"),
    "residuals": lambda: plots.residuals(*numbers(), name="price (€)"),
    "confusion": lambda: plots.confusion_matrix([[30, 2, 0], [1, 14, 5], [0, 1, 24]], ["red", "green", "blue"]),
    "weights": lambda: plots.weights_by_layer(network()[0]),
    "gradients": lambda: plots.gradients_by_layer(*network()),
    "throughput": throughput,
}


# Letters as plain outlines, and places that do not follow from their sizes: both would change with each font renderer.
STYLE = ["default", {"text.hinting": "no_hinting", "path.effects": [Normal()]}]
PLACES = {"starts": (0.12, 0.34, 0.8, 0.54), "weights": (0.25, 0.11, 0.7, 0.77), "gradients": (0.25, 0.11, 0.7, 0.77)}


def drawn(name):
    """Return the Axes of a picture, in a style that is not the user's."""
    with matplotlib.style.context(STYLE):
        ax = PICTURES[name]()
        ax.figure.set_layout_engine("none")
        if name in PLACES:
            ax.set_position(PLACES[name])
        ax.figure.set_dpi(_DPI)
        return ax


def rendered(ax):
    """Return the picture as levels from 0 to 255 [rows, columns, 3]."""
    with matplotlib.style.context(STYLE):
        canvas = FigureCanvasAgg(ax.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def stored(name):
    return 255.0 * matplotlib.image.imread(BASELINE / f"{name}.png")[..., :3]


def difference(a, b):
    """Return the largest difference of the mean level in any window, each where it fits best within a pixel."""
    if a.shape != b.shape:
        return np.inf
    steps = (-1, 0, 1)
    moved = (np.roll(a, (down, right), (0, 1)) - b for down in steps for right in steps)
    return float(np.min([_windows(d) for d in moved], axis=0).max())


def _windows(d):
    rows, columns = (n // _WINDOW for n in d.shape[:2])
    windows = d[: rows * _WINDOW, : columns * _WINDOW].reshape(rows, _WINDOW, columns, _WINDOW, 3)
    return np.abs(windows.mean(axis=(1, 3)))


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for each in PICTURES:
        image = rendered(drawn(each)).astype(np.uint8)
        matplotlib.image.imsave(BASELINE / f"{each}.png", image, metadata={"Software": None})
