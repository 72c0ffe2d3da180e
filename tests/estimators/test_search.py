"""The searches: scikit-learn's results with the same estimator, to the bit, and how many of the fits have shared."""

import pickle
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import loguniform
from sklearn import config_context, model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from gdkernels.estimators import GridSearchCV, MLPClassifier, MLPRegressor, RandomizedSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(5)
X = RNG.standard_normal((90, 4))
NUMBERS = X[:, 0] * X[:, 1] + 0.1 * X[:, 2]
LABELS = (NUMBERS > 0).astype(int) + (X[:, 3] > 1)
FOLDS = model_selection.KFold(3, shuffle=True, random_state=0)
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 14, "batch_size": 16, "random_state": 0, "backend": "numba"}


def results(search):
    """Return all that a search says, but for times."""
    return {name: np.ma.getdata(a).tolist() for name, a in search.cv_results_.items() if "time" not in name}


def same(found, wanted):
    np.testing.assert_equal(results(found), results(wanted))
    assert (found.best_index_, found.best_params_, found.n_splits_) == (
        wanted.best_index_,
        wanted.best_params_,
        wanted.n_splits_,
    )
    assert found.best_score_ == wanted.best_score_
    np.testing.assert_array_equal(found.predict(X.copy()), wanted.predict(X.copy()))


GRID = {
    "alpha": st.floats(1e-5, 1.0),
    "learning_rate_init": st.floats(1e-4, 0.3),
    "solver": st.sampled_from(["sgd", "adam", "lbfgs"]),
    "learning_rate": st.sampled_from(["constant", "adaptive", "invscaling"]),
    "hidden_layer_sizes": st.sampled_from([(5,), (4, 3), (9,)]),
    "momentum": st.sampled_from([0.0, 0.9]),
    "batch_size": st.sampled_from([10, 17, 200]),
    "n_iter_no_change": st.integers(1, 4),
    "tol": st.sampled_from([1e-4, 0.05]),
    "early_stopping": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.3]),
}


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    names=st.sets(st.sampled_from(sorted(GRID)), min_size=1, max_size=3),
    classifies=st.booleans(),
    piped=st.booleans(),
    single=st.booleans(),
    n_jobs=st.sampled_from([None, 2]),
)
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_results_are_those_of_scikit_learn(data, names, classifies, piped, single, n_jobs):
    kind, y = (MLPClassifier, LABELS) if classifies else (MLPRegressor, NUMBERS)
    x = X.astype(np.float32) if single else X
    grid = {name: data.draw(st.lists(GRID[name], min_size=1, max_size=2, unique=True)) for name in sorted(names)}
    estimator = kind(**SMALL)
    if piped:
        estimator = Pipeline([("scale", StandardScaler()), ("net", estimator)])
        grid = {f"net__{name}": values for name, values in grid.items()} | {"scale__with_std": [True, False]}
    wanted = model_selection.GridSearchCV(estimator, grid, cv=FOLDS, return_train_score=True).fit(x, y)
    found = GridSearchCV(estimator, grid, cv=FOLDS, return_train_score=True, n_jobs=n_jobs).fit(x, y)
    same(found, wanted)
    if "solver" not in names:
        assert found.n_batched_ == 3 * len(found.cv_results_["params"])


def cube(y):
    return y**3


class Counted(TransformerMixin, BaseEstimator):
    """Says how often it was fitted, with which factor."""

    fits: ClassVar = Counter()

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        Counted.fits[self.factor] += 1
        return self

    def transform(self, X):
        return X * self.factor


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_first_steps_of_a_pipeline_are_fitted_once_for_each_fold_and_setting(n_jobs):
    estimator = Pipeline([("scale", StandardScaler()), ("count", Counted()), ("net", MLPRegressor(**SMALL))])
    grid = {"net__alpha": [1e-4, 1e-2, 1.0], "count__factor": [1.0, 0.5]}
    wanted = model_selection.GridSearchCV(estimator, grid, cv=FOLDS).fit(X, NUMBERS)
    Counted.fits.clear()
    found = GridSearchCV(estimator, grid, cv=FOLDS, n_jobs=n_jobs).fit(X, NUMBERS)
    assert Counted.fits == {1.0: 3, 0.5: 3} | {found.best_params_["count__factor"]: 4}, "and once for the best"
    assert found.n_batched_ == 18
    same(found, wanted)
    assert found.best_estimator_.memory is None


