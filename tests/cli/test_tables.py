"""From a raw table to predictions: describe, train, predict, evaluate, inspect."""

import csv
import gzip
import io
import json
import re

import numpy as np
import polars as pl
import pytest

from gdkernels.tables import Preparation
from gdkernels.tables.preparation.outcomes import Classes
from gdkernels.tabular.evaluating import evaluation
from gdkernels.tabular.model import prediction
from gdkernels.tabular.model.prediction import Prediction

N = 300
QUICK = ("--epochs", "30", "--hidden", "16")


def houses(seed=0):
    draw = np.random.default_rng(seed)
    size, town = draw.uniform(40, 250, N), draw.choice(["North", "South", "East"], N)
    price = np.exp(0.01 * size + 0.5 * (town == "North") + 0.1 * draw.normal(size=N)) * 1e5
    return {
        "house_id": [f"H{k:04}" for k in range(N)],
        "size": [("" if draw.random() < 0.05 else f"{v:.1f}") for v in size],
        "town": town.tolist(),
        "sold": [f"{2000 + k % 20}-0{1 + k % 9}-11" for k in range(N)],
        "dear": ["yes" if p > 5e5 else "no" for p in price],
        "price": [f"{p:.0f}" for p in price],
    }


def write(path, columns, names=None, rows=slice(None)):
    names = names or list(columns)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *list(zip(*(columns[n] for n in names), strict=True))[rows]])
    return path


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "raw.csv", houses())


@pytest.fixture
def model(command, raw, tmp_path):
    """Return a model file of prices."""
    outcome = command(
        "train", raw, "--target", "price", "--ignore", "dear", *QUICK, "--epochs", 60, "--out", tmp_path / "m"
    )
    assert (outcome.code, outcome.err) == (0, "")
    return tmp_path / "m"


@pytest.fixture
def classifier(command, raw, tmp_path):
    outcome = command("train", raw, "--target", "dear", "--ignore", "price", *QUICK, "--out", tmp_path / "c")
    assert (outcome.code, outcome.err) == (0, "")
    return tmp_path / "c"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


# ---- train


def test_a_raw_table_is_learned_and_what_was_done_is_said(command, raw):
    outcome = command("train", raw, "--target", "price", "--ignore", "dear", "--json", "--hidden", "64")
    result = outcome.json
    assert (outcome.code, result["task"]) == (0, "regression")
    assert result["metrics"]["r2"] > 0.8
    kinds = {c["name"]: c["kind"] for c in result["columns"]}
    assert kinds == {"house_id": "dropped", "size": "number", "town": "category", "sold": "date", "dear": "dropped"}
    text = command("train", raw, "--target", "price", *QUICK).out
    assert "1 number, 2 categories, 1 date, 1 left out (house_id)" in text
    assert "the target is skewed, so its logarithm is learned" in text


def test_text_is_classes_and_their_shares_are_said(command, raw):
    result = command("train", raw, "--target", "dear", "--ignore", "price", "--json", *QUICK).json
    assert (result["task"], result["classes"]) == ("classification", ["no", "yes"])
    assert sum(result["class_shares"].values()) == pytest.approx(1)
    assert result["metrics"]["accuracy"] > 0.75
    assert [c["label"] for c in result["by_class"]["classes"]] == ["no", "yes"]
    assert np.sum(result["by_class"]["confusion"]) == result["rows"]["test"]
    assert "classes  yes " in command("train", raw, "--target", "dear", *QUICK).out


def test_balanced_classes_raise_the_recall_of_the_rare_one(command, tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=1000)
    label = np.where(x + draw.normal(size=1000) > 2, "rare", "common")
    path = write(tmp_path / "rare.csv", {"x": x.tolist(), "z": draw.normal(size=1000).tolist(), "y": label.tolist()})
    recalls = [
        command("train", path, "--target", "y", "--json", *QUICK, *more).json["by_class"]["classes"][1]["recall"]
        for more in ([], ["--class-weight", "balanced"])
    ]
    assert recalls[1] > recalls[0] + 0.1


def test_several_targets(command, raw, tmp_path):
    arguments = ("--target", "price", "--target", "size", "--ignore", "dear", "--drop-missing", *QUICK)
    result = command("train", raw, *arguments, "--json", "--out", tmp_path / "two").json
    assert (result["target"], result["sizes"][-1]) == ("price, size", 2)
    rows = rows_of(command("predict", tmp_path / "two", raw).out)
    assert list(rows[0]) == ["predicted price", "predicted size"]


