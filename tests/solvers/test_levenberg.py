"""Levenberg–Marquardt on networks: where it ends, what it says, what it refuses."""

import logging
import math

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.backend.least_squares import NormalEquations
from gdkernels.system import memory
from gdkernels.system.memory import Room
from gdkernels.training.history import StopReason
from gdkernels.training.solvers import damping, least_squares
from gdkernels.training.solvers.bending import Bending

LINE = np.linspace(-1, 1, 120)[:, None]
SINE = np.sin(2 * np.pi * LINE)


def network(sizes=(1, 8, 1), seed=0, precision="float64", **settings):
    return gd.MLP(list(sizes), activation="tanh", seed=seed, precision=precision, **settings)


def fit(model, X=LINE, Y=SINE, epochs=200, solver="lm", **run):
    return model.fit(X, Y, epochs=epochs, solver=solver, progress=False, **run)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_an_exact_fit_that_gradient_descent_does_not_reach(backend):
    model = network(backend=backend)
    history = fit(model)
    assert history.loss[-1] < 1e-5
    assert history.loss[-1] == pytest.approx(model.loss(LINE, SINE), rel=1e-6)
    assert all(a >= b for a, b in zip(history.loss, history.loss[1:], strict=False))
    assert all(e.damping > 0 and e.learning_rate == 1.0 for e in history.epochs)
    other = network(backend=backend)
    other.fit(LINE, SINE, epochs=200, progress=False)
    assert other.loss(LINE, SINE) > 1e-3


