"""Metrics, against their definitions and scikit-learn where it is installed."""

import numpy as np
import pytest

from gdkernels import metrics

RNG = np.random.default_rng(2)
TARGET = RNG.standard_normal((40, 2))
PREDICTION = TARGET + 0.3 * RNG.standard_normal((40, 2))
CLASSES = RNG.integers(0, 3, 40)
PROBABILITY = RNG.dirichlet([1, 1, 1], 40)


def test_regression_figures_agree_with_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    assert metrics.r2(TARGET, PREDICTION) == pytest.approx(reference.r2_score(TARGET, PREDICTION))
    assert metrics.mae(TARGET, PREDICTION) == pytest.approx(reference.mean_absolute_error(TARGET, PREDICTION))
    squared = reference.mean_squared_error(TARGET, PREDICTION)
    assert metrics.rmse(TARGET, PREDICTION) == pytest.approx(np.sqrt(squared))


def test_classification_figures_agree_with_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    one_hot = np.eye(3)[CLASSES]
    expected = reference.accuracy_score(CLASSES, PROBABILITY.argmax(axis=1))
    assert metrics.accuracy(one_hot, PROBABILITY) == pytest.approx(expected)
    assert metrics.log_loss(one_hot, PROBABILITY) == pytest.approx(reference.log_loss(CLASSES, PROBABILITY))
    binary = (CLASSES > 0).astype(float)
    assert metrics.log_loss(binary, PROBABILITY[:, 0]) == pytest.approx(reference.log_loss(binary, PROBABILITY[:, 0]))
    assert metrics.accuracy(binary, PROBABILITY[:, 0]) == np.mean((PROBABILITY[:, 0] > 0.5) == binary)


def test_constant_targets_and_several_labels():
    assert metrics.r2(np.ones(3), np.ones(3)) == 1
    assert metrics.r2(np.ones(3), np.zeros(3)) == 0
    labels = np.asarray([[1, 0], [1, 1], [0, 0]])
    assert metrics.accuracy(labels, np.asarray([[0.9, 0.2], [0.9, 0.3], [0.1, 0.1]])) == pytest.approx(2 / 3)
    assert metrics.log_loss(labels[:1], np.asarray([[0.5, 0.25]])) == pytest.approx(np.log(2) - np.log(0.75))
    assert np.isfinite(metrics.log_loss(np.asarray([1.0]), np.asarray([0.0])))


def test_weighted_figures_agree_with_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    weights = np.random.default_rng(3).exponential(size=40) * (np.arange(40) % 5 > 0)
    given = {"sample_weight": weights}
    assert metrics.r2(TARGET, PREDICTION, weights) == pytest.approx(reference.r2_score(TARGET, PREDICTION, **given))
    wanted = reference.mean_absolute_error(TARGET, PREDICTION, **given)
    assert metrics.mae(TARGET, PREDICTION, weights) == pytest.approx(wanted)
    squared = reference.mean_squared_error(TARGET, PREDICTION, **given)
    assert metrics.rmse(TARGET, PREDICTION, weights) == pytest.approx(np.sqrt(squared))
    one_hot, likeliest = np.eye(3)[CLASSES], PROBABILITY.argmax(axis=1)
    wanted = reference.accuracy_score(CLASSES, likeliest, **given)
    assert metrics.accuracy(one_hot, PROBABILITY, weights) == pytest.approx(wanted)
    wanted = reference.log_loss(CLASSES, PROBABILITY, **given)
    assert metrics.log_loss(one_hot, PROBABILITY, weights) == pytest.approx(wanted)
