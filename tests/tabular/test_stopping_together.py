"""Networks that are averaged stop where their mean fits rows best that none of them has seen."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import Adam
from gdkernels.tabular.networks import epoch_by_epoch
from gdkernels.tabular.networks.cross_validation import cross_validated
from gdkernels.tabular.networks.encoding import encoding_of
from gdkernels.tabular.networks.fitting import PreparedRows, fit, kth
from gdkernels.tabular.networks.stopping_together import stopped_together
from gdkernels.tabular.settings import defaults

SETTINGS = {"loss": "sse", "optimizer": Adam(1e-2), "batch_size": 16, "l2": 0.001}
NETWORK = {
    "sizes": [3, 8, 1],
    "activation": "relu",
    "output": "identity",
    "seed": 5,
    "backend": "numpy",
    "device": None,
    "precision": "float64",
    "threads": 1,
}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(90, 3))
Y = np.sin(2 * X[:, :1]) + 0.5 * RANDOM.normal(size=(90, 1))
CLASSES = (Y[:, 0] + 0.7 * RANDOM.normal(size=90) > 0).astype(np.int32)
LEARN, REST = slice(0, 60), slice(60, 90)


def means(network, y, settings, epochs):
    """Return what the mean of five plain fits puts out for the rest of the rows after each of these epochs."""
    for epoch in range(1, epochs + 1):
        made = [kth(network, k) for k in range(5)]
        for one in made:
            one.fit(X[LEARN], y[LEARN], epochs=epoch, **settings)
        yield np.mean([one.network.place_and_predict(X[REST], one.network.objective) for one in made], axis=0)


def test_the_epoch_is_that_of_the_lowest_loss_of_the_mean():
    parts = PreparedRows(X[LEARN], Y[LEARN]), PreparedRows(X[REST], Y[REST])
    found = stopped_together(NETWORK, parts, settings=SETTINGS, epochs=9, patience=9)
    expected = [np.mean(0.5 * (mean - Y[REST]) ** 2) for mean in means(NETWORK, Y, SETTINGS, 9)]
    assert found.epochs == 1 + np.argmin(expected)
    assert found.loss == pytest.approx(min(expected), rel=1e-12)
    assert (found.networks, found.scale) == (5, 1.0)
    assert f"{found.epochs} epochs, by the lowest loss" in found.as_text()


def test_of_classes_the_outputs_are_scaled_too():
    network, settings = NETWORK | {"sizes": [3, 8, 2]}, SETTINGS | {"loss": "cross_entropy"}
    parts = PreparedRows(X[LEARN], CLASSES[LEARN]), PreparedRows(X[REST], CLASSES[REST])
    found = stopped_together(network, parts, settings=settings, epochs=7, patience=7)
    sign = np.where(CLASSES[REST] == 1, -1.0, 1.0)

    def loss(mean, scale):
        return np.mean(np.log1p(np.exp(scale * sign * (mean[:, 1] - mean[:, 0]))))

    told = list(means(network, CLASSES, settings, found.epochs))
    assert found.loss == pytest.approx(loss(told[-1], found.scale), rel=1e-12)
    assert found.loss == pytest.approx(min(loss(mean, 2.0 ** (k / 8)) for mean in told for k in range(-8, 5)))


def test_patience_and_work_end_it(monkeypatch):
    parts = PreparedRows(X[LEARN], Y[LEARN]), PreparedRows(X[REST], Y[REST])
    monkeypatch.setattr(defaults, "WORK_OF_STOPPING", 1.0)
    found = stopped_together(NETWORK, parts, settings=SETTINGS, epochs=10_000, patience=2)
    assert found.networks == 2
    assert found.epochs < 1000


@pytest.mark.parametrize("encoded", [False, True])
def test_a_scale_multiplies_what_the_networks_put_out(encoded):
    network = NETWORK | {"encoding": encoding_of("piecewise", np.tile(X, (6, 1))) if encoded else None}
    rows = [(PreparedRows(X, Y), PreparedRows(X[:0], Y[:0]))] * 3
    run = SETTINGS | {"epochs": 2, "checkpoint": None}
    plain, _ = fit(network, rows, run=run)
    scaled, _ = fit(network, rows, run=run, scale=0.5)
    np.testing.assert_allclose(scaled.predict(X), 0.5 * plain.predict(X), rtol=1e-12)


def test_the_networks_that_are_kept_learn_from_all_rows_that_are_not_for_the_test():
    rows = 1300
    x = np.random.default_rng(1).normal(size=(rows, 2))
    table = {"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")}
    made = gd.TabularPredictor("y", epochs=3, progress=False, backend="numpy").fit(table)
    result = made.result_
    assert result.rows == {"train": 1040, "validation": 0, "test": 260}
    assert result.stopping is not None
    assert {len(history.epochs) for history in made.histories_} == {result.stopping.epochs}
    assert result.as_dict()["stopping_together"] == result.stopping.as_dict()
    assert "chosen" in result.as_text()
    alone = gd.TabularPredictor("y", epochs=3, progress=False, backend="numpy", validation=0.2, average=2).fit(table)
    assert alone.result_.stopping is None


@pytest.mark.parametrize("rate", [1e-2, 1e30], ids=["finite", "diverging"])
def test_networks_at_a_time_are_what_they_are_one_by_one(monkeypatch, rate):
    network = NETWORK | {"backend": "numba", "precision": "float32", "threads": None}
    settings = SETTINGS | {"optimizer": Adam(rate)}
    parts = PreparedRows(X[LEARN], Y[LEARN]), PreparedRows(X[REST], Y[REST])
    draws = [parts, (PreparedRows(X[:50], Y[:50]), PreparedRows(X[50:], Y[50:]))]
    found = []
    for worth in (0.0, np.inf):
        monkeypatch.setattr(epoch_by_epoch, "_WORTH", worth)
        try:
            together = stopped_together(network, parts, settings=settings, epochs=5, patience=5)
            found.append(
                (together, cross_validated(network, draws, settings=settings, search=True, epochs=5, patience=5))
            )
        except gd.DivergenceError as error:
            found.append(str(error))
    assert found[0] == found[1]
    assert isinstance(found[0], str) == (rate > 1)
