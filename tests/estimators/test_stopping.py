"""The end of training, and the parameters that it leaves."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
]

RNG = np.random.default_rng(6)
X = RNG.standard_normal((60, 3))
LABELS = (X[:, 0] > 1).astype(int)
NUMBERS = X[:, 0] - X[:, 1]
ONE_CLASS = {"X_val": X[LABELS == 0][:10], "y_val": LABELS[LABELS == 0][:10]}


def nan_after(epochs):
    """Return a scorer that is NaN after so many epochs."""
    seen = []

    def scorer(estimator, x, y):
        seen.append(1)
        return float(estimator.score(x, y)) if len(seen) <= epochs else float("nan")

    return scorer


@pytest.mark.parametrize("scoring", ["roc_auc", nan_after(0)], ids=["roc_auc", "NaN"])
def test_a_scorer_that_is_nan_leaves_it_to_the_loss_and_says_so(scoring):
    settings = {"hidden_layer_sizes": (5,), "early_stopping": True, "max_iter": 300, "random_state": 0}
    settings |= {"backend": "numpy", "learning_rate_init": 0.05, "n_iter_no_change": 5}
    with pytest.warns(UserWarning, match="is NaN after epoch 1: .* early stopping watches the validation loss") as said:
        model = MLPClassifier(**settings, scoring=scoring).fit(X, LABELS, **ONE_CLASS)
    assert {each.filename for each in said if "is NaN" in str(each.message)} == {__file__}
    by_loss = MLPClassifier(**settings, scoring="loss").fit(X, LABELS, **ONE_CLASS)
    assert model.n_iter_ == by_loss.n_iter_ < 300
    np.testing.assert_array_equal(model.coefs_[0], by_loss.coefs_[0])
    assert np.isnan(model.validation_scores_).all()


def test_a_scorer_that_becomes_nan_must_be_beaten_by_the_loss():
    settings = {"hidden_layer_sizes": (5,), "early_stopping": True, "max_iter": 40, "random_state": 0}
    settings |= {"backend": "numpy", "n_iter_no_change": 4}
    with pytest.warns(UserWarning, match="is NaN after epoch 4"):
        model = MLPRegressor(**settings, scoring=nan_after(3)).fit(
            X[:40], NUMBERS[:40], X_val=X[40:], y_val=NUMBERS[40:]
        )
    plain = MLPRegressor(**settings | {"early_stopping": False}).fit(
        X[:40], NUMBERS[:40], X_val=X[40:], y_val=NUMBERS[40:]
    )
    best = int(np.argmin(plain.validation_loss_curve_[: model.n_iter_]))
    residual = NUMBERS[40:] - model.predict(X[40:])
    assert 0.5 * np.mean(residual**2) == pytest.approx(plain.validation_loss_curve_[best], rel=1e-9)


def test_a_score_of_minus_infinity_is_no_improvement():
    settings = {"hidden_layer_sizes": (5,), "early_stopping": True, "n_iter_no_change": 3, "backend": "numpy"}
    model = MLPRegressor(**settings, scoring=lambda *_: -np.inf, max_iter=50, random_state=0).fit(X, NUMBERS)
    assert model.n_iter_ == 4
    start = MLPRegressor(hidden_layer_sizes=(5,), max_iter=1, learning_rate_init=1e-300, random_state=0).fit(X, NUMBERS)
    assert not np.array_equal(model.coefs_[0], start.coefs_[0]), "not the initial weights after all epochs"


@pytest.mark.parametrize("first", [True, False])
def test_early_stopping_can_be_changed_between_warm_starts(first):
    model = MLPRegressor(
        hidden_layer_sizes=(5,), early_stopping=first, warm_start=True, max_iter=3, random_state=0
    ).fit(X, NUMBERS)
    model.set_params(early_stopping=not first).fit(X, NUMBERS)
    assert model.n_iter_ == 3
    assert len(model.validation_scores_) == 3
    assert model.best_loss_ < np.inf


def test_partial_fit_does_what_it_is_asked_for_and_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPRegressor(max_iter=1).partial_fit(X, NUMBERS)
        MLPClassifier(max_iter=1).partial_fit(X, LABELS, classes=[0, 1])
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(max_iter=1).fit(X, NUMBERS)
