"""scikit-learn estimators: its parameter names and meanings, on every backend, with what its users ask for besides.

What belongs here makes scikit-learn's rules from a `gdkernels.MLP` and a `gdkernels.Trainer`; it computes no network.
"""

from gdkernels.system.libraries import lack_of

try:
    import sklearn  # noqa: F401
except Exception as error:  # a library that is broken raises anything
    lack = lack_of("sklearn", error, "pip install 'gdkernels[sklearn]'")
    raise ImportError(f"gdkernels.estimators needs scikit-learn, {lack}") from None

from gdkernels.estimators.classifier import MLPClassifier
from gdkernels.estimators.regressor import MLPRegressor
from gdkernels.estimators.search import GridSearchCV, RandomizedSearchCV

__all__ = ["GridSearchCV", "MLPClassifier", "MLPRegressor", "RandomizedSearchCV"]
