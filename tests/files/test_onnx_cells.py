"""A raw cell means the same to `predict` and to the ONNX model that is made of it, however odd it is."""

import itertools
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdkernels as gd
from gdkernels.tables import Preparation
from gdkernels.tables.column.values import text_column
from gdkernels.tables.table.table import Table
from gdkernels.tabular.model.prediction import PreparedNetwork

N = 120
LEVELS = ["red", "dark blue", "3", "1.10", "a.b", "(x|y)*", "q\\d", "Ärger", "x\ny", "None"]
ODD = [
    *LEVELS,
    "",
    "NA",
    "nan",
    "?",
    "none",
    "Red",
    "3.0",
    "3.00",
    "1.1",
    "1.100",
    "1.10.0",
    "a+b",
    "axb",
    "x|y",
    "gone",
]
AROUND = ["", " ", "\t", "\u00a0", "\u3000", " \n"]


def model_of(columns, tmp_path, **options):
    """Return a network on one column beside a number, and a session of its ONNX model."""
    table = Table.of(columns | {"z": np.linspace(-1, 1, N), "y": np.sin(np.arange(N))})
    preparation = Preparation.fit(table, "y", **options)
    network = gd.MLP([len(preparation.features), 4, 1], seed=0, backend="numpy", precision="float64")
    network.fit(preparation.transform(table), preparation.transform_targets(table), epochs=3)
    predictor = PreparedNetwork(network, preparation)
    network.extra = {"preparation": preparation.to_json()}
    path = tmp_path / "m.onnx"
    from gdkernels.interchange.onnx import write_onnx

    write_onnx(network.network, path, preparation=preparation, overwrite=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return predictor, session


def both(predictor, session, name, cells, raw):
    """Return what the two predict of the same cells."""
    z = np.zeros(len(cells))
    own = predictor.predict(Table({name: cells, "z": z})).values
    found = session.run(["prediction"], {name: raw, "z": z[:, None]})[0][:, 0]
    return own, found


@pytest.mark.parametrize("missing", [(), ("gone", "a.b")])
def test_every_odd_text(tmp_path, missing):
    values = [LEVELS[k % len(LEVELS)] for k in range(N)]
    values[-6:] = [None] * 6
    predictor, session = model_of({"v": values}, tmp_path, categorical=["v"], missing=missing)
    cells = [before + text + after for text, before, after in itertools.product(ODD, AROUND, AROUND)]
    own, found = both(predictor, session, "v", text_column(cells), np.array(cells, object)[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)
    assert len(set(own.round(9))) > len(LEVELS) - 1  # all of this tells something apart


@settings(max_examples=40)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=50))
def test_any_text(shared, cells):
    predictor, session = shared
    cells = [cell.replace("\0", " ") for cell in cells]
    own, found = both(predictor, session, "v", text_column(cells), np.array(cells, object)[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    values = [LEVELS[k % len(LEVELS)] for k in range(N)]
    return model_of({"v": values}, tmp_path_factory.mktemp("onnx"), categorical=["v"])


def test_truth_values(tmp_path):
    predictor, session = model_of({"v": [["True", "False", ""][k % 3] for k in range(N)]}, tmp_path)
    cells = ["True", "true", "FALSE", " false ", "tRuE", "yes", "", "NA"]
    own, found = both(predictor, session, "v", text_column(cells), np.array(cells, object)[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)
    assert own[0] == own[1] == own[4] != own[2] == own[3]


def test_numbers_and_what_stands_for_none(tmp_path):
    values = np.where(np.arange(N) % 5 == 0, -200.0, np.arange(N) % 17 * 1.5)
    predictor, session = model_of({"v": values}, tmp_path, missing=["-200", "1e3"])
    cells = np.array([-200.0, 1000.0, np.nan, 0.0, -0.0, 3.5, 1e-300, -1e300])
    own, found = both(predictor, session, "v", cells, cells[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)
    assert own[0] == own[1] == own[2] != own[3]


def test_a_unit_is_no_matter_of_the_number(tmp_path):
    predictor, session = model_of({"v": [f"{k % 23},5 km" for k in range(N)]}, tmp_path)
    column = text_column(["7,5 km", "22,5km", "n/a"])
    own, found = both(predictor, session, "v", column, np.array([[7.5], [22.5], [np.nan]]))
    np.testing.assert_allclose(found, own, rtol=1e-9)


def test_dates(tmp_path):
    predictor, session = model_of({"v": [f"{1 + k % 28}/{1 + k % 12}/2020" for k in range(N)]}, tmp_path)
    cells = ["29/2/2020", " 1/1/1970 ", "31/12/1969", "unknown", "-"]
    seconds = [np.datetime64(day, "s") for day in ("2020-02-29", "1970-01-01", "1969-12-31", "NaT", "NaT")]
    own, found = both(predictor, session, "v", text_column(cells), np.array(seconds).view(np.int64)[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)


def test_times(tmp_path):
    predictor, session = model_of({"v": [f"{k % 24:02}:{k % 60:02}" for k in range(N)]}, tmp_path)
    assert [f for f in predictor.preparation.features if "sine" in f][:2] == ["v day sine", "v day cosine"]
    seconds = np.array([0, 3600 * 13 + 60 * 7, 86_340, np.iinfo(np.int64).min])
    own, found = both(predictor, session, "v", text_column(["00:00", "13:07", "23:59", "?"]), seconds[:, None])
    np.testing.assert_allclose(found, own, rtol=1e-9)


def test_the_test_would_notice(tmp_path, monkeypatch):
    """A rule that only one of the two knows is seen."""
    values = [LEVELS[k % len(LEVELS)] for k in range(N)]
    predictor, session = model_of({"v": values}, tmp_path, categorical=["v"])
    (kind, *others) = predictor.preparation.columns
    other = replace(predictor.preparation, columns=(replace(kind, levels=("red ", *kind.levels[1:])), *others))
    cells = ["red", "None", "dark blue", kind.levels[0]]
    changed = PreparedNetwork(predictor.network, other)
    own, found = both(changed, session, "v", text_column(cells), np.array(cells, object)[:, None])
    assert not np.allclose(own, found, rtol=1e-9)
