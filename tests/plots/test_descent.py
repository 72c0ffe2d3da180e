"""The teaching pictures show what happened: paths are the parameters of the descent, arrows the negative gradient."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from pictures import BIAS, WEIGHT, on_a_line

import gdkernels as gd
from gdkernels import plots
from gdkernels.plots import examples
from gdkernels.plots.landscape import SingleParameter

STEP = 1e-5


def line_error(descent, w, b):
    """Return the error of a line, by its own formula."""
    return np.mean((w * descent.X + b - descent.Y) ** 2)


def central(f, *values):
    """Return the slopes of f by central differences."""
    moved = np.eye(len(values)) * STEP
    return np.array([(f(*(values + d)) - f(*(values - d))) / (2 * STEP) for d in moved])


def named(ax, label):
    (found,) = (a for a in (*ax.lines, *ax.collections) if a.get_label().startswith(label))
    return found


# ---- landscape and path


def test_a_path_is_every_step_of_the_descent():
    descent = examples.line((-2.0, 2.0), seed=3)
    _, path = descent.go(gd.SGD(0.1), 12)
    point = np.array([-2.0, 2.0])
    along = path.along(SingleParameter.of(WEIGHT), SingleParameter.of(BIAS))
    assert len(path) == len(along) == 13
    for k in range(13):
        np.testing.assert_allclose(along[k], point, rtol=1e-6, atol=1e-8)
        point = point - 0.1 * central(lambda w, b: line_error(descent, w, b), *point)


def test_a_path_keeps_what_was():
    mlp = gd.MLP([2, 3, 1], seed=0, backend="numpy", precision="float32")
    path = plots.Path(mlp)
    mlp.fit([[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0], epochs=4, callbacks=[path])
    assert len(path) == 5
    first = path.points[0][0].W
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, mlp.network.structure.initial_parameters(mlp.seed)["W0"])
    np.testing.assert_array_equal(path.points[-1][1].b, mlp.parameters[1].b)
    assert len({float(point[0].W[0, 0]) for point in path.points}) == 5


@pytest.mark.parametrize(("loss", "Y"), [("sse", [0.3, -1.0, 2.0]), ("cross_entropy", [0, 2, 1])])
def test_errors_and_slopes_of_a_deep_network(loss, Y):
    outputs = 3 if loss == "cross_entropy" else 1
    mlp = gd.MLP([2, 4, outputs], activation="tanh", seed=1, backend="numpy")
    X = [[0.5, -1.0], [2.0, 0.3], [-1.5, 1.0]]
    landscape = plots.Landscape(mlp, X, Y, loss=loss)
    assert landscape.error(landscape.here) == pytest.approx(mlp.loss(X, Y, loss=loss), rel=1e-6)
    parameters = [SingleParameter.of(name) for name in ("W0[1,2]", "b0[3]", "W1[2,0]")]
    places = np.random.default_rng(0).normal(size=(2, 5, 3))
    errors, slopes = landscape.errors(parameters, places), landscape.slopes(parameters, places)
    assert (errors.shape, slopes.shape) == ((2, 5), (2, 5, 3))
    for where in np.ndindex(2, 5):
        measured = central(lambda *v: float(landscape.errors(parameters, np.array(v))), *places[where])
        np.testing.assert_allclose(slopes[where], measured, rtol=1e-6, atol=1e-9)


def test_a_landscape_is_a_copy():
    mlp = gd.MLP([1, 1], seed=0, backend="numpy")
    landscape = plots.Landscape(mlp, [[1.0]], [5.0])
    before = landscape.error(landscape.here)
    landscape.errors([SingleParameter.of(WEIGHT)], np.array([[100.0]]))
    mlp.set_parameters([[[[7.0]], [1.0]]])
    assert landscape.error(landscape.here) == before


@pytest.mark.parametrize("name", ["W0", "W-1[0,0]", "", "W0[0,0] ", "W0[-1,0]", "W0[0,0,0]", "0[0]"])
def test_what_is_no_parameter(name):
    with pytest.raises(gd.InputError, match="is no parameter; a weight of the first layer is"):
        SingleParameter.of(name)


@pytest.mark.parametrize("name", ["W0[1,0]", "W0[0,1]", "W0[0]", "w0[0,0]", "b0[0]", "b0[0,1]", "W1[0,0]"])
def test_parameters_that_the_network_lacks(name):
    landscape = plots.Landscape(gd.MLP([1, 1], bias=False, backend="numpy"), [[1.0]], [1.0])
    with pytest.raises(gd.InputError, match=rf"no parameter {name[:2]}\[.*it has W0 \[1, 1\]$"):
        plots.error_over_weight(landscape, name)


# ---- networks that are no chain


def blocks_of_several_kinds():
    """Return a network with parameters of one and of two dimensions, in one block of several, and constants."""
    b = gd.blocks
    inner = b.Residual(b.LayerNorm(), b.Dense(4, "tanh"))
    return gd.Network(b.Sequential(b.Periodic(2), inner, b.Gated(4), b.Dense(1)), 1, seed=0, backend="numpy")


INPUTS = np.linspace(-1, 1, 12)[:, None]


def test_a_landscape_of_blocks_goes_by_name():
    net = blocks_of_several_kinds()
    path = plots.Path(net)
    start = net.parameters
    net.fit(INPUTS, INPUTS**2, epochs=6, batch_size=12, optimizer=gd.SGD(0.1), callbacks=[path])
    assert set(path.points[0]) == set(start)
    np.testing.assert_array_equal(path.points[0]["V2"], start["V2"])
    np.testing.assert_allclose(path.points[-1]["scale1/0"], net.parameters["scale1/0"], rtol=1e-12)
    landscape = plots.Landscape(net, INPUTS, INPUTS**2)
    assert landscape.error(landscape.here) == pytest.approx(net.loss(INPUTS, INPUTS**2), rel=1e-6)
    names = ["frequency0[1]", "scale1/0[2]", "W1/1[0,3]", "V2[1,2]", "c2[0]", "b3[0]"]
    parameters = [SingleParameter.of(name) for name in names]
    assert [str(p) for p in parameters] == names
    place = path.along(*parameters)[2]
    slopes = landscape.slopes(parameters, place, at=path.points[2])
    measured = central(lambda *v: float(landscape.errors(parameters, np.array(v), at=path.points[2])), *place)
    np.testing.assert_allclose(slopes, measured, rtol=1e-5, atol=1e-9)
    assert np.abs(slopes).min() > 1e-6, "else nothing is tried here"
    assert landscape.gradient(landscape.here).keys() == start.keys() - {"spread0", "phase0"}


def test_blocks_are_drawn():
    net = blocks_of_several_kinds()
    path = plots.Path(net)
    net.fit(INPUTS, INPUTS**2, epochs=3, batch_size=12, optimizer=gd.SGD(0.1), callbacks=[path])
    landscape = plots.Landscape(net, INPUTS, INPUTS**2)
    ax = plots.error_over_weight(landscape, "scale1/0[2]", path=path, points=5)
    np.testing.assert_array_equal(named(ax, "descent").get_xdata(), [point["scale1/0"][2] for point in path.points])
    ax = plots.several_starts(landscape, "V2[1,2]", [path], points=5)
    np.testing.assert_array_equal(
        next(line for line in ax.lines if line.get_label() == "_descent").get_xdata(),
        [point["V2"][1, 2] for point in path.points],
    )
    ax = plots.error_surface(landscape, ("W3[0,0]", "b3[0]"), path=path, points=5)
    ends = [[point["W3"][0, 0], point["b3"][0]] for point in path.points]
    np.testing.assert_array_equal(np.transpose(named(ax, "descent").get_data()), ends)
    with pytest.raises(gd.InputError, match=r"no parameter spread0\[0,0\]; it has frequency0 \[4\]"):
        plots.error_over_weight(landscape, "spread0[0,0]")  # a constant has no slope


# ---- over one parameter


def test_the_slope_and_the_steps():
    landscape, path = examples.one_weight(2.0).go(gd.SGD(0.01), 5)
    ax = plots.error_over_weight(landscape, WEIGHT, path=path)
    steps = path.along(SingleParameter.of(WEIGHT))[:, 0]
    assert steps[:2] == pytest.approx([2.0, 2.24])
    values, errors = named(ax, "error").get_data()
    np.testing.assert_allclose(errors, (3 * values - 10) ** 2)
    np.testing.assert_allclose(named(ax, "descent").get_data(), [steps, (3 * steps - 10) ** 2])
    (x0, x1), (y0, y1) = named(ax, "slope").get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(-24)
    assert np.interp(2.0, [x0, x1], [y0, y1]) == pytest.approx(16)
    assert "−24" in named(ax, "slope").get_label()
    arrows = named(ax, "_steps")
    np.testing.assert_allclose(arrows.U, np.diff(steps))
    np.testing.assert_array_equal(arrows.V, 0)


def test_without_a_path_there_is_the_slope_alone():
    landscape = plots.Landscape(examples.one_weight(2.0).mlp, [[3.0]], [10.0], loss="mse")
    ax = plots.error_over_weight(landscape, WEIGHT, limits=(0.0, 3.0))
    assert ax.get_xlim() == (0.0, 3.0)
    assert "−24" in named(ax, "slope").get_label()
    assert not [c for c in ax.collections if c.get_label() == "_steps"]


def test_several_starts_reach_several_minima():
    descents = [examples.wave(start, seed=0).go(gd.SGD(0.02), 300) for start in (0.3, 1.6, 3.2, 5.4)]
    landscape = descents[0][0]
    ax = plots.several_starts(landscape, WEIGHT, [path for _, path in descents])
    ends = [float(path.along(SingleParameter.of(WEIGHT))[-1, 0]) for _, path in descents]
    for k, (end, (_, path)) in enumerate(zip(ends, descents, strict=True), 1):
        marker = named(ax, f"start {k}")
        np.testing.assert_allclose(marker.get_xdata(), [end])
        slope = central(lambda w: float(landscape.errors([SingleParameter.of(WEIGHT)], np.array([w]))), end)
        assert slope == pytest.approx(0, abs=1e-3)
        drawn = [line for line in ax.lines if line.get_label() == "_descent"][k - 1]
        np.testing.assert_array_equal(drawn.get_xdata(), path.along(SingleParameter.of(WEIGHT))[:, 0])
    assert len({round(end, 2) for end in ends}) == 3
    assert ends[1] == pytest.approx(ends[2], abs=1e-3)
    (lowest,) = ax.texts
    assert lowest.xy[0] == pytest.approx(ends[1], abs=1e-3)


# ---- over two


def test_the_surface_with_path_and_arrows():
    descent = examples.line((-2.0, 2.0), seed=0)
    landscape, path = on_a_line()
    ax = plots.error_surface(landscape, (WEIGHT, BIAS), path=path)
    steps = path.along(SingleParameter.of(WEIGHT), SingleParameter.of(BIAS))
    np.testing.assert_array_equal(np.transpose(named(ax, "descent").get_data()), steps)
    np.testing.assert_array_equal(np.ravel(named(ax, "start").get_data()), steps[0])
    np.testing.assert_array_equal(np.ravel(named(ax, "end").get_data()), steps[-1])
    arrows = named(ax, "_gradients")
    assert len(arrows.U) > 50
    for place, arrow in zip(arrows.XY, np.stack([arrows.U, arrows.V], axis=-1), strict=True):
        down = -central(lambda w, b: line_error(descent, w, b), *place)
        assert arrow @ down / (np.linalg.norm(arrow) * np.linalg.norm(down)) == pytest.approx(1, abs=1e-8)
    assert ax.get_aspect() == 1.0, "only then are the arrows at right angles to the contours"
    for values, (low, high) in zip(steps.T, (ax.get_xlim(), ax.get_ylim()), strict=True):
        assert low < values.min() <= values.max() < high


def test_the_surface_in_three_dimensions():
    descent = examples.line((-2.0, 2.0), seed=0)
    landscape, path = on_a_line()
    ax = plots.error_surface_3d(landscape, (WEIGHT, BIAS), path=path)
    assert ax.name == "3d"
    steps = path.along(SingleParameter.of(WEIGHT), SingleParameter.of(BIAS))
    w, b, heights = named(ax, "descent").get_data_3d()
    np.testing.assert_array_equal([w, b], steps.T)
    np.testing.assert_allclose(heights, [line_error(descent, *step) for step in steps])
    arrows = np.array(named(ax, "_gradients")._segments3d)
    assert np.ptp(arrows[..., 2]) == 0
    for tail, tip in arrows[:, :2, :2]:
        down = -central(lambda w, b: line_error(descent, w, b), *tail)
        assert (tip - tail) @ down / (np.linalg.norm(tip - tail) * np.linalg.norm(down)) == pytest.approx(1, abs=1e-8)


def test_a_section_of_a_larger_network_goes_through_the_end_of_the_path():
    mlp = gd.MLP([1, 3, 1], activation="tanh", seed=0, backend="numpy", precision="float64")
    path = plots.Path(mlp)
    X = np.linspace(-1, 1, 20)[:, None]
    mlp.fit(X, X**2, epochs=10, batch_size=20, optimizer=gd.SGD(0.1), callbacks=[path])
    landscape = plots.Landscape(mlp, X, X**2)
    ax = plots.error_surface_3d(landscape, ("W0[0,1]", "b1[0]"), path=path, points=5)
    assert named(ax, "descent").get_data_3d()[2][-1] == pytest.approx(mlp.loss(X, X**2))
    assert len(named(ax, "descent").get_data_3d()[2]) == 11


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1e-3, 1e3)])
def test_limits_follow_the_path_whatever_its_scales(scales):
    mlp = gd.MLP([1, 1], seed=0, backend="numpy", precision="float64")
    landscape, path = plots.Landscape(mlp, [[1.0]], [0.0]), plots.Path(mlp)
    for w, b in ((0.0, 0.0), (scales[0], scales[1])):
        mlp.set_parameters([[[[w]], [b]]])
        path(None)
    del path.points[0]
    ax = plots.error_surface(landscape, (WEIGHT, BIAS), path=path, points=9)
    spans = np.ptp([ax.get_xlim(), ax.get_ylim()], axis=1)
    np.testing.assert_allclose(spans, 1.7 * np.array(scales))
    assert (ax.get_aspect() == 1.0) == (scales[0] == scales[1])
    shown = [
        np.hypot(*(arrow / spans)) for arrow in zip(named(ax, "_gradients").U, named(ax, "_gradients").V, strict=True)
    ]
    assert 0.03 < max(shown) < 0.3


def test_a_network_at_rest_is_seen_from_two_to_each_side():
    landscape = plots.Landscape(examples.line((1.0, 0.0), seed=0).mlp, [[1.0]], [1.0])
    ax = plots.error_surface(landscape, (WEIGHT, BIAS), points=9)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1.0, 3.0), (-2.0, 2.0))


@pytest.mark.parametrize("draw", [plots.error_surface, plots.error_surface_3d])
def test_where_the_error_is_not_finite_the_rest_is_drawn(draw):
    mlp = gd.MLP([1, 1], output="exp", seed=0, backend="numpy", precision="float64")
    landscape = plots.Landscape(mlp, [[1.0], [2.0]], [1.0, 2.0])
    ax = draw(landscape, (WEIGHT, BIAS), limits=((-300.0, 300.0), (-300.0, 300.0)), points=15)
    ax.figure.canvas.draw()


def test_a_plain_has_no_arrows_to_show():
    landscape = plots.Landscape(gd.MLP([1, 1], backend="numpy", output="relu"), [[0.0]], [0.0])
    arrows = named(plots.error_surface(landscape, (WEIGHT, BIAS), limits=((0, 1), (-2, -1)), points=5), "_gradients")
    assert not arrows.U.any()


def test_what_cannot_be_drawn():
    landscape, _ = on_a_line()
    with pytest.raises(gd.InputError, match="two different parameters, not 'b0\\[0\\]' twice"):
        plots.error_surface(landscape, (BIAS, BIAS))
    with pytest.raises(gd.InputError, match="limits must be two pairs"):
        plots.error_surface(landscape, (WEIGHT, BIAS), limits=((0, 1), (1, 1)))
    with pytest.raises(gd.InputError, match="limits must be a pair"):
        plots.error_over_weight(landscape, WEIGHT, limits=(0, np.inf))
    with pytest.raises(gd.InputError, match='projection "3d"'):
        plots.error_surface_3d(landscape, (WEIGHT, BIAS), ax=plots.panels(1, 1)[1][0])
    with pytest.raises(gd.InputError, match="with a path at least"):
        plots.several_starts(landscape, WEIGHT, [])
    with pytest.raises(gd.InputError, match="not finite anywhere"):
        plots.error_surface(landscape, (WEIGHT, BIAS), limits=((1e200, 2e200), (0, 1)), points=3)
    with pytest.raises(gd.DivergenceError, match="in step .*lower the learning rate \\(it was 5\\)"):
        examples.one_weight(0.0).go(gd.SGD(5.0), 500)


def test_residuals_lead_from_the_data_to_the_curve():
    descent = examples.line((1.4, -0.4), seed=0)
    ax = plots.fitted_curve(descent.mlp.predict, descent.X, descent.Y)
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    segments = np.array(lines.get_segments())
    np.testing.assert_allclose(segments[:, 0], np.hstack([descent.X, descent.Y]))
    np.testing.assert_allclose(segments[:, 1], np.hstack([descent.X, 1.4 * descent.X - 0.4]))
    x, y = named(ax, "fit").get_data()
    np.testing.assert_allclose(y, 1.4 * x - 0.4)