def test_scipy_finds_nothing_lower_from_where_it_ends():
    from scipy.optimize import least_squares

    X = np.random.default_rng(0).uniform(-2, 2, (60, 2))
    Y = np.sin(X[:, :1]) * X[:, 1:] + 0.1 * np.random.default_rng(1).normal(size=(60, 1))
    model = network((2, 3, 1), seed=5)
    start = [np.asarray(a) for layer in model.parameters for a in layer]
    shapes = [a.shape for a in start]

    def residuals(vector):
        parts = np.split(vector, np.cumsum([math.prod(s) for s in shapes])[:-1])
        W0, b0, W1, b1 = (p.reshape(s) for p, s in zip(parts, shapes, strict=True))
        return (np.tanh(X @ W0 + b0) @ W1 + b1 - Y).ravel()

    history = fit(model, X, Y, epochs=500)
    assert history.ended_by(StopReason.CONVERGED)
    end = np.concatenate([np.asarray(a).ravel() for layer in model.parameters for a in layer])
    found = least_squares(residuals, end, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert history.loss[-1] * len(X) == pytest.approx(found.cost, rel=1e-8)
    assert found.cost < 0.5 * least_squares(residuals, np.concatenate([a.ravel() for a in start]), max_nfev=1).cost


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("in_loss", [False, True])
def test_a_linear_model_with_a_penalty_and_weights_is_that_of_linear_algebra(in_loss, reduction):
    draw = np.random.default_rng(0)
    X, Y, weights = draw.normal(size=(40, 3)), draw.normal(size=(40, 1)), draw.uniform(0, 2, 40)
    model = gd.MLP([3, 1], precision="float64", seed=0)
    history = fit(model, X, Y, sample_weight=weights, l2=0.3, l2_in_loss=in_loss, reduction=reduction)
    assert history.stopped.startswith("converged: ")
    share = 0.3 * (weights.sum() if reduction == "mean" and not in_loss else 1.0)
    A = np.column_stack([X, np.ones(40)])
    system = A.T @ (weights[:, None] * A) + share * np.diag([1.0, 1.0, 1.0, 0.0])
    expected = np.linalg.solve(system, A.T @ (weights[:, None] * Y))
    ((W, b),) = model.parameters
    np.testing.assert_allclose([*W[:, 0], *b], expected[:, 0], rtol=1e-7)


def test_weights_of_another_unit_change_no_bit():
    """Nothing is compared with a number that has a unit, but for the tolerances that a user gives."""
    ends = []
    for unit in (1.0, 4.0**-20, 4.0**10):
        model = network((1, 6, 1), backend="numpy")
        weights = unit * np.linspace(0.5, 1.0, len(LINE))
        history = fit(model, epochs=8, sample_weight=weights, l2=0.01)
        ends.append((history.loss, model.parameters[0].W.tobytes()))
    assert ends[1] == ends[2] == ends[0]


def test_training_ends_by_gradient_step_error_and_callback():
    assert (
        "gradient is larger than 0.01" in fit(network(), solver=gd.LevenbergMarquardt(gradient_tolerance=1e-2)).stopped
    )
    history = fit(network(), solver=gd.LevenbergMarquardt(error_goal=1e-4))
    assert history.stopped == "converged: the mean loss has come down to 0.0001"
    assert history.loss[-1] <= 1e-4 < history.loss[-2]
    assert history.ended_by(StopReason.CONVERGED)
    assert "no step lowers the error" in fit(network(), solver=gd.LevenbergMarquardt(step_tolerance=0.5)).stopped
    assert len(fit(network(), callbacks=[lambda epoch: epoch.number == 3]).epochs) == 3
    nothing = fit(network(), np.zeros((5, 1)), np.zeros((5, 1)))
    assert len(nothing.epochs) == 1
    assert nothing.loss == [0.0]


def test_validation_and_patience_stop_it_as_they_do_others():
    draw = np.random.default_rng(0)
    X, Y = draw.normal(size=(60, 4)), draw.normal(size=(60, 1))
    history = fit(network((4, 10, 1)), X, Y, validation=0.3, patience=3)
    assert history.ended_by(StopReason.PATIENCE)
    assert history.validation_loss[history.best_epoch - 1] == min(history.validation_loss)


def test_in_float32_the_loss_is_that_of_the_parameters_that_are_kept():
    model = network(precision="float32")
    history = fit(model, epochs=400)
    assert history.loss[-1] < 1e-6
    at = gd.MLP([1, 8, 1], activation="tanh", precision="float64", backend="numpy")
    at.set_parameters(model.parameters)
    assert history.loss[-1] == pytest.approx(at.loss(LINE.astype("float32"), SINE.astype("float32")), rel=1e-6)


def test_products_in_float32_are_left_where_they_have_said_what_they_can(monkeypatch):
    """Larger products begin in float32; the end is that of float64."""
    computed = []
    at = NormalEquations.at
    monkeypatch.setattr(damping, "_FEW_FLOPS", 0)
    monkeypatch.setattr(NormalEquations, "at", lambda self, *a: (computed.append(a[-1]), at(self, *a))[1])
    model = network((1, 16, 16, 1))  # 321
    history = fit(model, epochs=150)
    assert history.loss[-1] < 1e-8
    assert computed == sorted(computed)  # float32, and then float64
    assert set(computed) == {"float32", "float64"}


def test_bent_steps_come_down_a_valley_sooner(monkeypatch):
    bent = fit(network(), epochs=100).loss
    monkeypatch.setattr(Bending, "wanted", lambda self, ratio: False)
    straight = fit(network(), epochs=100).loss
    assert bent[-1] < 0.1 * straight[-1]


def test_bent_steps_are_left_out_for_longer_and_longer_where_they_do_not_pay():
    bending, tried = Bending(), []
    for _ in range(16):
        tried.append(bending.wanted(0.5))
        bending = bending.after(0.5, bent=0.6 if tried[-1] else None)
    assert [k for k, wanted in enumerate(tried) if wanted] == [0, 2, 6, 14]
    assert not bending.wanted(0.5)
    assert bending.wanted(-1.0)  # a step that fails is bent anyhow
    assert bending.after(-1.0, bent=0.1) == Bending()
    assert not Bending().wanted(0.9)  # as good as promised


def test_steps_stay_straight_while_a_penalty_is_chosen(monkeypatch):
    monkeypatch.setattr(least_squares, "_bent", lambda *a: pytest.fail("it was bent"))
    assert fit(network(), solver=gd.LevenbergMarquardt(bayes=True), epochs=20).loss


@pytest.mark.parametrize("loss", ["cross_entropy", "poisson", "huber"])
def test_other_losses_come_to_a_point_without_slope(loss):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(50, 2))
    Y = draw.integers(0, 3, 50) if loss == "cross_entropy" else draw.poisson(np.exp(X)).astype(float)
    model = network((2, 3, 3 if loss == "cross_entropy" else 2))
    history = fit(model, X, Y, epochs=400, loss=loss, l2=0.01, gradient_norm=True)
    assert history.gradient_norm[-1] < 1e-8 < history.gradient_norm[0]


def test_singular_systems_are_damped():
    X = np.repeat(LINE, 3, axis=1) * [1.0, 1.0, 0.0]  # two columns that are one, and one that says nothing
    assert fit(network((3, 8, 1)), X, SINE, epochs=100).loss[-1] < 2e-3


def test_a_step_to_where_nothing_is_finite_is_damped():
    def bounded(z, *, xp):
        return xp.sqrt(z)  # NaN where a step has gone too far

    model = gd.MLP([1, 1], output=bounded, precision="float64", seed=0)
    model.set_parameters([([[0.0]], [0.01])])
    history = fit(model, LINE, 3.0 + LINE)
    assert not history.diverged
    assert history.loss[-1] < history.loss[0]
    assert np.isfinite(model.predict(LINE)).all()


def test_where_it_begins_without_a_finite_loss_it_says_so():
    model = gd.MLP([1, 1], output=lambda z, *, xp: xp.log(z), precision="float64", seed=0)
    model.set_parameters([([[1.0]], [-3.0])])
    history = fit(model)
    assert history.diverged
    assert "the loss is not finite at these parameters" in history.stopped


