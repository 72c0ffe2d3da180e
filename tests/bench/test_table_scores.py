"""The study of scores on raw tables: what it says of scores, and that it keeps them."""

import csv
import json
import math

import numpy as np
import pytest

from benchmarks.table_scores.__main__ import main
from benchmarks.table_scores.document import table_of_scores
from benchmarks.table_scores.scores import Score, difference, mean_ranks, scored
from benchmarks.table_scores.sources import sources
from benchmarks.table_scores.splits import WholeTable

pytest.importorskip("sklearn")


def score(table, seed, participant, value, figure="R²"):
    return Score(table, seed, participant, figure, value, None, 1.0)


def test_differences_are_paired_and_turned_so_that_more_is_better():
    r2 = [
        score("a", k, who, value)
        for k, pair in enumerate([(0.5, 0.4), (0.7, 0.4)])
        for who, value in zip("xy", pair, strict=True)
    ]
    mean, error, splits = difference(r2, "x", "y")
    assert (round(mean, 6), round(error, 6), splits) == (0.2, 0.1, 2)
    losses = [
        score("a", 0, "x", 0.5, "log loss"),
        score("a", 0, "y", 0.4, "log loss"),
        score("a", 1, "x", 0.4, "log loss"),
    ]
    mean, error, splits = difference(losses, "x", "y")
    assert (round(mean, 6), splits) == (-0.1, 1)
    assert math.isnan(error)
    assert difference(losses, "x", "z")[2] == 0


def test_ranks_are_means_over_tables_with_halves_for_ties():
    scores = [
        score(table, 0, who, v)
        for table, values in (("a", (1, 2, 2)), ("b", (3, 2, 1)))
        for who, v in zip("xyz", values, strict=True)
    ]
    assert mean_ranks(scores, "xyz") == {"x": 2.0, "y": 1.75, "z": 2.25}
    assert mean_ranks(scores, "xw") == {}


def test_probabilities_are_scored_by_their_labels_and_unknown_classes_count_as_sure_errors():
    found = scored(np.array([[0.9, 0.1], [0.2, 0.8]]), ("b", "a"), np.array(["b", "c"]))
    assert found["accuracy"] == 0.5
    assert found["value"] == pytest.approx(-(np.log(0.9) + np.log(1e-6)) / 2, rel=1e-3)
    assert scored(np.array([1.0, 2.0]), None, np.array([1.0, 2.0])) == {"figure": "R²", "value": 1.0, "accuracy": None}


def test_a_split_has_the_same_rows_as_lines_and_as_arrays():
    source = next(one for one in sources(None) if one.name == "penguins, mass")
    whole = WholeTable(source)
    split = whole.split(1)
    assert len(split.lines.records) == len(split.y) == len(split.x) == 342  # two have no mass
    assert sorted([*split.train, *split.test]) == list(range(342))
    assert not np.array_equal(split.test, whole.split(2).test)
    (cells,) = csv.reader([split.lines.records[split.test[0]]])
    assert cells[12] == f"{split.y[split.test[0]]:g}"
    assert split.text.count(False) == split.x.shape[1] - split.text.count(True) > 5


def test_scores_are_kept_and_written_as_a_table(tmp_path, capsys):
    path = tmp_path / "scores.json"
    arguments = ["--json", str(path), "--tables", "iris", "--splits", "1", "--participants"]
    assert main([*arguments, "linear"]) == 0
    first = path.read_text()
    assert main([*arguments, "linear", "HGB"]) == 0
    assert {"table": "iris", "participant": "HGB"}.items() <= json.loads(path.read_text())["scores"][0].items()
    assert json.loads(first)["scores"][0] in json.loads(path.read_text())["scores"]
    assert "mean rank of HGB" in capsys.readouterr().out
    lines = table_of_scores(json.loads(path.read_text())).splitlines()
    assert lines[0].startswith("| **the tables of the goal** | splits | figure | HGB | linear |")
    assert len({line.count("|") for line in lines}) == 1
