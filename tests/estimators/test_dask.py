"""Searches on many machines: scikit-learn's own, by joblib's back end for Dask, with our estimators."""

import numpy as np
import pytest

joblib = pytest.importorskip("joblib", reason="scikit-learn is not installed")
model_selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install distributed")

from gdkernels.estimators import MLPClassifier  # noqa: E402


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # four epochs are few
def test_a_search_on_dask_gives_the_scores_of_one_process():
    stream = np.random.default_rng(0)
    x = stream.standard_normal((120, 4))
    y = (x[:, 0] > 0).astype(int)
    estimator = MLPClassifier((5,), max_iter=4, tol=0, n_iter_no_change=9, random_state=0, backend="numpy")
    search = model_selection.GridSearchCV(estimator, {"alpha": [1e-4, 1.0]}, cv=2)
    alone = search.fit(x, y).cv_results_["mean_test_score"]
    with (
        distributed.LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        spread = search.fit(x, y).cv_results_["mean_test_score"]
    assert spread.tolist() == alone.tolist()