def test_of_estimators_all_fits_are_batched():
    search = RandomizedSearchCV(
        MLPClassifier(**SMALL), {"alpha": loguniform(1e-4, 1)}, n_iter=4, cv=FOLDS, random_state=3
    )
    wanted = model_selection.RandomizedSearchCV(**search.get_params(deep=False)).fit(X, LABELS)
    assert search.fit(X, LABELS).n_batched_ == 12
    same(search, wanted)
    np.testing.assert_array_equal(search.predict_proba(X), wanted.predict_proba(X))


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (Ridge(), {"alpha": [0.1, 1.0]}),
        (MLPRegressor(**SMALL | {"backend": "numpy"}), {"alpha": [0.1, 1.0]}),
        (
            make_pipeline(StandardScaler(copy=False), PCA(2, copy=False, random_state=0), MLPRegressor(**SMALL)),
            {"mlpregressor__alpha": [0.1, 1.0]},
        ),
        (
            make_pipeline(ColumnTransformer([("some", StandardScaler(), [0, 2])]), MLPRegressor(**SMALL)),
            {"mlpregressor__alpha": [0.1, 1.0], "columntransformer": ["passthrough", StandardScaler()]},
        ),
        (
            make_pipeline(make_pipeline(StandardScaler(), PCA(3)), MLPRegressor(**SMALL)),
            {"mlpregressor": [MLPRegressor(**SMALL), MLPRegressor(**SMALL | {"solver": "sgd"}), Ridge()]},
        ),
        (
            TransformedTargetRegressor(MLPRegressor(**SMALL), func=np.cbrt, inverse_func=cube),
            {"regressor__alpha": [1, 2]},
        ),
        (MLPRegressor(**SMALL), {"learning_rate_init": [0.01, 1e4], "solver": ["sgd"]}),
    ],
    ids=["other", "numpy", "in place", "columns", "steps", "target", "diverging"],
)
@pytest.mark.filterwarnings("ignore:Scoring failed")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_what_shares_less_has_the_same_results(estimator, grid):
    wanted = model_selection.GridSearchCV(estimator, grid, cv=FOLDS).fit(X.copy(), NUMBERS)
    found = GridSearchCV(estimator, grid, cv=FOLDS).fit(X.copy(), NUMBERS)
    same(found, wanted)
    if isinstance(estimator, Ridge) or getattr(estimator, "backend", "") == "numpy":
        assert found.n_batched_ == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_a_candidate_that_fails_fails_alone():
    grid = {"hidden_layer_sizes": [(5,), (-1,), (7,)], "alpha": [0.1, 0.2]}
    wanted = model_selection.GridSearchCV(MLPRegressor(**SMALL), grid, cv=FOLDS).fit(X, NUMBERS)
    found = GridSearchCV(MLPRegressor(**SMALL), grid, cv=FOLDS).fit(X, NUMBERS)
    same(found, wanted)
    assert found.n_batched_ == 12
    with pytest.raises(ValueError, match="must be > 0"):
        GridSearchCV(MLPRegressor(**SMALL), grid, cv=FOLDS, error_score="raise").fit(X, NUMBERS)


def test_several_scores_and_weights():
    choices = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2", "cv": FOLDS}
    weights = np.abs(X[:, 0])
    grid = {"alpha": [0.1, 1.0]}
    wanted = model_selection.GridSearchCV(MLPRegressor(**SMALL), grid, **choices).fit(X, NUMBERS, sample_weight=weights)
    same(GridSearchCV(MLPRegressor(**SMALL), grid, **choices).fit(X, NUMBERS, sample_weight=weights), wanted)


def test_weights_that_are_routed():
    with config_context(enable_metadata_routing=True):
        mlp = MLPRegressor(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        choices = {"param_grid": {"net__alpha": [0.1, 1.0]}, "cv": FOLDS}
        estimator = Pipeline([("scale", StandardScaler().set_fit_request(sample_weight=True)), ("net", mlp)])
        weights = np.abs(X[:, 0])
        wanted = model_selection.GridSearchCV(estimator, **choices).fit(X, NUMBERS, sample_weight=weights)
        found = GridSearchCV(estimator, **choices).fit(X, NUMBERS, sample_weight=weights)
    same(found, wanted)
    assert found.n_batched_ == 6


def test_frames_keep_their_names():
    frame = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    columns = ColumnTransformer([("some", StandardScaler(), ["a", "c"])]).set_output(transform="pandas")
    estimator = make_pipeline(columns, PCA(2, random_state=0), MLPRegressor(**SMALL))
    grid = {"mlpregressor__alpha": [0.1, 1.0], "pca__n_components": [1, 2]}
    wanted = model_selection.GridSearchCV(estimator, grid, cv=FOLDS).fit(frame, NUMBERS)
    found = GridSearchCV(estimator, grid, cv=FOLDS).fit(frame, NUMBERS)
    np.testing.assert_equal(results(found), results(wanted))
    np.testing.assert_array_equal(found.predict(frame), wanted.predict(frame))
    assert found.feature_names_in_.tolist() == list("abcd")


def test_a_search_stays_an_estimator_like_any_other():
    estimator = make_pipeline(StandardScaler(), MLPRegressor(**SMALL))
    search = GridSearchCV(estimator, {"mlpregressor__alpha": [0.1, 1.0]}, cv=FOLDS).fit(X, NUMBERS)
    assert search.estimator is estimator
    assert "fit" not in vars(search.best_estimator_)
    assert not hasattr(estimator[-1], "coefs_")
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    same(clone(search).fit(X, NUMBERS), search)
    with pytest.raises(ValueError, match="Invalid parameter"):
        GridSearchCV(estimator, {"mlpregressor__depth": [1]}, cv=FOLDS).fit(X, NUMBERS)
    with pytest.raises(TypeError, match="estimator class instead"):
        GridSearchCV(MLPRegressor, {"alpha": [1.0]}, cv=FOLDS).fit(X, NUMBERS)
    before = search.predict(X)
    search.best_estimator_[-1].partial_fit(X, NUMBERS)
    assert not np.array_equal(search.predict(X), before)
