"""Columns of many values: the mean of the target by value, shrunken, and for rows of training from others' alone."""

import json

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.tables import Preparation, Table
from gdkernels.tables.column import column_data
from gdkernels.tables.features.categories import Category
from gdkernels.tables.features.level_means import are_unordered, level_means
from gdkernels.tables.preparation.cross_fit import CrossFit

N, LEVELS = 2000, 400


@pytest.fixture(scope="module")
def many():
    """Return a table whose target depends on a name of which there are four hundred, few records each."""
    draw = np.random.default_rng(0)
    who, a = draw.integers(0, LEVELS, N), draw.normal(size=N)
    y = a + draw.normal(size=LEVELS)[who] + 0.5 * draw.normal(size=N)
    return {"who": [f"p{k:03}" for k in who], "a": a.tolist(), "y": y.tolist()}


def category(preparation):
    (kind,) = (kind for kind in preparation.columns if kind.name == "who")
    return kind


@pytest.mark.parametrize("levels", [20, 150])
def test_numbers_without_a_course_are_told_from_others(levels):
    found = []
    for seed in range(8):
        draw = np.random.default_rng(seed)
        values, noise = draw.integers(0, levels, 900), draw.normal(size=(900, 1))
        targets = draw.normal(size=levels)[values], np.sin(6 * values / levels), np.zeros(900)
        found.append([are_unordered(values.astype(float), target[:, None] + noise) for target in targets])
    codes, course, nothing = np.sum(found, axis=0)
    assert codes >= 7
    assert course == nothing == 0


def test_levels_of_chance_are_drawn_to_the_mean_of_all_and_others_hardly():
    draw = np.random.default_rng(1)
    codes = np.repeat(np.arange(200), 10)
    noise = draw.normal(size=(2000, 1))
    assert np.ptp(level_means(codes, noise, 200)) < 0.3 * np.ptp(noise.reshape(200, 10).mean(axis=1))
    apart = noise + 10 * draw.normal(size=200)[codes][:, None]
    means = level_means(codes, apart, 201)
    np.testing.assert_allclose(means[:200, 0], apart.reshape(200, 10).mean(axis=1), atol=0.05)
    assert means[200] == means[201] == pytest.approx(apart.mean())  # a level that is not there, and all
    few = np.append(codes, 500)
    weak = level_means(few, np.vstack([noise * 3 + apart, [[99.0]]]), 501)
    assert apart.mean() < weak[500, 0] < 99  # one record says little


def test_a_row_of_training_is_not_told_its_own_target(many):
    draw = np.random.default_rng(0)
    levels = np.array([int(name[1:]) for name in many["who"]])
    table = Table.of({**many, "y": 0.4 * draw.normal(size=LEVELS)[levels] + draw.normal(size=N)})
    rows, preparation = np.arange(N), Preparation.fit(table, "y")
    own = CrossFit.of(preparation, table, rows).transform(table, rows)
    plain = preparation.transform(table)
    place = preparation.features.index("who mean")
    y = np.asarray(table.columns["y"])
    found, told = (np.corrcoef(x[:, place], y)[0, 1] for x in (own, plain))
    assert 0.05 < found < 0.3 < told
    others = [k for k in range(plain.shape[1]) if k != place]
    np.testing.assert_array_equal(own[:, others], plain[:, others])
    assert CrossFit.of(Preparation.fit({"a": many["a"], "y": many["y"]}, "y"), table, rows) is None


def test_no_mean_where_values_differ_by_chance_alone(many):
    noise = np.random.default_rng(0).normal(size=N).tolist()
    assert category(Preparation.fit({**many, "y": noise}, "y")).outputs == 0


def test_inputs_of_their_own_as_far_as_there_is_room(monkeypatch):
    draw = np.random.default_rng(0)
    who = np.repeat(np.arange(300), 6)
    column, noise = numbers_as_names(who), draw.normal(size=(len(who), 1))
    apart = noise + draw.normal(size=300)[who][:, None]
    found = Category.fit("who", column, targets=apart)
    assert (len(found.levels), len(found.means), found.more) == (300, 301, ())
    assert len(Category.fit("who", column, targets=noise).levels) == 100  # by chance alone, they say nothing
    assert len(Category.fit("who", column).levels) == 100
    monkeypatch.setattr("gdkernels.tables.features.categories._CELLS", 150 * len(who))
    less = Category.fit("who", column, targets=apart)
    assert (len(less.levels), len(less.more)) == (150, 150)


