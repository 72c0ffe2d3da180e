"""Fitted estimators taken elsewhere: to a network, its file, ONNX; tags, hidden layers, and rules of one's own."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import gdkernels as gd
from gdkernels.definition.optimizers import Optimizer
from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(3)
X = RNG.standard_normal((90, 4))
NUMBERS = np.stack([X[:, 0], X[:, 1] ** 2], axis=1)
THREE = np.where(X[:, 0] > 0.4, "high", np.where(X[:, 0] > -0.4, "some", "low"))
SEVERAL = (X[:, :3] > 0).astype(int)


def brier(probability, target, *, xp):
    return xp.sum((probability - target) ** 2, axis=-1)


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


OBJECTS = {"brier": brier, "mish": mish}

# estimator, and what it is trained on
FITS = {
    "a list of activations": (MLPClassifier((5, 3), ["gelu", mish], max_iter=3), THREE),
    "one function": (MLPRegressor("huber", (5,), mish, max_iter=3), NUMBERS),
    "no hidden layer": (MLPRegressor(hidden_layer_sizes=(), max_iter=3), NUMBERS[:, 0]),
    "two classes": (MLPClassifier((5,), "logistic", max_iter=3), X[:, 0] > 0),
    "whole numbers": (
        MLPClassifier((5,), "tanh", max_iter=3, class_weight="balanced"),
        np.digitize(X[:, 0], [0, 1]) + 5,
    ),
    "one class": (MLPClassifier((5,), max_iter=3), np.full(90, "only")),
    "several labels": (MLPClassifier((5,), "silu", max_iter=3), SEVERAL),
    "a loss of one's own": (MLPClassifier((5,), "elu", loss=brier, max_iter=3), THREE),
    "rates": (MLPRegressor("poisson", (5,), max_iter=3), np.abs(NUMBERS)),
    "float32": (MLPRegressor(hidden_layer_sizes=(5,), precision="float32", max_iter=3), NUMBERS),
}


@pytest.fixture(params=FITS, ids=str)
def fitted(request):
    estimator, y = FITS[request.param]
    return clone(estimator).set_params(random_state=0).fit(X, y)


def probabilities(estimator):
    """Return what the network of an estimator puts out: of two classes, the second's alone."""
    if not hasattr(estimator, "predict_proba"):
        output = estimator.predict(X)
        return output[:, None] if output.ndim == 1 else output
    found = estimator.predict_proba(X)
    return found[:, 1:] if estimator.n_outputs_ == 1 else found


def test_a_network_and_its_file_give_the_same(fitted, tmp_path):
    mlp = gd.from_sklearn(fitted)
    mlp.save(tmp_path / "m.safetensors")
    for each in (mlp, gd.load(tmp_path / "m.safetensors", objects=OBJECTS)):
        classifies = each.network.objective.classifies
        found = each.predict_proba(X) if classifies else each.predict(X)
        np.testing.assert_allclose(found, probabilities(fitted), rtol=1e-5, atol=1e-12)
        if hasattr(fitted, "classes_") and fitted.predict(X).ndim == 1:
            assert each.extra["classes"] == fitted.classes_.tolist()
    assert fitted.to_mlp(precision="float32", seed=4).seed == 4