def test_data_that_stop_being_finite_are_named():
    X = np.random.default_rng(0).normal(size=(30, 1))

    def spoil(epoch):
        X[7] = np.nan

    with pytest.raises(gd.InputError, match="X holds nan in row 7, column 0 in epoch 2"):
        fit(network(backend="numpy"), X, X**2, callbacks=[spoil])


# ---- what is refused, before any work


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer goes with an optimizer, and LevenbergMarquardt is a solver"),
        ({"batch_size": 8}, "batch_size goes with an optimizer"),
        ({"schedule": "cosine"}, "schedule goes with an optimizer"),
        ({"clip_norm": 1.0}, "clip_norm goes with an optimizer"),
        ({"solver": "newton"}, "unknown solver 'newton'.*Choices: lbfgs, lm"),
        ({"solver": 3}, "solver must be a name"),
        ({"solver": gd.Adam()}, "'adam' is an optimizer, not a solver"),
        ({"solver": None, "optimizer": "lm"}, "'lm' is a solver, not an optimizer: pass it as solver='lm'"),
        ({"solver": None, "optimizer": gd.LevenbergMarquardt()}, "'lm' is a solver, not an optimizer"),
        ({"solver": gd.LevenbergMarquardt(bayes=True), "l2": 0.1}, "chooses the penalty by itself"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(gd.InputError, match=message):
        fit(network(), **{"epochs": 1} | settings)


def test_numbers_out_of_range():
    for wrong in ({"damping": 0}, {"gradient_tolerance": -1}, {"step_tolerance": math.nan}, {"bayes": 1}):
        with pytest.raises(gd.InputError, match=f"LevenbergMarquardt: {next(iter(wrong))} must be"):
            gd.LevenbergMarquardt(**wrong)
    with pytest.raises(gd.InputError, match="LBFGS: memory must be a whole number"):
        gd.LBFGS(memory=0)


@pytest.mark.parametrize("solver", ["lm", "lbfgs"])
def test_dropout_batches_and_an_order_are_refused(solver):
    with pytest.raises(gd.InputError, match="draws random numbers in training"):
        fit(network(dropout=0.2), solver=solver)
    with pytest.raises(gd.InputError, match="a solver looks at all records in each iteration"):
        network().fit([(LINE, SINE)], epochs=1, solver=solver)
    with pytest.raises(gd.InputError, match="order= is for an optimizer"):
        gd.Trainer(network(), solver=solver, order=lambda done, records: np.arange(records))


def test_too_many_parameters_warn_and_more_than_memory_are_refused(monkeypatch, caplog):
    X, Y = np.ones((4, 3)), np.ones((4, 1))
    with caplog.at_level(logging.WARNING, "gdkernels"):
        fit(network((3, 400, 1)), X, Y, epochs=1)
    assert "2,001 parameters are many for Levenberg–Marquardt" in caplog.text
    assert "use optimizer='adam', or solver='lbfgs'" in caplog.text
    monkeypatch.setattr(memory, "room", lambda: Room(10**8, "what the machine has left"))
    with pytest.raises(gd.InputError, match=r"needs 137 MB for the 2,001 parameters .* only 100 MB .*: use optimizer="):
        fit(network((3, 400, 1)), X, Y, epochs=1)


def test_targets_of_another_scale_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "gdkernels"):
        fit(network(), Y=SINE, epochs=1)
        fit(network((1, 1)), Y=1000.0 + SINE, epochs=1)  # nothing saturates there
        fit(network(), Y=0.0 * SINE, epochs=1)
        assert not caplog.text
        fit(network(), Y=1000.0 + SINE, epochs=1)
    assert "the targets are of the order of 1e+03" in caplog.text
    assert "divide by its standard deviation" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gdkernels"):
        fit(network(), X=2000.0 + LINE, epochs=1)
        assert "the inputs are of the order of 2e+03" in caplog.text
        fit(network(), Y=1e-4 * SINE, epochs=1)
        assert "the targets are of the order of 7e-05" in caplog.text
        assert "where gradients and penalties say little" in caplog.text
        caplog.clear()
        columns = gd.blocks.Columns({0: gd.blocks.Embedding(300, 1)}, rest="passthrough")
        codes = gd.Network(gd.blocks.Sequential(columns, gd.blocks.Dense(1)), inputs=2, seed=0, backend="numpy")
        codes.fit(np.array([[290.0, 0.0], [299.0, 1.0]]), np.ones((2, 1)), solver="lm", epochs=1, progress=False)
    assert not caplog.text


def test_targets_that_overflow_when_squared_end_with_a_reason():
    history = fit(network(), Y=1e200 * SINE)
    assert "not finite" in history.stopped


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_slope_whose_square_is_too_large_is_no_warning_of_numpy(backend):
    mlp = gd.MLP([1, 1], seed=0, backend=backend, precision="float64")
    mlp.set_parameters([([[1e100]], [0.0])])
    history = mlp.fit(1e50 * LINE, LINE, epochs=1, solver="lm")
    assert history.diverged or np.isfinite(history.loss[-1])
