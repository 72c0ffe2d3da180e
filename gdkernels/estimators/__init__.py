"""scikit-learn estimators: its parameter names and meanings, on every backend, with what its users ask for besides.

What belongs here makes scikit-learn's rules from a `gdkernels.MLP` and a `gdkernels.Trainer`; it computes no network.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("gdkernels.estimators needs scikit-learn: pip install 'gdkernels[sklearn]'") from None

from gdkernels.estimators.classifier import MLPClassifier
from gdkernels.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
