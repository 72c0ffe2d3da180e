"""Curves, predictions, distributions and throughput show the numbers that they were given."""

import subprocess
import sys

import numpy as np
import pytest
from pictures import HISTORY

import gdkernels as gd
from gdkernels import plots
from gdkernels.plots import style


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- loss curves


def test_loss_curves_of_a_history():
    mlp = gd.MLP([1, 4, 1], seed=0, backend="numpy")
    X = np.linspace(-1, 1, 40)[:, None]
    settings = {"optimizer": gd.Adam(0.05), "validation": 0.25}
    mlp.fit(X, X**2, epochs=3, **settings)
    history = mlp.fit(X, X**2, epochs=12, patience=20, **settings)
    ax = plots.loss_curves(history)
    training, validation, _, kept = ax.lines
    np.testing.assert_array_equal(training.get_data(), [range(4, 16), history.loss])
    np.testing.assert_array_equal(validation.get_data(), [range(4, 16), history.validation_loss])
    assert kept.get_xdata() == [history.best_epoch]
    assert kept.get_ydata() == [min(history.validation_loss)]
    assert labels(ax)[:2] == ["training", "validation"]
    assert labels(ax)[2].startswith(f"kept: epoch {history.best_epoch}, ")


@pytest.mark.parametrize(("low", "scale"), [(0.15, "linear"), (0.05, "log"), (0.0, "linear"), (-1.0, "linear")])
def test_the_scale_is_logarithmic_where_it_serves(low, scale):
    ax = plots.loss_curves({"loss": [1.0, 0.5, low], "validation_loss": None, "best_epoch": 3})
    assert ax.get_yscale() == scale
    assert labels(ax)[0] == "training"
    assert len(labels(ax)) == 2


def test_loss_curves_of_several_networks():
    ax = plots.loss_curves([HISTORY, HISTORY | {"best_epoch": 4}])
    assert labels(ax) == ["training", "validation", "kept"]
    assert [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1] == [6, 4]
    assert "2 networks" in ax.get_title(loc="left")


def test_no_epochs_no_curve():
    for losses in ([], [np.nan]):
        with pytest.raises(gd.InputError, match="no epoch has a finite loss"):
            plots.loss_curves({"loss": losses, "validation_loss": None, "best_epoch": None})


# ---- predictions


def test_predicted_against_true_and_residuals():
    true, predicted = np.array([1.0, 2.0, 4.0]), np.array([[1.5], [2.0], [3.0]])
    ax = plots.predicted_against_true(true, predicted, name="$price")
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1.0
    diagonal, points = ax.lines
    np.testing.assert_array_equal(*diagonal.get_data())
    np.testing.assert_array_equal(points.get_data(), [true, predicted[:, 0]])
    assert ax.get_xlabel() == "true $price"
    assert ax.get_title(loc="left") == "Predicted against true: R² 0.732, RMSE 0.645"
    ax = plots.residuals(true, predicted)
    np.testing.assert_array_equal(ax.lines[1].get_data(), [predicted[:, 0], [-0.5, 0.0, 1.0]])


def test_numbers_at_the_end_of_the_range_are_drawn():
    ax = plots.predicted_against_true([1e300, -1e300], [1e300, 0.0])
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left").endswith("R² nan, RMSE inf")


def test_a_dollar_is_a_dollar():
    ax = plots.predicted_against_true([1.0, 2.0], [1.0, 2.0], name="$1 and \\frac{")
    plots.confusion_matrix([[1, 0], [0, 1]], ["$a$ \\frac{", "b_{"], ax=plots.panels(1, 1)[1][0]).figure.canvas.draw()
    ax.figure.canvas.draw()


def test_many_points_are_an_image_in_vector_files():
    few, many = (plots.residuals(np.arange(n), np.arange(n)).lines[1] for n in (5_000, 5_001))
    assert (few.get_rasterized(), many.get_rasterized()) == (False, True)


def test_confusion_matrix():
    ax = plots.confusion_matrix([[3, 1], [0, 0]], ["yes", "no"])
    assert [t.get_text() for t in ax.texts] == ["3", "1", "0", "0"]
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["yes", "no"]
    assert ax.get_title(loc="left") == "Confusion matrix: 75.0% of 4 right"
    many = plots.confusion_matrix(np.eye(13, dtype=int), range(13))
    assert list(many.texts) == []


def test_the_colours_can_be_told_from_the_text_on_them():
    ax = plots.confusion_matrix([[54, 46, 0], [0, 53, 47], [50, 30, 20]], "abc")
    for text in ax.texts:
        column, row = (int(v) for v in text.get_position())
        ground = luminance(ax.images[0].cmap(ax.images[0].norm(ax.images[0].get_array()[row, column]))[:3])
        ink = {"white": 1.0, "black": 0.0}[text.get_color()]
        bright, dark = max(ground, ink), min(ground, ink)
        assert (bright + 0.05) / (dark + 0.05) > 4.5, "the contrast that WCAG 2.1 asks for"


