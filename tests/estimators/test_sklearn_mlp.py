"""scikit-learn's own tests of its MLP, as they are installed, run on ours."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import sklearn.neural_network

from gdkernels import estimators

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LEFT_OUT = {
    "test_gradient": "calls _loss_grad_lbfgs, which is private; gradients are checked in tests/definition",
}


class _Optimizer:
    """What the tests read of scikit-learn's private optimizer."""

    @property
    def _optimizer(self):
        return SimpleNamespace(learning_rate=self.learning_rate_)


class MLPClassifier(_Optimizer, estimators.MLPClassifier):
    pass


class MLPRegressor(_Optimizer, estimators.MLPRegressor):
    pass


def _tests():
    path = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
    spec = importlib.util.spec_from_file_location("test_mlp_of_sklearn", path)
    module = importlib.util.module_from_spec(spec)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    with mock.patch.multiple(sklearn.neural_network, **ours):  # parametrised tests name the classes when imported
        spec.loader.exec_module(module)
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


TESTS = _tests()
globals().update({name: test for name, test in TESTS.items() if name not in LEFT_OUT})


def test_what_is_left_out_exists():
    assert set(LEFT_OUT) <= set(TESTS)
    assert len(TESTS) > 40