def test_networks_are_averaged_unless_the_network_is_said(command, raw):
    short = ("train", raw, "--target", "price", "--epochs", "2", "--json")
    assert command(*short).json["settings"]["average"] == 5
    assert command(*short).json["sizes"][1] == 5 * 256
    assert command(*short, "--hidden", "8").json["sizes"][1] == 8
    averaged = command(*short, "--hidden", "8,6", "--average", "3").json
    assert averaged["sizes"][1:] == [24, 18, 1]
    assert len(averaged["averaged"]) == 3


def test_a_compressed_folder_is_the_same_table(command, raw, tmp_path):
    (tmp_path / "folder").mkdir()
    lines = raw.read_text().splitlines(keepends=True)
    for k, part in enumerate((lines[1:150], lines[150:])):
        (tmp_path / "folder" / f"{k}.csv.gz").write_bytes(gzip.compress((lines[0] + "".join(part)).encode()))
    figures = [
        command("train", data, "--target", "price", "--json", *QUICK).json["metrics"]
        for data in (raw, tmp_path / "folder")
    ]
    assert figures[0] == figures[1]


# ---- predict


def test_predictions_do_not_depend_on_the_order_or_the_kind_of_file(command, model, tmp_path):
    columns = houses()
    shuffled = write(tmp_path / "other.csv", columns, ["sold", "town", "size"])
    pl.read_csv(shuffled, try_parse_dates=True).write_parquet(tmp_path / "other.parquet")
    first, second, third = (
        [float(r["predicted price"]) for r in rows_of(command("predict", model, tmp_path / name).out)]
        for name in ("raw.csv", "other.csv", "other.parquet")
    )
    assert len(first) == N
    np.testing.assert_allclose(second, first, rtol=1e-6)
    np.testing.assert_allclose(third, first, rtol=1e-6)
    truth = np.array(columns["price"], float)
    assert np.corrcoef(np.log(first), np.log(truth))[0, 1] > 0.9


