"""`TabularPredictor`: what it takes, what it gives, and what it refuses."""

import copy
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from kept_models import RECORDS, same_parameters

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.tabular.settings.keywords import RANGES

QUICK = {"epochs": 3, "hidden": 8, "backend": "numpy"}


@pytest.fixture
def frame(columns):
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def fitted():
    """Return the predictors that several tests begin with, fitted once, by target."""
    return {}


def copy_of_fitted(fitted, frame, target, **how):
    if target not in fitted:
        fitted[target] = gd.TabularPredictor(target, **QUICK | how).fit(frame)
    return copy.deepcopy(fitted[target])


@pytest.fixture
def numbers(fitted, frame):
    return copy_of_fitted(fitted, frame, "price", ignore="dear", epochs=400)


@pytest.fixture
def classes(fitted, frame):
    return copy_of_fitted(fitted, frame, "dear", ignore="price", epochs=60)


# ---- what it gives


def test_numbers(numbers, frame):
    found = numbers.predict(frame)
    assert found.shape == (RECORDS,)
    assert found.dtype == np.float64
    assert numbers.score(frame) == numbers.evaluate(frame)["metrics"]["r2"] > 0.8
    assert numbers.score(frame) == numbers.score(frame.drop(columns="price"), frame["price"])
    assert set(numbers.metrics_) == {"r2", "rmse", "mae"}
    assert sum(numbers.rows_.values()) == RECORDS
    assert list(numbers.feature_names_in_) == ["area", "age", "town", "sold", "dear"]
    assert numbers.n_features_in_ == 5
    assert not hasattr(numbers, "classes_")
    assert numbers.history_ is numbers.histories_[0]
    assert numbers.explanation_ is None
    with pytest.raises(gd.InputError, match="this predicts numbers: call predict"):
        numbers.predict_proba(frame)


def test_classes(classes, frame):
    assert classes.classes_.tolist() == ["no", "yes"]
    probabilities = classes.predict_proba(frame)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (classes.classes_[probabilities.argmax(axis=1)] == classes.predict(frame)).all()
    evaluation = classes.evaluate(frame)
    assert classes.score(frame) == (classes.predict(frame) == frame["dear"]).mean() == evaluation.metrics["accuracy"]
    assert json.loads(json.dumps(evaluation.as_dict())) == evaluation.as_dict() == dict(evaluation)
    assert [told["label"] for told in evaluation["classes"]] == ["no", "yes"]


def test_the_order_of_columns_does_not_matter_and_others_are_left_alone(numbers, frame):
    turned = frame[frame.columns[::-1]].assign(more="x").drop(columns=["dear", "price"])
    np.testing.assert_array_equal(numbers.predict(turned), numbers.predict(frame))
    with pytest.raises(gd.InputError, match="has no column 'area'"):
        numbers.predict(frame.drop(columns="area"))


def test_parts_are_the_whole(numbers, table, frame, monkeypatch):
    whole = numbers.predict(table)
    for function in ("parts",):
        real = gd.tables.read.__globals__[function]
        monkeypatch.setattr(
            f"gdkernels.tabular.model.prediction.{function}", lambda data, _, real=real, **more: real(data, 33, **more)
        )
    for data in (table, frame):
        pieces = list(numbers.predict_parts(data))
        assert [len(part) for part, _ in pieces] == [33] * 6 + [2]
        np.testing.assert_allclose(np.concatenate([p.values for _, p in pieces]), whole, rtol=1e-5)


