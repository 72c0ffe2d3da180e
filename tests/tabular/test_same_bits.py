"""The command line and Python train the same network, to the bit, and write the same file."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from kept_models import content, same_parameters

import gdkernels as gd

QUICK = {"epochs": 4, "ignore": ["dear"]}

SETTINGS = {
    "chosen": (
        ["--target", "price", "--ignore", "dear", "--epochs", "4"],
        {"target": "price", **QUICK},
    ),
    "said": (
        [
            *("--target", "price", "--ignore", "dear", "--epochs", "4"),
            "--hidden",
            "8,4",
            "--seed",
            "3",
            "--l2",
            "0.1",
            "--optimizer",
            "sgd",
            "--nesterov",
            "--learning-rate",
            "0.02",
            "--clip-norm",
            "1",
            "--starts",
            "2",
            "--schedule",
            "cosine",
            "--activation",
            "tanh",
            "--batch-size",
            "16",
            "--precision",
            "float64",
        ],
        {"target": "price", "hidden": (8, 4), "seed": 3, "l2": 0.1, "optimizer": "sgd", "nesterov": True}
        | {"learning_rate": 0.02, "clip_norm": 1.0, "starts": 2, "schedule": "cosine", "activation": "tanh"}
        | {"batch_size": 16, "precision": "float64", **QUICK},
    ),
    "classes": (
        [
            *("--target", "dear", "--ignore", "price", "--keep", "age", "--categorical", "age"),
            "--epochs",
            "4",
            "--average",
            "2",
            "--class-weight",
            "balanced",
            "--test",
            "0.3",
            "--validation",
            "0.2",
            "--patience",
            "2",
        ],
        {"target": "dear", "ignore": "price", "keep_columns": "age", "categorical": ["age"], "epochs": 4}
        | {"average": 2, "class_weight": "balanced", "test": 0.3, "validation": 0.2, "patience": 2},
    ),
    "larger than memory": (
        [*("--target", "price", "--ignore", "dear", "--epochs", "4"), "--hidden", "8", "--memory", "50kB"],
        {"target": "price", "hidden": 8, "memory": "50kB", **QUICK},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_both_faces_write_the_same_model(table, trained, tmp_path, name):
    options, keywords = SETTINGS[name]
    told, model = trained(*options)
    predictor = gd.TabularPredictor(**keywords).fit(table)
    predictor.save(tmp_path / "python.safetensors")
    ours, theirs = content(tmp_path / "python.safetensors"), content(model)
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    mine = predictor.result_.as_dict()
    for changing in ("seconds", "samples_per_second", "memory"):
        assert mine.pop(changing) is not None
        told.pop(changing)
    assert len(mine.pop("remarks")) == len(told.pop("remarks")), "each face names its own keywords"
    assert {"model": str(model), "plot": None, "profile": None, **mine} == told


@pytest.mark.parametrize("kind", ["pandas", "nullable", "polars", "lazy", "pyarrow", "dict"])
def test_a_frame_of_the_same_table(table, columns, kind):
    frame = {
        "pandas": lambda: pd.read_csv(table),
        "nullable": lambda: pd.DataFrame(columns).convert_dtypes(),
        "polars": lambda: pl.DataFrame(columns),
        "lazy": lambda: pl.LazyFrame(columns),
        "pyarrow": lambda: pa.table(columns),
        "dict": lambda: columns,
    }[kind]()
    of_file = gd.TabularPredictor("price", hidden=8, **QUICK).fit(table)
    of_frame = gd.TabularPredictor("price", hidden=8, **QUICK).fit(frame)
    assert same_parameters(of_file.network, of_frame.network)
    assert of_file.preparation_.to_json() == of_frame.preparation_.to_json()
    assert of_file.metrics_ == of_frame.metrics_
    np.testing.assert_array_equal(of_file.predict(table), of_frame.predict(frame))


def test_targets_beside_the_table(table, columns):
    frame = pd.DataFrame(columns).drop(columns="dear")
    beside = gd.TabularPredictor(hidden=8, epochs=4).fit(frame.drop(columns="price"), frame["price"])
    within = gd.TabularPredictor("price", hidden=8, **QUICK).fit(table)
    assert same_parameters(beside.network, within.network)
    assert beside.preparation_.targets == ("price",)
    assert beside.score(frame.drop(columns="price"), frame["price"]) == within.score(table)


def test_another_seed_gives_other_bits(table):
    """What the comparisons above rest on."""
    networks = [gd.TabularPredictor("price", hidden=8, seed=seed, **QUICK).fit(table).network for seed in (0, 0, 1)]
    assert same_parameters(networks[0], networks[1])
    assert not same_parameters(networks[0], networks[2])


def test_resumed_it_is_what_it_would_have_been(table, tmp_path):
    keywords = {"target": "price", "average": 2, "hidden": 8, **QUICK}
    whole = gd.TabularPredictor(**keywords).fit(table)
    kept = gd.TabularPredictor(**keywords, checkpoint=tmp_path / "c", every="1 epochs", keep=10).fit(table)
    assert same_parameters(whole.network, kept.network)
    for folder in (tmp_path / "c").iterdir():
        for late in sorted(folder.glob("step-*"))[2:]:
            late.unlink()
    with pytest.raises(gd.FileError, match="has checkpoints already"):
        gd.TabularPredictor(**keywords, checkpoint=tmp_path / "c").fit(table)
    again = gd.TabularPredictor(**keywords, checkpoint=tmp_path / "c", every="1 epochs", resume=True).fit(table)
    assert same_parameters(whole.network, again.network)