def test_predictions_stream_in_parts(command, model, raw, monkeypatch):
    whole = rows_of(command("predict", model, raw).out)
    real = prediction.parts
    sizes = []

    def parts(data, _, **more):
        for part in real(data, 64, **more):
            sizes.append(len(part))
            yield part

    monkeypatch.setattr(prediction, "parts", parts)
    in_parts = rows_of(command("predict", model, raw).out)
    assert max(sizes) <= 64
    np.testing.assert_allclose(*([float(r["predicted price"]) for r in rows] for rows in (whole, in_parts)), rtol=1e-5)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_out_keeps_chosen_columns(command, classifier, raw, tmp_path, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = f"./p.{suffix}"  # as people type it
    outcome = command("predict", classifier, raw, "--out", out, "--keep", "house_id", "--keep", "size")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("300 predictions of 'dear'")
    frame = pl.read_parquet(out) if suffix == "parquet" else pl.read_csv(out, separator=",\t"[suffix == "tsv"])
    assert frame.columns == ["house_id", "size", "predicted dear", "probability of no", "probability of yes"]
    assert frame["house_id"].to_list() == houses()["house_id"]
    assert frame["size"].null_count() == houses()["size"].count("")
    np.testing.assert_allclose(frame["probability of no"] + frame["probability of yes"], 1, atol=1e-6)
    again = command("predict", classifier, raw, "--out", out)
    assert (again.code, "--force" in again.err) == (2, True)
    again = command("predict", classifier, raw, "--out", out, "--force", "--json")
    assert (again.code, again.json["records"], again.err) == (0, N, "")


def test_predictions_as_json(command, classifier, raw):
    told = command("predict", classifier, raw, "--json", "--keep", "house_id").json
    assert told["records"] == len(told["predictions"]) == N
    assert told["predictions"][0]["house_id"] == "H0000"
    assert told["predictions"][0]["predicted dear"] in ("yes", "no")


def test_what_was_never_seen_is_predicted_too(command, model, tmp_path):
    new = {"size": ["1e9", "", "50"], "town": ["West", "", "North"], "sold": ["2031-01-01", "", "NA"]}
    rows = rows_of(command("predict", model, write(tmp_path / "new.csv", new)).out)
    low, high = min(map(float, houses()["price"])), max(map(float, houses()["price"]))
    assert all(low <= float(r["predicted price"]) <= high for r in rows)


# ---- evaluate, inspect, describe


def test_evaluate(command, model, classifier, raw):
    told = command("evaluate", model, raw, "--json").json
    assert told["records"] == N
    assert told["metrics"].keys() == {"r2", "rmse", "mae"}
    assert told["metrics"]["r2"] > 0.6
    told = command("evaluate", classifier, raw, "--json").json
    right = np.trace(told["confusion"])
    assert told["metrics"]["accuracy"] == pytest.approx(right / N)
    assert told["classes"][0]["recall"] == pytest.approx(told["confusion"][0][0] / np.sum(told["confusion"][0]))
    text = command("evaluate", classifier, raw).out
    assert "precision" in text
    assert "confusion matrix" in text


def test_inspect(command, model, classifier):
    told = command("inspect", classifier, "--json").json
    assert (told["classes"], told["targets"]) == (["no", "yes"], ["dear"])
    assert told["versions"]["numpy"] == np.__version__
    assert len(told["history"][0]["loss"]) > 1
    text = command("inspect", model).out
    for part in ("regression of 'price'", "layers ", "town: category", "house_id: dropped, 0 inputs; an identifier"):
        assert part in text


def test_inspect_shows_blocks(command, raw, tmp_path):
    settings = ["--residual", "--hidden", "8,8", "--epochs", "1", "--out", tmp_path / "m"]
    trained = command("train", raw, "--target", "price", *settings)
    told = command("inspect", tmp_path / "m", "--json").json
    assert re.fullmatch(
        r"\d+ → Sequential\(Dense\(8, relu\), Residual\(Dense\(8, relu\)\), Dense\(1\)\)", told["network"]
    )
    for text in (trained.out, command("inspect", tmp_path / "m").out):
        assert f"{told['network']}, {told['parameters']:,} parameters" in text


def test_describe(command, raw):
    told = command("describe", raw, "--target", "price", "--json").json
    assert told["records"] == N
    assert told["target"]["numbers"][0]["logarithm"]
    columns = {c["name"]: c for c in told["columns"]}
    assert columns["size"]["gaps"] == houses()["size"].count("")
    assert columns["town"]["distinct"] == 3
    text = command("describe", raw).out
    assert "house_id" in text
    assert "an identifier: all its text differs" in text
    assert "3 values, " in text
    assert "in 10 classes" in command("describe", "digits").out


# ---- what is wrong


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"town": None}, "no column 'town'"),
        ({"town": None, "size": None}, "lacks 2 of the 3 columns that the model needs: size, town"),
        ({"size": ["large"] * N}, "record 1 of .*'size': 'large' is not a number"),
        ({"size": ["inf"] * N}, "'inf' is not a finite number"),
        ({"sold": ["then"] * N}, "record 1 of .*'sold': 'then' is not a date like those trained on"),
    ],
)
def test_a_table_that_does_not_fit_is_2(refused, model, tmp_path, change, pattern):
    columns = {k: v for k, v in (houses() | change).items() if v is not None}
    new = write(tmp_path / "new.csv", columns)
    refused(pattern, "predict", model, new, "--out", tmp_path / "p.csv")
    refused(pattern, "evaluate", model, new)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["predict", "MODEL", "no.csv"], "no file no.csv"),
        (["predict", "no-model", "RAW"], "no-model: there is no such file"),
        (["predict", "RAW", "RAW"], "is not a gdkernels model file"),
        (["predict", "MODEL", "RAW", "--out", "p.xlsx"], "end its name in .csv, .tsv or .parquet"),
        (["predict", "MODEL", "RAW", "--out", "no/p.csv"], "folder no does not exist"),
        (["predict", "MODEL", "RAW", "--keep", "twn"], "no column 'twn'. Did you mean 'town'"),
        (["predict", "MODEL", "RAW", "--backend", "nunpy"], "Did you mean 'numpy'"),
        (["predict", "MODEL", "RAW", "--force"], "give --out FILE too"),
        (["evaluate", "MODEL", "SHORT"], "no column 'price'"),
        (["inspect", "RAW"], "is not a gdkernels model file"),
        (["describe", "RAW", "--target", "prize"], "no column 'prize'. Did you mean 'price'"),
        (["train", "RAW", "--target", "size"], "'size' has no value in .* records .*--drop-missing"),
        (["train", "RAW", "--target", "price", "--ignore", "twn"], "no column 'twn'"),
        (["train", "RAW", "--target", "price", "--numeric", "town"], "'(North|South|East)' is not a number"),
        (["train", "RAW", "--target", "sold"], "'sold' holds dates, which cannot be predicted"),
        (["train", "RAW", "--target", "sold", "--task", "regression"], "such as the days since another date"),
        (["train", "RAW", "--target", "house_id"], "300 different values in 300 records: too many for classes"),
        (["train", "RAW", "--target", "town", "--target", "price"], "'(North|South|East)' is not a number"),
        (["train", "RAW", "--target", "price", "--class-weight", "balanced"], "is for classes"),
        (["train", "FOLDER", "--target", "y"], "the folder .* holds no table"),
    ],
)
def test_what_can_be_mended_is_2(refused, model, raw, tmp_path, arguments, pattern):
    (tmp_path / "folder").mkdir()
    short = write(tmp_path / "short.csv", houses(), ["size", "town", "sold"])
    places = {"MODEL": model, "RAW": raw, "SHORT": short, "FOLDER": tmp_path / "folder"}
    refused(pattern, *(places.get(a, a) for a in arguments))


