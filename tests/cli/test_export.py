"""``gdkernels export``: a model file as ONNX."""

import numpy as np
import onnxruntime
import pytest
from made_up import made_up, write_csv

from gdkernels import tables
from gdkernels.tabular import TabularPredictor


@pytest.fixture
def model(command, tmp_path):
    write_csv(tmp_path / "t.csv", *made_up())
    assert command("train", tmp_path / "t.csv", "--target", "y", "--epochs", "3", "--out", tmp_path / "m").code == 0
    return tmp_path / "m"


def test_raw_records_in_predictions_out(command, model, tmp_path):
    outcome = command("export", model, tmp_path / "m.onnx", "--json")
    assert outcome.json["inputs"] == dict.fromkeys("abc", "float64, NaN for a gap")
    assert outcome.json["outputs"] == ["prediction"]
    x, y = made_up()
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["prediction"], {name: x[:, k : k + 1] for k, name in enumerate("abc")})[0]
    expected = TabularPredictor.load(model).predict(tables.read(tmp_path / "t.csv"))
    assert np.abs(found[:, 0] - expected).max() <= 1e-5 * y.std()


def test_what_is_said(command, model, tmp_path):
    outcome = command("export", model, tmp_path / "m.onnx")
    assert "prediction of 3 columns" in outcome.out
    assert "float64, NaN for a gap: a, b, c" in outcome.out


def test_another_suffix(refused, model, tmp_path):
    refused(r"give a name that ends in \.onnx", "export", model, tmp_path / "m.pkl")


def test_an_existing_file(command, refused, model, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    refused("exists already", "export", model, tmp_path / "m.onnx")
    assert command("export", model, tmp_path / "m.onnx", "--force").code == 0


def test_no_model(refused, tmp_path):
    refused("there is no such file", "export", tmp_path / "m", tmp_path / "m.onnx")