def test_arrays(frame):
    x = frame[["area", "age"]].to_numpy()
    predictor = gd.TabularPredictor(**QUICK).fit(x, frame["price"].to_numpy())
    assert list(predictor.feature_names_in_) == ["0", "1"]
    assert predictor.preparation_.targets == ("target",)
    assert predictor.predict(x).shape == (RECORDS,)
    several = gd.TabularPredictor(**QUICK).fit(x, frame[["price", "age"]].to_numpy() * 1.0)
    assert several.preparation_.targets == ("target 0", "target 1")
    assert several.predict(x).shape == (RECORDS, 2)
    assert gd.TabularPredictor("cost", **QUICK).fit(x, frame["price"].tolist()).preparation_.targets == ("cost",)
    assert gd.TabularPredictor(1, **QUICK).fit(x).preparation_.targets == ("1",)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.array(["1", "2"]), "U"),
        (np.array([True, False]), "b"),
        (np.array([3, 7]), "i"),
        (np.array(["01", "1"], object), "U"),
        (pd.Categorical(["10", "9"]), "U"),
    ],
)
def test_labels_come_back_as_they_were_passed(frame, labels, kind, tmp_path):
    y = pd.Series(labels).iloc[np.arange(RECORDS) % 2].reset_index(drop=True)
    y = y.where(frame["dear"] == "yes", y.iloc[0])
    x = frame.drop(columns=["dear", "price"])
    predictor = gd.TabularPredictor(task="classification", **QUICK).fit(x, y)
    predictor.save(tmp_path / "m")
    for one in (predictor, gd.load(tmp_path / "m", backend="numpy")):
        found = one.predict(x)
        assert np.array(found.tolist()).dtype.kind == kind
        assert set(one.classes_.tolist()) == set(pd.Series(labels).tolist())
        assert set(found.tolist()) <= set(one.classes_.tolist())
        assert one.score(x, y) == (found == y.to_numpy()).mean()
        assert (one.classes_[one.predict_proba(x).argmax(axis=1)] == found).all()
    within = gd.TabularPredictor("y", **QUICK, task="classification").fit(x.assign(y=y))
    assert within.classes_.tolist() == predictor.classes_.tolist()


def test_a_model_with_labels_that_do_not_fit_is_refused(classes, tmp_path):
    for k, labels in enumerate((["a"], [1, 2], "ab", [True, "no"])):
        classes.network.extra["labels"] = labels
        classes.save(tmp_path / str(k))
        with pytest.raises(gd.FileError, match="its labels do not fit its classes"):
            gd.load(tmp_path / str(k))


def test_functions_of_ones_own(frame, tmp_path):
    def mish(z, *, xp):
        return z * xp.tanh(xp.logaddexp(z, 0))

    given = {"activation": mish, "loss": gd.losses.Huber(2.0), "optimizer": gd.AdamW(1e-3)}
    predictor = gd.TabularPredictor("price", ignore="dear", schedule=gd.schedules.Cosine(), **QUICK | given).fit(frame)
    told = predictor.result_.as_dict()
    assert told["activation"] == ["mish"]
    assert (told["settings"]["loss"], told["settings"]["schedule"], told["settings"]["l2"]) == ("huber", "cosine", 0)
    assert "huber, adamw at 0.001" in predictor.result_.as_text()
    predictor.save(tmp_path / "m")
    with pytest.raises(gd.InputError, match="'mish' is not built in"):
        gd.load(tmp_path / "m")
    loaded = gd.load(tmp_path / "m", backend="numpy", objects={"mish": mish})
    np.testing.assert_array_equal(loaded.predict(frame), predictor.predict(frame))


# ---- files


def test_a_model_comes_back_as_what_it_was(numbers, frame, tmp_path):
    numbers.save(tmp_path / "table")
    with pytest.raises(gd.FileError, match="exists already"):
        numbers.save(tmp_path / "table")
    numbers.save(tmp_path / "table", overwrite=True)
    loaded = gd.load(tmp_path / "table", backend="numpy")
    assert isinstance(loaded, gd.TabularPredictor)
    assert isinstance(loaded.network, gd.MLP)
    np.testing.assert_array_equal(loaded.predict(frame), numbers.predict(frame))
    assert same_parameters(loaded.network, numbers.network)  # bound by now: until then, arrays are float64 on the host
    assert (loaded.metrics_, loaded.rows_) == (numbers.metrics_, numbers.rows_)
    assert (loaded.target, loaded.task, loaded.seed, loaded.backend) == ("price", "regression", 0, "numpy")
    assert not hasattr(loaded, "result_")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "table").read_bytes()
    gd.MLP([2, 1], backend="numpy").save(tmp_path / "plain")
    assert type(gd.load(tmp_path / "plain")) is gd.MLP
    with pytest.raises(gd.FileError, match="says nothing of the columns"):
        gd.TabularPredictor.load(tmp_path / "plain")