def test_a_network_without_a_table_is_2(refused, raw, tmp_path):
    import gdkernels as gd

    gd.MLP([2, 1], seed=0).save(tmp_path / "plain")
    refused("says nothing of the columns", "predict", tmp_path / "plain", raw)


def test_a_damaged_description_is_2(refused, model, raw, tmp_path):
    import gdkernels as gd

    mlp = gd.load(model, backend="numpy").network
    mlp.extra["preparation"]["columns"][0]["kind"] = "number"
    mlp.save(tmp_path / "bad")
    refused("bad: the model's description of its columns is damaged", "inspect", tmp_path / "bad")


def test_the_average_is_that_of_the_networks():
    from gdkernels import MLP
    from gdkernels.tabular.networks.average import averaged, averaged_sizes

    x = np.random.default_rng(0).normal(size=(20, 5))
    for sizes in ([5, 4, 2], [5, 4, 3, 2], [5, 2]):
        networks = [MLP(sizes, seed=k, precision="float64", backend="numpy") for k in range(3)]
        whole = MLP(averaged_sizes(sizes, 3), seed=0, precision="float64", backend="numpy")
        whole.set_parameters(averaged([mlp.parameters for mlp in networks]))
        np.testing.assert_allclose(whole.predict(x), np.mean([mlp.predict(x) for mlp in networks], axis=0))


def test_by_class_of_a_class_that_is_never_predicted():
    prediction = Prediction(np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    parts = evaluation.EvaluationInParts(Preparation("classification", (), None, Classes("y", ("a", "b"))))
    parts.add(np.array([0, 1]), prediction)
    told = parts.by_class()
    assert told["classes"][1] == {"label": "b", "records": 1, "precision": None, "recall": 0.0}
    assert json.loads(json.dumps(told))["confusion"] == [[1, 0], [1, 0]]


def test_records_without_a_target_are_left_out_of_an_evaluation_where_that_is_said(command, model, tmp_path):
    columns = houses()
    for name, kept in (("whole", slice(None)), ("part", slice(50, None))):
        write(tmp_path / f"{name}.csv", columns | {"price": ["NA"] * 50 + list(columns["price"][50:])}, rows=kept)
    refused = command("evaluate", model, tmp_path / "whole.csv")
    assert (refused.code, "50 of 300 records" in refused.err, "--drop-missing" in refused.err) == (2, True, True)
    told = command("evaluate", model, tmp_path / "whole.csv", "--drop-missing", "--json").json
    assert told["records"] == 250
    assert told["metrics"] == pytest.approx(command("evaluate", model, tmp_path / "part.csv", "--json").json["metrics"])
    write(tmp_path / "none.csv", columns | {"price": [""] * len(columns["price"])})
    assert "no records that have a target" in command("evaluate", model, tmp_path / "none.csv", "--drop-missing").err
