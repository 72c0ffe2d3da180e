"""Networks with computed weights in all that networks are used for: files, checkpoints, many models, estimators."""

import shutil

import numpy as np
import pytest
from computed_weights import Computed, Table

import gdkernels as gd
from gdkernels.backend.program import Program
from gdkernels.definition.blocks import Columns, Dense, Residual, Sequential
from gdkernels.estimators import MLPClassifier

OBJECTS = {"Computed": Computed, "Table": Table}
RANDOM = np.random.default_rng(0)
X = np.c_[RANDOM.integers(0, 7, 90), RANDOM.standard_normal((90, 3))]
Y = X[:, 1:2] * X[:, 2:3]
BLOCK = Sequential(
    Columns({0: Table(7, 3)}, rest="passthrough"),
    Computed("by column", 6),
    Residual(Computed("other way round", 6)),
    Computed("side by side", 5),
    Dense(1),
)
RUN = {"epochs": 3, "batch_size": 32, "optimizer": gd.Adam(0.01), "clip_norm": 1.0, "l2": 1e-3}


def network(seed=0):
    return gd.Network(BLOCK, inputs=4, seed=seed, backend="numba", precision="float64")


@pytest.fixture(scope="module")
def trained():
    made = network()
    assert made.fit(X, Y, **RUN).origin == "compiled"
    return made


def test_it_is_saved_and_exported(trained, tmp_path):
    trained.save(tmp_path / "m.gd")
    np.testing.assert_array_equal(gd.load(tmp_path / "m.gd", objects=OBJECTS).predict(X), trained.predict(X))
    runtime = pytest.importorskip("onnxruntime")
    trained.export_onnx(tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": X})[0], trained.predict(X), rtol=1e-10, atol=1e-12)


def test_it_goes_on_to_the_bit(trained, tmp_path):
    kept = {"every": "2 steps", "keep": 99, "resume": True}
    network().fit(X, Y, checkpoint=tmp_path / "whole", **RUN, **kept)
    (tmp_path / "rest").mkdir()
    shutil.copy(sorted((tmp_path / "whole").glob("step-*"))[1], tmp_path / "rest")
    again = network()
    again.fit(X, Y, checkpoint=tmp_path / "rest", **RUN, **kept)
    np.testing.assert_array_equal(again.predict(X), trained.predict(X))


def test_many_are_those_alone_and_an_ensemble_keeps_their_precision(trained, tmp_path):
    models = [network(), network(1)]
    gd.fit_many(models, X, Y, epochs=3, settings={n: value for n, value in RUN.items() if n != "epochs"})
    np.testing.assert_array_equal(models[0].predict(X), trained.predict(X))
    ensemble = gd.Ensemble(models)
    ensemble.save(tmp_path / "e.gd")
    loaded = gd.Ensemble.load(tmp_path / "e.gd", objects=OBJECTS)
    np.testing.assert_array_equal(loaded.predict(X), ensemble.predict(X))
    whole = gd.load(tmp_path / "e.gd", objects=OBJECTS)
    np.testing.assert_allclose(whole.predict(X), ensemble.predict(X), rtol=1e-12)


def test_least_squares_end_where_they_do_on_numpy():
    block, found = Sequential(Columns({0: Table(7, 3)}, rest="passthrough"), Computed("side by side", 1)), []
    for backend in ("numba", "numpy"):
        made = gd.Network(block, inputs=4, seed=0, backend=backend, precision="float64")
        found.append(made.fit(X, Y, epochs=2, solver="lm", l2=1e-2).loss)
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_an_estimator_takes_it():
    inner = Sequential(Computed("by row", 6), Computed("turned inside", 5))
    model = MLPClassifier(network=inner, max_iter=1000, random_state=0, learning_rate_init=0.01).fit(X, Y[:, 0] > 0)
    assert model.score(X, Y[:, 0] > 0) > 0.9


def test_products_of_parameters_are_no_work_of_a_record():
    few, many = (Program(Sequential(Computed("low rank", n)), 50).multiply_adds for n in (10, 20))
    assert (few, many) == (50 * 10, 50 * 20)