def test_onnx_answers_labels(fitted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    mlp = fitted.to_mlp(precision="float32")
    mlp.export_onnx(tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": X.astype("f4")}), strict=True))
    np.testing.assert_allclose(
        found.get("probabilities", found.get("prediction")), probabilities(fitted), rtol=1e-4, atol=1e-5
    )
    if hasattr(fitted, "classes_"):
        np.testing.assert_array_equal(found["label"], fitted.predict(X))


def test_labels_of_scikit_learns_own_go_along(tmp_path):
    theirs = TheirClassifier((4,), max_iter=3, random_state=0).fit(X, THREE)
    assert gd.from_sklearn(theirs).extra == {"classes": ["high", "low", "some"]}
    assert gd.from_sklearn(TheirClassifier((4,), max_iter=3).fit(X, SEVERAL)).extra == {}


def test_what_a_converter_of_scikit_learns_estimators_reads():
    # skl2onnx reads these of an MLPClassifier, the last of them by its private name.
    for y, kind in ((THREE, "multiclass"), (X[:, 0] > 0, "binary"), (SEVERAL, "multilabel-indicator")):
        a, b = (m((4,), max_iter=2, random_state=0).fit(X, y) for m in (MLPClassifier, TheirClassifier))
        for name in ("n_layers_", "activation", "out_activation_"):
            assert getattr(a, name) == getattr(b, name)
        assert a._label_binarizer.y_type_ == b._label_binarizer.y_type_ == kind
        np.testing.assert_array_equal(a._label_binarizer.classes_, b._label_binarizer.classes_)
    assert not hasattr(MLPClassifier(), "_label_binarizer")


def test_tags_are_true():
    for estimator in (MLPClassifier(), MLPRegressor()):
        assert get_tags(estimator).array_api_support
        assert get_tags(estimator).input_tags.sparse
    assert get_tags(MLPClassifier()).classifier_tags.multi_label


# ---- skl2onnx

DOCUMENT = Path(__file__).parents[2] / "docs" / "scikit_learn.md"
NUMBER_OF = {"two": X[:, 0] > 0, "three": THREE, "several": SEVERAL, "numbers": NUMBERS, "one number": NUMBERS[:, 0]}


@pytest.fixture(scope="module")
def skl2onnx():
    """Return skl2onnx, told of our estimators by the lines of the documentation."""
    module = pytest.importorskip("skl2onnx")
    (lines,) = re.findall(r"```text\n(from skl2onnx.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec(lines, {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor})
    return module


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("y", NUMBER_OF.values(), ids=NUMBER_OF.keys())
def test_skl2onnx_converts_pipelines(skl2onnx, y, activation):
    runtime = pytest.importorskip("onnxruntime")
    kind = MLPRegressor if y.dtype == float else MLPClassifier
    last = kind(hidden_layer_sizes=(6, 3), activation=activation, max_iter=5, random_state=0)
    model = make_pipeline(StandardScaler(), last).fit(X, y)
    x = X.astype(np.float32)
    options = {id(last): {"zipmap": False}} if kind is MLPClassifier else None
    made = skl2onnx.to_onnx(model, x, options=options)
    label, *rest = runtime.InferenceSession(made.SerializeToString()).run(None, {"X": x})
    if kind is MLPRegressor:
        np.testing.assert_allclose(label.reshape(y.shape), model.predict(X), rtol=1e-4, atol=1e-5)
        return
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(rest[0], model.predict_proba(X), rtol=1e-4, atol=1e-5)


# ---- inside


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_hidden_outputs(backend):
    model = MLPClassifier((6, 3), ["tanh", "relu"], max_iter=3, random_state=0, backend=backend).fit(X, THREE)
    first = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    second = np.maximum(first @ model.coefs_[1] + model.intercepts_[1], 0.0)
    for given in (X, scipy.sparse.csr_array(X)):
        found = model.hidden_outputs(given)
        assert len(found) == 2
        np.testing.assert_allclose(found[0], first, rtol=1e-12)
        np.testing.assert_allclose(found[1], second, rtol=1e-12, atol=1e-14)
    logits = found[1] @ model.coefs_[2] + model.intercepts_[2]
    np.testing.assert_array_equal(model.classes_[logits.argmax(axis=1)], model.predict(X))
    assert MLPRegressor(hidden_layer_sizes=(), max_iter=2).fit(X, NUMBERS).hidden_outputs(X) == []


@dataclass(frozen=True)
class Sign(Optimizer):
    """Moves every parameter by the rate, against the sign of its gradient."""

    learning_rate: float = 1.0
    slots: ClassVar[int] = 0

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        return w - learning_rate * xp.sign(g), ()


class SignRegressor(MLPRegressor):
    def update_rule(self):
        return Sign()


def test_a_step_of_ones_own():
    settings = {"hidden_layer_sizes": (3,), "random_state": 0, "batch_size": 90, "learning_rate_init": 0.01}
    start = MLPRegressor(**settings | {"learning_rate_init": 1e-300}, max_iter=1).fit(X, NUMBERS)
    model = clone(SignRegressor(**settings, max_iter=1)).fit(X, NUMBERS)
    moved = np.abs(model.coefs_[0] - start.coefs_[0])
    np.testing.assert_allclose(moved, 0.01, rtol=1e-9)
    model.set_params(max_iter=50).fit(X, NUMBERS)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