def test_the_command_takes_what_python_saved(numbers, table, tmp_path, capsys):
    numbers.save(tmp_path / "m")
    assert main(["evaluate", str(tmp_path / "m"), str(table), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("model") == str(tmp_path / "m")
    assert told.pop("plot") is None
    assert told["metrics"] == pytest.approx(dict(numbers.evaluate(table))["metrics"])
    assert main(["predict", str(tmp_path / "m"), str(table)]) == 0
    found = [float(line) for line in capsys.readouterr().out.splitlines()[1:]]
    np.testing.assert_array_equal(found, numbers.predict(table))


def test_onnx(numbers, tmp_path):
    pytest.importorskip("onnx")
    numbers.export_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size > 0


# ---- an estimator's habits


def test_parameters_are_kept_as_they_are(columns):
    ignored = ["dear"]
    predictor = gd.TabularPredictor("price", ignore=ignored, epochs="many")
    assert predictor.get_params()["ignore"] is ignored
    assert repr(predictor) == "TabularPredictor(target='price', ignore=['dear'], epochs='many')"
    with pytest.raises(gd.InputError, match="epochs must be a whole number of at least 1, got 'many'"):
        predictor.fit(columns)
    assert predictor.set_params(epochs=3, hidden=4, backend="numpy") is predictor
    assert predictor.fit(columns) is predictor
    with pytest.raises(gd.InputError, match=r"unknown keyword 'epoch'\. Did you mean 'epochs'"):
        predictor.set_params(epoch=4)


def test_scikit_learn_knows_it(frame):
    base = pytest.importorskip("sklearn.base")
    from sklearn.model_selection import cross_val_score
    from sklearn.utils.validation import check_is_fitted

    predictor = gd.TabularPredictor("price", **QUICK)
    assert base.clone(predictor).get_params() == predictor.get_params()
    with pytest.raises(Exception, match="not fitted"):
        check_is_fitted(predictor)
    check_is_fitted(predictor.fit(frame))
    assert not hasattr(base.clone(predictor), "network")
    for task, target in (("regression", "price"), ("classification", "dear"), ("auto", "dear")):
        one = gd.TabularPredictor(task=task, **QUICK)
        assert base.is_classifier(one) == (task == "classification")
        assert base.is_regressor(one) == (task == "regression")
        scores = cross_val_score(one, frame.drop(columns=["price", "dear"]), frame[target], cv=2)
        assert np.isfinite(scores).all()


def test_it_needs_no_other_library(table):
    program = (
        "import sys, gdkernels as gd; "
        f"p = gd.TabularPredictor('price', epochs=1, hidden=4, backend='numpy').fit({str(table)!r}); repr(p); "
        f"p.score({str(table)!r}); "
        "print([m for m in ('sklearn', 'pandas', 'polars', 'pyarrow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


# ---- before training


def test_describe(frame, table, capsys):
    predictor = gd.TabularPredictor("price", ignore=["dear"], categorical="age")
    description = predictor.describe(frame)
    assert {c["name"]: c["kind"] for c in description["columns"]} == {
        "area": "number",
        "age": "category",
        "town": "category",
        "sold": "date",
        "dear": "dropped",
    }
    options = ["--target", "price", "--ignore", "dear", "--categorical", "age", "--json"]
    assert main(["describe", str(table), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {**description, "data": str(table)}
    assert main(["describe", str(table), *["--target", "price", "--ignore", "dear", "--categorical", "age"]]) == 0
    assert capsys.readouterr().out == str(predictor.describe(table)) + "\n"
    beside = predictor.describe(frame.drop(columns="price"), frame["price"])
    assert beside.as_dict() == description.as_dict()
    assert gd.TabularPredictor().describe(frame)["target"] is None
    assert not hasattr(predictor, "network")


# ---- what it refuses


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "say which column of the table is to be predicted: target='COLUMN'; it has area, "),
        ({"target": "prize"}, "has no column 'prize'. Did you mean 'price'"),
        ({"target": "price", "ignore": "area", "keep_columns": "area"}, "both ignore and keep_columns"),
        ({"target": "price", "ignore": 1.5}, "ignore must be the name of a column, or a list of such names; got 1.5"),
        ({"target": "price", "loss": "poisson", "task": "classification"}, "loss='poisson' is not for classification"),
        ({"target": "town"}, "fill them in or say drop_missing=True"),
        ({"target": "age", "task": "classification"}, "use task='regression' if they are numbers"),
        ({"target": "price", "class_weight": "balanced"}, "class_weight='balanced' is for classes"),
        ({"target": "price", "class_weight": "even"}, "unknown class_weight 'even'"),
        ({"target": "price", "momentum": 0.5}, "momentum is for optimizer='sgd'; adam has none"),
        (
            {"target": "price", "optimizer": gd.Adam(), "learning_rate": 0.1},
            "learning_rate goes with an optimizer's name",
        ),
        ({"target": "price", "optimizer": "adamx"}, "unknown optimizer 'adamx'. Did you mean 'adam'"),
        ({"target": "price", "activation": "relo"}, "unknown activation 'relo'"),
        ({"target": "price", "hidden": (8, 0)}, r"hidden must be the units of each hidden layer, such as \(128, 64\)"),
        ({"target": "price", "resume": True}, "resume goes on from checkpoints; give checkpoint='DIR' too"),
        ({"target": "price", "every": "often"}, 'as in "30s"'),
        ({"target": "price", "task": "ranking"}, "unknown task 'ranking'"),
        ({"target": "price", "memory": "1GB"}, "memory is for files; leave it out for a table that is in memory"),
        ({"target": "price", "memory": "lots"}, "memory must be a size"),
        ({"target": "price", "precision": "float16"}, "unknown precision"),
        ({"target": "price", "device": "cuda:7", "backend": "numpy"}, "no device 'cuda:7'"),
        *(({"target": "price", name: -1}, f"{name} must be a") for name in RANGES),
        *(({"target": "price", name: None}, f"{name} must be a") for name in ("starts", "seed", "test")),
        ({"target": "price", "epochs": True}, "epochs must be"),
        ({"target": "price", "l2": float("nan")}, "l2 must be a finite number"),
    ],
)
def test_what_cannot_be(frame, monkeypatch, keywords, message):
    monkeypatch.setattr(gd.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(gd.GdkernelsError, match=message):
        gd.TabularPredictor(**keywords).fit(frame)


def test_files_larger_than_memory_are_not_averaged(table):
    with pytest.raises(gd.InputError, match="average is for tables that fit into memory; .* allow more by memory"):
        gd.TabularPredictor("price", average=2, memory="1MB").fit(table)


def test_targets_that_do_not_fit(frame):
    with pytest.raises(gd.InputError, match="has a column 'age', as y is called"):
        gd.TabularPredictor().fit(frame, frame["age"])
    with pytest.raises(gd.InputError, match="X has 200, y has 199"):
        gd.TabularPredictor().fit(frame, frame["age"].to_numpy()[1:])
    with pytest.raises(gd.InputError, match="y has 1 columns, and target names 2"):
        gd.TabularPredictor(["a", "b"]).fit(frame, frame["age"].to_numpy())


def test_nothing_is_known_before_a_fit(frame, tmp_path):
    predictor = gd.TabularPredictor("price")
    for call in (predictor.predict, predictor.predict_proba, predictor.evaluate, predictor.score, predictor.save):
        with pytest.raises(gd.InputError, match="has learned nothing yet: call fit first"):
            call(tmp_path / "m" if call == predictor.save else frame)


def test_divergence(frame):
    with pytest.raises(gd.DivergenceError, match=r"lower learning_rate \(it was 1e\+30\), or limit .* clip_norm=1$"):
        gd.TabularPredictor("price", optimizer="sgd", learning_rate=1e30, **QUICK).fit(frame)


def test_a_second_fit_forgets_the_first(frame, classes):
    assert hasattr(classes, "classes_")
    classes.set_params(target="price", ignore="dear").fit(frame)
    assert not hasattr(classes, "classes_")
    assert classes.score(frame) < 1


def test_an_explanation(frame):
    predictor = gd.TabularPredictor("price", explain=True, **QUICK).fit(frame)
    assert predictor.explanation_.as_dict()["backend"] == "numpy"
    assert predictor.explanation_.as_text() in predictor.result_.as_text()


# ---- kept by others


def test_its_state_is_arrays_and_json_and_a_copy_keeps_all_of_it(columns):
    table = pd.DataFrame(columns)
    made = gd.TabularPredictor("dear", ignore="price", **QUICK | {"epochs": 2}).fit(table)
    state = made.__getstate__()
    assert {type(array) for array in state["model"]["tensors"].values()} == {np.ndarray}
    plain = json.loads(json.dumps(state | {"model": state["model"]["metadata"]}))
    again = gd.TabularPredictor.__new__(gd.TabularPredictor)
    again.__setstate__(plain | {"model": {"tensors": state["model"]["tensors"], "metadata": plain["model"]}})
    assert json.dumps(again.get_params()) == json.dumps(made.get_params())
    assert again.classes_.tolist() == made.classes_.tolist()
    assert again.metrics_ == made.metrics_
    assert np.array_equal(again.predict_proba(table), made.predict_proba(table))
    unfitted = gd.TabularPredictor.__new__(gd.TabularPredictor)
    unfitted.__setstate__(gd.TabularPredictor("dear").__getstate__())
    with pytest.raises(gd.InputError, match="call fit first"):
        unfitted.predict(table)
    copied = copy.deepcopy(made)
    assert vars(copied).keys() == vars(made).keys()
    assert copied.history_.loss == made.history_.loss
