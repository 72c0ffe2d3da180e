"""ONNX Runtime predicts from an exported model what the network does, raw cells included."""

import numpy as np
import onnx
import onnxruntime
import pytest

import gdkernels as gd
from gdkernels.definition.activations import BY_NAME
from gdkernels.interchange.onnx import write_onnx
from gdkernels.tables import Preparation
from gdkernels.tabular.model.prediction import PreparedNetwork

RECORDS = 300


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def close(actual, expected, bound):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= bound * max(expected.std(), np.abs(expected).max() * 1e-3)


def snake(z, *, xp):
    return z + xp.sin(z) ** 2 - 0.1 * xp.cos(z) * xp.sign(z)


def centred(z, *, xp):
    return z - xp.mean(z, axis=1, keepdims=True) + xp.expm1(-xp.abs(z)) + xp.log1p(z * z) / z.shape[1]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("activation", [*BY_NAME, snake, centred])
def test_every_activation(activation, precision, tmp_path):
    mlp = gd.MLP([5, 7, 3], activation=activation, output=activation, seed=1, precision=precision, backend="numpy")
    x = np.random.default_rng(0).normal(scale=0.1 if activation == "exp" else 4, size=(11, 5)).astype(precision)
    mlp.export_onnx(tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"x": x})["prediction"]
    assert found.dtype == precision
    close(found, mlp.predict(x), 1e-5 if precision == "float32" else 1e-12)


@pytest.mark.parametrize("name", ["elu", "softplus"])
def test_small_values_keep_their_digits(name, tmp_path):
    """Expm1 and log1p, which ONNX lacks, are composed; near 0 and far below it the naive lines lose every digit."""
    mlp = gd.MLP([1, 1], output=name, bias=False, seed=0, precision="float64", backend="numpy")
    mlp.set_parameters([[[[1.0]]]])
    x = np.array([[-1e-9], [-1e-3], [-0.7], [-30.0], [0.0], [1e-9], [3.0], [800.0]])
    mlp.export_onnx(tmp_path / "m.onnx")
    np.testing.assert_allclose(run(tmp_path / "m.onnx", {"x": x})["prediction"], mlp.predict(x), rtol=1e-14)


@pytest.mark.parametrize(("loss", "outputs"), [("cross_entropy", 4), ("binary_cross_entropy", 1), ("poisson", 2)])
def test_links_and_classes(loss, outputs, tmp_path):
    mlp = gd.MLP([5, 8, outputs], seed=1, backend="numpy")
    gd.Trainer(mlp, loss=loss)
    x = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    mlp.export_onnx(tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"x": x})
    if loss == "poisson":
        close(found["prediction"], mlp.predict(x), 1e-5)
    else:
        close(found["probabilities"], mlp.predict_proba(x), 1e-5)
        np.testing.assert_array_equal(found["label"], mlp.predict(x))


def test_no_bias_and_no_hidden_layer(tmp_path):
    mlp = gd.MLP([3, 2], bias=False, seed=0, backend="numpy")
    mlp.export_onnx(tmp_path / "m.onnx")
    x = np.ones((1, 3), np.float32)
    close(run(tmp_path / "m.onnx", {"x": x})["prediction"], mlp.predict(x), 1e-6)


# ---- raw tables


def table():
    draw = np.random.default_rng(3)

    def holes(values, share=0.1):
        return [None if draw.random() < share else v for v in values]

    days = np.datetime64("1580-01-01T00:00:00") + draw.integers(0, 2**34, RECORDS).astype("timedelta64[s]")
    return {
        "size": holes(draw.normal(100, 20, RECORDS).tolist()),
        "skewed": np.exp(draw.normal(0, 2, RECORDS)).tolist(),
        "with zeros": np.where(draw.random(RECORDS) < 0.3, 0, np.exp(draw.normal(3, 2, RECORDS))).tolist(),
        "town": holes(draw.choice(["North", "South", "East", "Hamlet"], RECORDS, p=[0.5, 0.3, 0.19, 0.01]).tolist()),
        "floor": [str(v) for v in draw.integers(-1, 3, RECORDS)],
        "label": draw.choice(["a", "b"], RECORDS).tolist(),
        "sold": holes(np.datetime_as_string(days).tolist()),
    }


