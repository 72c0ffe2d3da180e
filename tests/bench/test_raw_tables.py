"""The command that sets what `gdkernels train` reaches beside scikit-learn's MLP in a pipeline made by hand."""

import json

import numpy as np
import pytest

from benchmarks.raw_tables.__main__ import main
from benchmarks.raw_tables.pipeline import PIPELINES, pipeline, plain
from benchmarks.raw_tables.sources import raw_tables
from gdkernels.tables import Table
from gdkernels.tabular.settings import defaults

pytest.importorskip("sklearn")


def test_every_table_has_its_target_without_gaps_and_another_content_for_each_seed():
    for case in raw_tables(None):
        if not case.large:
            first, second = case.columns(0), case.columns(1)
            assert len({len(column) for column in first.values()}) == 1
            assert None not in first[case.target]
            assert set(case.left_out) < set(first)
            assert any(None in column for name, column in first.items() if name != case.target)
            assert first == second if case.name.startswith("penguins") else first != second


def test_a_table_is_scored_on_both_sides(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    # Who does better is the study's question, and takes it minutes; here both sides are trained in seconds.
    monkeypatch.setattr(defaults, "epochs", lambda records: 40)
    monkeypatch.setattr("gdkernels.tabular.networks.cross_validation.MOST_STEPS", 1)
    for settings in PIPELINES.values():
        for name, value in {"max_iter": 100, "learning_rate_init": 0.01}.items():
            monkeypatch.setitem(settings, name, value)
    assert main(["--tables", "species", "--seeds", "2", "--json", str(tmp_path / "found.json")]) == 0
    iris, penguins = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert (iris["table"], iris["records"], iris["score"], iris["seeds"]) == ("iris, species", 150, "accuracy", [0, 1])
    assert penguins["records"] == 344
    assert set(iris["scores"]) == {"gdkernels", "default", "early stopping"}
    assert min(iris["scores"]["default"] + iris["scores"]["gdkernels"] + penguins["scores"]["gdkernels"]) > 0.8
    assert capsys.readouterr().out.count("accuracy") == 2
    assert main(["--tables", "nine"]) == 2


def test_the_pipeline_takes_gaps_categories_and_a_logarithm():
    draw = np.random.default_rng(0)
    x = draw.normal(size=200)
    kinds = ["a" if v > 0 else None if v < -1 else "b" for v in draw.normal(size=200)]
    table = Table.of({"x": [None if v > 1.5 else v for v in x.tolist()], "kind": kinds})
    y = np.exp(3 * x)
    values = plain(table, ["x", "kind"])
    made = pipeline([False, True], classes=False, log=True, bounds=(y.min(), 10.0), seed=0).fit(values, y)
    predicted = made.predict(values)
    assert predicted.max() == 10.0
    inside = (y < 5) & (x < 1.5)
    assert np.corrcoef(np.log(predicted[inside]), 3 * x[inside])[0, 1] > 0.95