def luminance(colour):
    """Return the relative luminance of sRGB levels from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


# ---- layers


def test_weights_by_layer():
    mlp = gd.MLP([4, 30, 2], seed=0, backend="numpy")
    ax = plots.weights_by_layer(mlp)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["W1  (30 → 2)", "W0  (4 → 30)"]
    first, second = ax.patches
    heights, edges, base = first.get_data()
    counts = np.histogram(mlp.parameters[0].W, edges)[0]
    np.testing.assert_allclose(heights - base, 0.85 * counts / counts.max())
    assert (base, second.get_data().baseline) == (1, 0)


def test_gradients_by_layer():
    mlp = gd.MLP([2, 3, 1], seed=0, backend="numpy")
    W = np.array([[1.0, -1.0, 2.0], [1.0, -1.0, 0.5]])
    mlp.set_parameters([(W, np.zeros(3)), (np.ones((3, 1)), np.zeros(1))])
    X, Y = [[1.0, 2.0], [2.0, 1.0]], [1.0, 2.0]  # the second unit is never active
    ax = plots.gradients_by_layer(mlp, X, Y)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["W1  (3 → 1)\n33.3% are 0", "W0  (2 → 3)\n33.3% are 0"]
    slopes = np.abs(np.asarray(mlp.gradient(X, Y)[0].W))
    median = next(line for line in ax.lines if line.get_marker() == "|")
    assert median.get_xdata()[0] == pytest.approx(np.median(np.log10(slopes[slopes > 0])), abs=1e-6)
    mlp.set_parameters([(-W, np.zeros(3)), (np.zeros((3, 1)), np.zeros(1))])
    with pytest.raises(gd.InputError, match="all slopes are 0"):
        plots.gradients_by_layer(mlp, X, [0.0, 0.0])


def test_of_blocks_the_weights_that_training_changes_are_drawn():
    b = gd.blocks
    net = gd.Network(b.Sequential(b.Periodic(3), b.Gated(4), b.Dense(1)), 2, seed=0, backend="numpy")
    X = np.random.default_rng(0).normal(size=(9, 2))
    for ax in (plots.weights_by_layer(net), plots.gradients_by_layer(net, X, X[:, 0])):
        names = [t.get_text() for t in ax.get_yticklabels()]
        assert names == ["W2  (4 → 1)", "V1  (12 → 4)", "W1  (12 → 4)"]  # not the matrix of Periodic, a constant
    norm = gd.Network(b.LayerNorm(), 2, backend="numpy")
    for draw in (plots.weights_by_layer, lambda net: plots.gradients_by_layer(net, X, X)):
        with pytest.raises(gd.InputError, match="no matrices of weights to draw"):
            draw(norm)


# ---- throughput


def test_throughput():
    ax = plots.throughput({"numpy": {64: 2e5, 16: 1e5}, "a_b$": {16: 5e5}, "none": {}})
    assert [list(line.get_xdata()) for line in ax.lines] == [[16, 64], [16], []]
    assert list(ax.lines[0].get_ydata()) == [1e5, 2e5]
    assert [t.get_text() for t in ax.texts] == ["numpy", "a_b$"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()][1:-1] == ["16", "32", "64"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.throughput({}), "no backend has a measurement"),
        (lambda: plots.throughput({"numpy": {}}), "no backend has a measurement"),
        (lambda: plots.throughput({"numpy": {16: 0.0}}), "'numpy' has 0 samples/s at 16"),
        (lambda: plots.throughput({"numpy": {0: 5.0}}), "'numpy' has 5 samples/s at 0"),
        (lambda: plots.residuals([1.0], [1.0, 2.0]), "true has 1 records and predicted 2"),
        (lambda: plots.residuals([[1.0, 2.0]], [[1.0, 2.0]]), "true must be one number for each record"),
        (lambda: plots.residuals([], []), "true must be one number for each record"),
        (lambda: plots.residuals([1.0, 2.0], [1.0, np.nan]), "predicted holds values that are not finite"),
        (lambda: plots.fitted_curve(lambda x: x, [1.0, 2.0], [1.0]), "X has 2 records and Y 1"),
        (
            lambda: plots.confusion_matrix([[1, 2]], ["a"]),
            r"whole numbers \[1, 1\], as there are 1 labels; got \[1, 2\]",
        ),
        (lambda: plots.confusion_matrix([[0.5]], ["a"]), "counts must be whole numbers"),
    ],
)
def test_what_cannot_be_drawn(draw, message):
    with pytest.raises(gd.InputError, match=message):
        draw()


# ---- how they are made


def test_axes_that_are_given_are_drawn_on():
    _, (ax,) = plots.panels(1, 1)
    assert plots.loss_curves(HISTORY, ax=ax) is ax
    assert len(ax.lines) == 4


def test_the_palette_is_of_distinct_colours():
    assert len(set(style.COLOURS)) == len(style.COLOURS) == len(set(style.MARKERS))


def test_pyplot_is_not_touched():
    code = """
import sys
import gdkernels as gd
assert "matplotlib" not in sys.modules
plots = gd.plots
assert "matplotlib" not in sys.modules
plots.loss_curves({"loss": [2.0, 0.1], "validation_loss": None, "best_epoch": 2}).figure.canvas.draw()
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(gd.InputError, match=r'run pip install "gdkernels\[plot\]"'):
        plots.loss_curves(HISTORY)