def raw(columns, preparation):
    """Return the columns as the exported model takes them."""
    inputs = {}
    for kind in preparation.columns:
        values = columns[kind.name]
        if kind.kind == "number":
            array = np.array([np.nan if v is None else v for v in values])
        elif kind.kind == "date":
            array = np.array(["NaT" if v is None else v for v in values], "datetime64[s]").astype(np.int64)
        else:
            array = np.array(["" if v is None else v for v in values], dtype=object)
        inputs[kind.name] = array[:, None]
    return inputs


@pytest.fixture
def exported(tmp_path):
    """Return what exports a network for some targets, and gives its predictor and what the model says of a table."""

    def run_both(target, columns, **settings):
        known = table() | {"y": target}
        preparation = Preparation.fit(known, "y", categorical=["floor"], **settings)
        classes = preparation.classes
        mlp = gd.MLP([len(preparation.features), 9, 1 if classes is None else len(classes)], seed=2, backend="numpy")
        gd.Trainer(mlp, loss="sse" if classes is None else "cross_entropy")
        predictor = PreparedNetwork(mlp, preparation)
        write_onnx(mlp.network, tmp_path / "m.onnx", preparation=preparation, overwrite=True)
        return predictor, run(tmp_path / "m.onnx", raw(columns, preparation))

    return run_both


def test_the_table_has_every_kind_of_column(exported):
    predictor, _ = exported(np.arange(RECORDS) % 7 * 1.0, table(), task="regression")
    kinds = {kind.name: kind for kind in predictor.preparation.columns}
    assert {kind.kind for kind in kinds.values()} == {"number", "category", "date"}
    assert kinds["size"].indicator
    assert kinds["skewed"].log == 0.0
    assert kinds["with zeros"].log > 0
    assert kinds["town"].gaps
    assert set(kinds["sold"].parts) == {"day number", "month", "day", "weekday", "hour"}


@pytest.mark.parametrize("skewed", [False, True])
def test_raw_rows_of_a_regression(exported, skewed):
    target = np.random.default_rng(0).normal(size=RECORDS) * 50 + 1000
    target = np.exp(target / 50) if skewed else target
    predictor, found = exported(target, table(), task="regression")
    assert predictor.preparation.outcome.logs == (skewed,)
    close(found["prediction"][:, 0], predictor.predict_prepared(predictor.preparation.transform(table())).values, 1e-5)


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 7], [0.5, 1.5]])
def test_raw_rows_of_a_classification(exported, labels):
    target = np.array(labels, dtype=object)[np.arange(RECORDS) % 2].tolist()
    predictor, found = exported(target, table(), task="classification")
    expected = predictor.predict_prepared(predictor.preparation.transform(table()))
    close(found["probabilities"], expected.probabilities, 1e-5)
    assert found["label_"].tolist() == expected.values.tolist()  # "label" is one of the columns


def test_what_was_never_seen(exported):
    columns = {name: values[:4] for name, values in table().items()}
    columns |= {
        "size": [1e300, -1e300, 0.0, None],
        "skewed": [0.0, -5.0, 1e9, None],
        "town": ["Atlantis", "NA", "?", "North"],
        "floor": ["1.0", "1", "99", None],
        "sold": ["2000-02-29T23:59:59", "1900-02-28", "1969-12-31T23:00:00", None],
    }
    predictor, found = exported(np.arange(RECORDS) % 7 * 1.0, columns, task="regression")
    expected = predictor.predict_prepared(predictor.preparation.transform(columns)).values
    np.testing.assert_allclose(found["prediction"][:, 0], expected, rtol=1e-5, atol=1e-5)


# ---- files


def test_the_file_says_who_made_it(tmp_path):
    gd.MLP([3, 2], seed=0).export_onnx(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    assert (model.producer_name, model.producer_version) == ("gdkernels", gd.__version__)
    assert {p.key: p.value for p in model.metadata_props} == {"precision": "float32", "sizes": "[3, 2]"}


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        gd.MLP([3, 4, 2], activation="gelu", seed=0).export_onnx(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(gd.FileError, match="exists already"):
        gd.MLP([3, 2], seed=0).export_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(gd.InputError, match=r"pip install 'gdkernels\[onnx\]'"):
        gd.MLP([3, 2], seed=0).export_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_function_that_cannot_be_traced(tmp_path):
    def branching(z, *, xp):
        return z if xp.sum(z) > 0 else -z

    with pytest.raises(gd.TraceError, match=r"use xp\.where"):
        gd.MLP([3, 2], output=branching, seed=0).export_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
