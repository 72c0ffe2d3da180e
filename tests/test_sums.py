"""Figures from sums are those of all records at once, however they are cut into parts."""

import math
from itertools import pairwise

import numpy as np
import pytest

from gdkernels.metrics import METRICS
from gdkernels.metrics.streaming import Sums
from gdkernels.tables.rows.sample import Sample

N = 1000
CUTS = (0, 1, 2, 300, 301, 990, N)


def summed(target, prediction, weights=None):
    sums = Sums()
    for a, b in pairwise(CUTS):
        sums.add(target[a:b], prediction[a:b], None if weights is None else weights[a:b])
    assert sums.records == N
    return sums


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("far", [0.0, 1e9])
def test_of_numbers(outputs, weighted, far):
    random = np.random.default_rng(4)
    target = random.standard_normal((N, outputs)) * 10.0 ** np.arange(outputs) + far
    prediction = target + random.standard_normal((N, outputs))
    weights = random.random(N) * (random.random(N) > 0.5) if weighted else None
    sums = summed(target, prediction, weights)
    for name in ("r2", "rmse", "mae"):
        exact = METRICS[name](np.longdouble(1) * target, prediction, weights)
        assert math.isclose(sums.figure(name), exact, rel_tol=1e-9), name


@pytest.mark.parametrize("classes", [1, 4])
def test_of_classes(classes):
    random = np.random.default_rng(4)
    indices = random.integers(0, max(2, classes), N)
    target = indices[:, None] if classes == 1 else np.eye(classes)[indices]
    prediction = random.random((N, classes))
    prediction = prediction if classes == 1 else prediction / prediction.sum(axis=1, keepdims=True)
    sums = summed(target, prediction)
    for name in ("accuracy", "log_loss"):
        assert math.isclose(sums.figure(name), METRICS[name](target, prediction), rel_tol=1e-12)


def test_of_what_never_varies():
    target = np.full(N, 0.1)
    assert summed(target, target).figure("r2") == 1
    assert summed(target, target + 1).figure("r2") == 0
    assert math.isnan(Sums().figure("mae"))


def test_a_sample_is_uniform_and_bounded():
    counts = np.zeros(400)
    for seed in range(300):
        sample = Sample(20, np.random.default_rng(seed), lambda part, rows: part[rows])
        for a, b in ((0, 15), (15, 16), (16, 250), (250, 400)):
            sample.add(np.arange(a, b), b - a)
        drawn = np.concatenate(sample.parts())
        assert len(set(drawn)) == 20
        assert (np.diff(drawn) > 0).all()
        counts[drawn] += 1
    assert 300 < ((counts - 15) ** 2 / (15 * 0.95)).sum() < 510  # χ² of 399 degrees of freedom, within 4 deviations
    few = Sample(20, np.random.default_rng(0), lambda part, rows: part[rows])
    few.add(np.arange(7), 7)
    assert np.concatenate(few.parts()).tolist() == list(range(7))
