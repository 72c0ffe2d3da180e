"""scikit-learn's common checks, those that its own MLP passes: all."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_common_checks(estimator, check):
    check(estimator)
