"""Memory goes by the numbers that are predicted, not by records: of many classes, fewer records at a time."""

import numpy as np
import pytest

from gdkernels.metrics import accuracy, log_loss
from gdkernels.tabular import TabularPredictor, prediction
from gdkernels.tabular.evaluation import EvaluationInParts
from gdkernels.tabular.prediction import Prediction, PreparedNetwork

CLASSES = 12


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    a = draw.normal(size=600)
    return {"a": a, "b": draw.normal(size=600), "kind": [f"k{int(v) % CLASSES}" for v in a * 20]}


@pytest.fixture(scope="module")
def predictor(table):
    return TabularPredictor("kind", hidden=4, epochs=2, backend="numpy", progress=False).fit(table)


@pytest.fixture
def small(monkeypatch):
    """Return how many records were predicted at a time, with room for 100 numbers."""
    monkeypatch.setattr(prediction, "_PREDICTED", 100)
    seen, real = [], PreparedNetwork.predict

    def predict(self, block):
        seen.append((block.first, len(block)))
        return real(self, block)

    monkeypatch.setattr(PreparedNetwork, "predict", predict)
    return seen


def test_an_evaluation_is_the_same_in_blocks(predictor, table, small, monkeypatch):
    found = predictor.evaluate(table)
    assert max(rows for _, rows in small) == 100 // CLASSES
    assert [first for first, _ in small] == list(range(0, 600, 100 // CLASSES))
    monkeypatch.undo()
    whole = predictor.evaluate(table)
    assert found["confusion"] == whole["confusion"]
    assert found["classes"] == whole["classes"]
    assert found.metrics == pytest.approx(whole.metrics, rel=1e-12)


def test_predictions_come_in_blocks(predictor, table, small, monkeypatch):
    blocks = [found.values for _, found in predictor.predict_parts(table)]
    assert max(map(len, blocks)) == 100 // CLASSES
    monkeypatch.undo()
    np.testing.assert_array_equal(np.concatenate(blocks), predictor.predict(table))


def test_no_array_is_larger_than_a_block(predictor, monkeypatch):
    """What is made of many probabilities at once is made of some of them."""
    preparation = predictor.preparation_
    draw = np.random.default_rng(1)
    probabilities = draw.dirichlet(np.ones(CLASSES), 500)
    truth = draw.integers(CLASSES, size=500)
    monkeypatch.setattr(prediction, "_PREDICTED", 100)
    evaluation, sizes = EvaluationInParts(preparation), []
    real = evaluation._sums.add
    evaluation._sums.add = lambda target, predicted: (sizes.append(target.size), real(target, predicted))
    labels = preparation.classes[np.argmax(probabilities, axis=1)]
    evaluation.add(truth, Prediction(labels, probabilities))
    assert max(sizes) <= 100
    hot = np.eye(CLASSES)[truth]
    figures = evaluation.result().metrics
    assert figures["accuracy"] == pytest.approx(accuracy(hot, probabilities), rel=1e-12)
    assert figures["log_loss"] == pytest.approx(log_loss(hot, probabilities), rel=1e-12)
    assert evaluation.confusion.sum() == 500