def numbers_as_names(numbers):
    return column_data.factorized([f"p{k}" for k in numbers])


def test_it_predicts_better(many, tmp_path, capsys, monkeypatch):
    options = {"backend": "numpy", "hidden": 16, "epochs": 10}
    predictor = gd.TabularPredictor("y", **options).fit(many)
    assert category(predictor.preparation_).outputs == 1
    monkeypatch.setattr("gdkernels.tables.features.categories.MOST_LEVELS", 10**6)
    plain = gd.TabularPredictor("y", **options).fit(many)
    assert category(plain.preparation_).outputs == 0
    monkeypatch.undo()
    assert predictor.metrics_["r2"] > plain.metrics_["r2"]
    predictor.save(tmp_path / "m.safetensors")
    new = {"who": ["p000", "p001", "nobody", None], "a": [0.0] * 4}
    found = gd.load(tmp_path / "m.safetensors", backend="numpy").predict(new)
    np.testing.assert_array_equal(found, predictor.predict(new))
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    rows = zip(*many.values(), strict=True)
    (tmp_path / "t.csv").write_text("\n".join(["who,a,y", *(",".join(map(str, row)) for row in rows), ""]))
    command = ["train", str(tmp_path / "t.csv"), "--target", "y", "--memory", "2MB", "--hidden", "16", "--epochs", "10"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["r2"] == pytest.approx(predictor.metrics_["r2"], abs=0.06)
    assert "mean of the target by value" in told["columns"][0]["why"]


def test_classes(many):
    high = np.where(np.array(many["y"]) > 0.5, "high", np.where(np.array(many["y"]) < -1, "low", "middle")).tolist()
    kind = category(Preparation.fit({**many, "y": high}, "y"))
    assert kind.outputs == 3
    two = category(Preparation.fit({**many, "y": [v == "high" for v in high]}, "y"))
    assert two.features[-1] == "who mean"
    labels = [f"c{k % 11}" for k in range(N)]
    assert category(Preparation.fit({**many, "y": labels}, "y")).outputs == 0


def test_onnx(many, tmp_path):
    pytest.importorskip("onnx")
    run = pytest.importorskip("onnxruntime")
    predictor = gd.TabularPredictor("y", backend="numpy", hidden=4, epochs=1).fit(many)
    predictor.export_onnx(tmp_path / "m.onnx")
    new = {"who": ["p000", " p399 ", "nobody", "", "p123"], "a": [0.0, 1.0, 2.0, 0.0, 0.5]}
    session = run.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    inputs = {"who": np.array(new["who"], object)[:, None], "a": np.array(new["a"])[:, None]}
    np.testing.assert_allclose(session.run(None, inputs)[0][:, 0], predictor.predict(new), rtol=1e-4, atol=1e-5)


def test_codes_are_tried_as_names(many):
    draw = np.random.default_rng(2)
    store = draw.integers(0, 40, 800)
    y = draw.normal(size=40)[store] + 0.3 * draw.normal(size=800)
    table = {"store_id": (100 + store).tolist(), "a": draw.normal(size=800).tolist(), "y": y.tolist()}
    options = {"backend": "numpy", "hidden": 16, "epochs": 40, "learning_rate": 0.01}
    predictor = gd.TabularPredictor("y", **options).fit(table)
    (remark,) = (r for r in predictor.result_.remarks if "look like codes" in r)
    assert "taken for names (numeric=['store_id'] takes them for numbers): the error of validation rows is" in remark
    assert {kind.name: kind.kind for kind in predictor.preparation_.columns}["store_id"] == "category"
    said = gd.TabularPredictor("y", numeric="store_id", **options | {"epochs": 1}).fit(table)
    assert not any("look like codes" in r for r in said.result_.remarks)
    linear = {**table, "y": (store + draw.normal(size=800)).tolist()}
    told = gd.TabularPredictor("y", **options).fit(linear).result_.remarks
    assert any("used as numbers" in r and "categorical=['store_id']" in r for r in told)
