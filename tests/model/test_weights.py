"""Weights of records in training: what is minimised, what is reported, what is refused."""

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend
from layered import map_layers

import gdkernels as gd
from gdkernels import randomness
from gdkernels.backend import Executable

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)).astype(np.float32)
Y = np.sin(X[:, :1]) + X[:, 1:2]
W = RNG.integers(0, 4, 60).astype(np.float32)


def network(**keywords) -> gd.MLP:
    return gd.MLP(
        [3, 8, 1], **({"seed": 3, "backend": "numpy", "activation": "tanh", "precision": "float64"} | keywords)
    )


def assert_alike(a, b, rtol=1e-9):
    for p, q in zip(a.parameters, b.parameters, strict=True):
        map_layers(lambda u, v: np.testing.assert_allclose(u, v, rtol=rtol, atol=1e-12), [p], [q])


def test_whole_weights_are_so_many_records():
    weighted, repeated = network(), network()
    again = np.repeat(np.arange(60), W.astype(int))
    settings = {"epochs": 5, "batch_size": 1000, "loss": "huber"}
    a = weighted.fit(X, Y, sample_weight=W, **settings)
    b = repeated.fit(X[again], Y[again], **settings)
    assert_alike(weighted, repeated)
    assert a.loss == pytest.approx(b.loss)


def test_equal_weights_change_nothing_but_the_sum():
    plain, weighted = network(), network()
    first, second = (gd.Trainer(mlp, batch_size=16) for mlp in (plain, weighted))
    assert second.epoch(X, Y, sample_weight=np.full(60, 2.5)) == pytest.approx(2.5 * first.epoch(X, Y))
    assert_alike(plain, weighted)


def test_a_batch_without_weight_moves_nothing_and_is_no_number_lost():
    mlp = network()
    weights = np.zeros(60)
    weights[7] = 1.0
    before = mlp.parameters
    trainer = gd.Trainer(mlp, batch_size=1, optimizer=gd.SGD(0.1))
    assert trainer.epoch(X, Y, sample_weight=weights) == pytest.approx(
        network().loss(X[7:8], Y[7:8], loss="sse", reduction="sum")
    )
    only = network()
    only.set_parameters(before)
    gd.Trainer(only, batch_size=1, optimizer=gd.SGD(0.1)).epoch(X[7:8], Y[7:8])
    assert_alike(mlp, only)


def test_a_validation_share_keeps_its_weights():
    shared, apart = network(), network()
    rows = randomness.generator(3, "validation").permutation(60)
    kept, rest = rows[:12], rows[12:]
    a = shared.fit(X, Y, sample_weight=W, epochs=3, validation=0.2, metrics=["r2", "rmse"])
    b = apart.fit(
        X[rest],
        Y[rest],
        sample_weight=W[rest],
        epochs=3,
        validation=(X[kept], Y[kept], W[kept]),
        metrics=["r2", "rmse"],
    )
    assert a.validation_loss == b.validation_loss
    error = 0.5 * (Y[kept] - apart.predict(X[kept]))[:, 0] ** 2
    assert b.validation_loss[-1] == pytest.approx(np.average(error, weights=W[kept]))
    assert b.epochs[-1].metrics["rmse"] == pytest.approx(np.sqrt(np.average(2 * error, weights=W[kept])))


def test_validation_without_weights_is_measured_without():
    mlp = network()
    history = mlp.fit(X, Y, sample_weight=W, epochs=2, validation=(X, Y), metrics=["rmse", lambda y, p: float(len(p))])
    assert history.validation_loss[-1] == pytest.approx(mlp.loss(X, Y))
    assert history.epochs[-1].metrics["<lambda>"] == 60


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (W[:, None], r"sample_weight has the shape \(60, 1\); (the validation )?X has 60 rows, so it must be \[60\]"),
        (W[:9], r"shape \(9,\)"),
        (np.where(np.arange(60) == 4, -1.0, 1.0), "holds -1 in row 4"),
        (np.where(np.arange(60) == 4, np.nan, 1.0), "holds nan in row 4"),
        (np.where(np.arange(60) == 4, np.inf, 1.0), "holds inf in row 4"),
        (np.zeros(60), "is 0 for every record"),
        (["heavy"] * 60, "not real numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    for call in (network().fit, gd.Trainer(network()).fit):
        with pytest.raises(gd.InputError, match=message):
            call(X, Y, epochs=1, sample_weight=weights)
    with pytest.raises(gd.InputError, match=f"the validation .*{message}"):
        network().fit(X, Y, epochs=1, validation=(X, Y, weights))


def test_a_part_without_weight_is_refused():
    weights = np.zeros(60)
    weights[randomness.generator(3, "validation").permutation(60)[-1]] = 1.0  # one to train on
    with pytest.raises(gd.InputError, match="none of the 12 records to validate on has a weight above 0"):
        network().fit(X, Y, epochs=1, sample_weight=weights, validation=0.2)


def test_a_metric_that_takes_no_weights_is_refused():
    with pytest.raises(gd.InputError, match="the metric 'worst' takes no weights"):
        network().fit(X, Y, epochs=1, sample_weight=W, metrics=[worst])


def worst(target, prediction):
    return float(np.abs(target - prediction).max())


def test_a_plug_in_that_knows_no_weights_is_passed_over():
    class Ignorant(Executable):
        def run(self, state, x, y, order, batch_size, learning_rates):
            raise AssertionError("it would have ignored them")

        def predict(self, parameters, x):
            return x

    class Compiling(NumPyBackend):
        contract = 2

        def compile(self, program, plan):
            return Ignorant() if program.objective else None

    mlp, wanted = network(backend=Compiling()), network()
    assert mlp.fit(X, Y, sample_weight=W, epochs=2).origin == "definition"
    wanted.fit(X, Y, sample_weight=W, epochs=2)
    assert_alike(mlp, wanted, rtol=0)
