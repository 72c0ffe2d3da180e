"""Figures that do not flatter: baselines, rare classes, calibration, leakage, importance, and drift of new records."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.metrics.reliability import Reliability
from gdkernels.tables import Preparation
from gdkernels.tabular.evaluating.leakage import leaks
from gdkernels.tabular.evaluating.remarks import small_classes

QUICK = {"epochs": 30, "hidden": 16, "backend": "numpy"}
N = 300


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.fixture
def table(draw):
    """Return a table of two numbers and a name, with a rare class and a number to predict."""
    a, b, name = draw.normal(size=N), draw.normal(size=N), draw.choice(["x", "y", "z"], N)
    y = a + (name == "x") + 0.3 * draw.normal(size=N)
    return {"a": a.tolist(), "b": b.tolist(), "name": name.tolist(), "y": y.tolist(),
            "rare": np.where(y > 1.6, "yes", "no").tolist()}  # fmt: skip


def of_classes(table, **more):
    return gd.TabularPredictor("rare", ignore="y", **QUICK | more).fit(table)


# ---- beside the figures


def test_figures_of_classes_are_scikit_learns(table):
    predictor = of_classes(table, epochs=150)
    found, p = predictor.evaluate(table), predictor.predict_proba(table)
    true = np.array(table["rare"]) == "yes"
    assert found.metrics["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(table["rare"], predictor.predict(table))
    )
    assert found.metrics["brier"] == pytest.approx(brier_score_loss(true, p[:, 1]))
    share = true.mean()
    constant = np.full(N, share)
    assert found.baseline == pytest.approx(
        {
            "accuracy": 1 - share,
            "log_loss": log_loss(true, constant),
            "balanced_accuracy": 0.5,
            "brier": brier_score_loss(true, constant),
        }
    )
    lines = found.lines()
    assert lines["baseline"].endswith("always the most frequent class")
    assert lines["uneven"].startswith("recall of the rarest class yes 0.")
    assert "in 10 bins" in lines["brier"]
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


def test_figures_of_numbers(table):
    found = gd.TabularPredictor("y", ignore="rare", **QUICK).fit(table).evaluate(table)
    y = np.array(table["y"])
    assert found.baseline == pytest.approx({"r2": 0, "rmse": y.std(), "mae": np.abs(y - y.mean()).mean()})
    assert found.lines() == {"baseline": f"r2 0, rmse {y.std():.4g}, mae {found.baseline['mae']:.4g}: always the mean"}
    assert found.calibration is None


def test_three_classes(draw):
    p, truth = draw.dirichlet(np.ones(3), 500), draw.integers(0, 3, 500)
    found = Reliability()
    found.add(truth[:200], p[:200])
    found.add(truth[200:], p[200:])
    assert found.brier == pytest.approx(np.mean(np.sum((p - np.eye(3)[truth]) ** 2, axis=1)))


def test_right_probabilities_are_off_by_chance_alone(draw):
    p = draw.uniform(size=20_000)
    truth = (draw.uniform(size=len(p)) < p).astype(np.int64)
    right, bold = Reliability(), Reliability()
    right.add(truth, np.column_stack([1 - p, p]))
    sharp = p**3 / (p**3 + (1 - p) ** 3)
    bold.add(truth, np.column_stack([1 - sharp, sharp]))
    assert right.error == pytest.approx(right.by_chance, abs=0.005)
    assert bold.error > 10 * bold.by_chance
    bins = bold.bins()
    assert sum(told["records"] for told in bins) == len(p)
    assert all(told["from"] <= told["probability"] <= told["to"] for told in bins)
    assert all(told["right"] < told["probability"] for told in bins if told["from"] >= 0.6)
    assert np.isnan(Reliability().error)


def test_a_model_that_tells_nothing_is_called_so(table, draw):
    noise = {**table, "y": draw.normal(size=N).tolist()}
    remarks = (
        gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 200, "patience": 0, "l2": 0, "hidden": 64})
        .fit(noise)
        .result_.remarks
    )
    assert any("the mean would be as good an answer" in remark for remark in remarks)


def test_weighted_classes_are_not_judged_by_their_probabilities(table):
    remarks = gd.TabularPredictor("rare", ignore="y", class_weight="balanced", **QUICK).fit(table).result_.remarks
    assert any("the probabilities are those of classes of one size" in remark for remark in remarks)
    assert not any("as good an answer" in remark for remark in remarks)


def test_few_whole_numbers_are_classes_with_a_word(table):
    counts = {**table, "y": [k % 5 for k in range(N)]}
    predictor = gd.TabularPredictor("y", **QUICK | {"epochs": 1})
    (remark,) = (r for r in predictor.fit(counts).result_.remarks if "was read as" in r)
    assert remark == ("'y' was read as 5 classes, as it holds few whole numbers; say task='regression' if they are "
                      "numbers")  # fmt: skip
    assert remark in predictor.describe(counts)["remarks"]
    said = gd.TabularPredictor("y", task="classification", **QUICK | {"epochs": 1}).fit(counts)
    assert not any("was read as" in r for r in said.result_.remarks)


# ---- leakage


def found_leaks(table, target="y"):
    table = gd.tables.read(table)
    return leaks(table, gd.tables.Preparation.fit(table, target), np.arange(len(table)))


def test_a_column_that_gives_the_target_away(table):
    y = np.array(table["y"])
    (said,) = found_leaks({"a": table["a"], "after": np.exp(y).tolist(), "y": y.tolist()})
    assert said.startswith("'after' gives the target almost alone (R² 0.98")
    assert said.endswith("say ignore=['after']")
    (said,) = found_leaks({"a": table["a"], "code": ["A" if v == "yes" else "B" for v in table["rare"]],
                           "rare": table["rare"]}, "rare")  # fmt: skip
    assert said.startswith("'code' gives the target almost alone (share of the errors")


def test_two_columns_that_add_up_to_the_target(draw):
    casual, registered = draw.gamma(2, 50, N).round(), draw.gamma(3, 60, N).round()
    others = {f"n{k}": draw.normal(size=N).tolist() for k in range(20)}
    table = {**others, "casual": casual.tolist(), "registered": registered.tolist()}
    (said,) = found_leaks({**table, "y": (casual + registered).tolist()})
    assert "give the target almost alone, as 1 × 'registered' + 1 × 'casual' (R² 1)" in said.replace(
        "1 × 'casual' + 1 × 'registered'", "1 × 'registered' + 1 × 'casual'"
    )
    assert found_leaks({**table, "y": (casual + registered + draw.normal(size=N) * 20).tolist()}) == []


def test_two_columns_whose_product_is_the_target(draw):
    count, unit = draw.integers(1, 9, N), draw.gamma(3, 60, N)
    table = {"count": count.tolist(), "unit": unit.tolist(), "other": draw.gamma(3, 60, N).tolist()}
    (said,) = found_leaks({**table, "y": (1.19 * count * unit).tolist()})
    assert said.startswith("'count' and 'unit' give the target almost alone, as 1.19 × 'count' × 'unit' (R² 1)")
    assert found_leaks({**table, "y": (count * unit * np.exp(draw.normal(size=N))).tolist()}) == []


def test_what_predicts_well_is_no_leak(table):
    assert (
        found_leaks(table | {"y": (np.array(table["a"]) * 2 + np.array(table["b"])).tolist()} | {"rare": ["a"] * N})
        != []
    )
    assert found_leaks({k: v for k, v in table.items() if k != "rare"}) == []
    assert found_leaks("penguins", None) == []


# ---- importance


def test_importance(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    predictor = gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 100}).fit(table)
    plain = predictor.evaluate(table)
    found = predictor.evaluate(table, importance=True)
    assert found.metrics == plain.metrics
    assert plain.importance is None
    told = found["importance"]
    assert (told["figure"], told["records"]) == ("r2", N)
    by_name = {column["column"]: column for column in told["columns"]}
    assert [column["column"] for column in told["columns"]][-1] == "b"
    assert by_name["a"]["importance"] > 10 * by_name["a"]["standard_error"] > 0
    assert abs(by_name["b"]["importance"]) < 0.05
    # Dealing out a column by hand gives the same, to chance.
    shuffled = {**table, "a": np.random.default_rng(1).permutation(table["a"]).tolist()}
    drop = plain.metrics["r2"] - predictor.evaluate(shuffled).metrics["r2"]
    assert by_name["a"]["importance"] == pytest.approx(drop, abs=4 * by_name["a"]["standard_error"])
    predictor.save(tmp_path / "m.safetensors")
    (tmp_path / "t.csv").write_text(
        "\n".join(["a,b,name,y", *(",".join(map(str, row)) for row in zip(*list(table.values())[:4], strict=True)), ""])
    )
    command = ["evaluate", str(tmp_path / "m.safetensors"), str(tmp_path / "t.csv"), "--importance"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["importance"] == told
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "importance: drop of r2 when a column is shuffled among 300 records, ± standard error:" in out
    assert f"  a     {by_name['a']['importance']:>8.4f} ± {by_name['a']['standard_error']:.4f}" in out


def test_importance_of_classes_is_of_the_log_loss(table, monkeypatch):
    monkeypatch.setattr("gdkernels.tabular.evaluating.evaluation.IMPORTANCE_ROWS", 100)
    told = of_classes(table).evaluate(table, importance=True)["importance"]
    assert (told["figure"], told["records"]) == ("log_loss", 100)
    assert told["columns"][0]["column"] == "a"


def test_a_target_that_is_always_the_same_has_an_importance_and_no_r2(table):
    predictor = gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 5}).fit(table)
    found = predictor.evaluate({**table, "y": [1e3] * N}, importance=True)
    assert found.lines()["constant"].startswith("the target is the same in all records, which has no R²")
    assert found["importance"]["figure"] == "mse"
    outside = (predictor.predict({**table, "a": table["a"][::-1]}) - 1e3) ** 2 - (predictor.predict(table) - 1e3) ** 2
    told = {column["column"]: column for column in found["importance"]["columns"]}["a"]
    assert told["importance"] == pytest.approx(outside.mean(), abs=4 * told["standard_error"])
    assert "constant" not in predictor.evaluate(table).lines()


# ---- drift


def test_names_that_training_never_saw_are_said_once(table):
    predictor = gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 1}).fit(table)
    new = {name: column[:3] for name, column in table.items()} | {"name": ["u", None, "v"]}
    with pytest.warns(UserWarning, match="column 'name': none of the 2 names in it was in training") as caught:
        predictor.predict(new)
    assert caught[0].filename == __file__
    predictor.predict(new)
    again = gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 1}).fit(table)
    for known in (["u", "v", "x"], [None] * 3):
        again.predict(new | {"name": known})
    often = table | {"name": [f"u{k}" if k % 2 else "x" for k in range(N)]}  # half of them are always new
    rare = gd.TabularPredictor("y", ignore="rare", **QUICK | {"epochs": 1}).fit(often)
    rare.predict(new | {"name": ["u", None, "v"]})
    with pytest.warns(UserWarning, match="none of the 300 names"):
        rare.predict(table | {"name": ["v"] * N})


def test_new_records_are_compared_with_those_of_training(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    dated = {**table, "day": [f"2024-01-{1 + k % 28:02}" for k in range(N)]}
    predictor = gd.TabularPredictor("y", ignore="rare", test=0, **QUICK | {"epochs": 1}).fit(dated)
    assert all(told["out_of_range"] == told["unseen"] == told["missing"] == 0 for told in predictor.drift(dated))
    new = {"a": [0.0, 99.0, None, 0.0], "b": [0.0] * 4, "name": ["x", "w", "q", None],
           "day": ["2024-01-05", "2025-01-01", "2023-01-01", "2024-01-06"]}  # fmt: skip
    found = {told["column"]: told for told in predictor.drift(new)}
    shares = {name: (told["out_of_range"], told["unseen"], told["missing"]) for name, told in found.items()}
    assert shares == {"a": (0.25, 0, 0.25), "b": (0, 0, 0), "name": (0, 0.5, 0.25), "day": (0.5, 0, 0)}
    assert found["a"]["trained"]["high"] == max(table["a"])
    predictor.save(tmp_path / "m.safetensors")
    assert gd.load(tmp_path / "m.safetensors").drift(new) == predictor.drift(new)
    rows = zip(*new.values(), strict=True)
    lines = ["a,b,name,day", *(",".join("" if v is None else str(v) for v in row) for row in rows), ""]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    command = ["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "new.csv")]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 5
    assert captured.err.splitlines()[-1] == (
        "gdkernels: column 'day': 50.0% out of the range of training, 2024-01-01 to 2024-01-28, and extrapolated"
    )
    assert "gdkernels: column 'name': 50.0% unseen (0.0% in training), 25.0% missing (0.0% in training)" in captured.err
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"] == predictor.drift(new)
    assert main([*command, "--json", "--out", str(tmp_path / "p.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["columns"] == predictor.drift(new)


def test_a_file_with_damaged_profiles_is_refused(table, tmp_path):
    predictor = of_classes(table, epochs=1)
    predictor.network.extra["profiles"][0]["low"] = "none"
    predictor.save(tmp_path / "m.safetensors")
    with pytest.raises(gd.FileError, match="what it keeps as its profiles makes no sense"):
        gd.load(tmp_path / "m.safetensors")


def test_a_column_of_numbers_that_is_read_as_text_is_noted(table):
    mixed = {**table, "share": [f"{k % 7}.5{'%' * (k % 2)}" for k in range(N)]}
    said = "column 'share' is read as text: 50% of the cells are numbers"
    assert any(r.startswith(said) for r in gd.TabularPredictor("y", **QUICK | {"epochs": 1}).fit(mixed).result_.remarks)
    rare = {**table, "spent": [f"{k}h {k % 60}m" for k in range(N // 2)] * 2}
    said = "column 'spent' is left out, as it is read as names that are all too rare to learn"
    assert any(r.startswith(said) for r in gd.TabularPredictor("y").describe(rare)["remarks"])
    own = {**table, "id": [f"N{k // 2 * (k % 3 > 0) + k}" for k in range(N)]}
    assert not any("'id'" in r for r in gd.TabularPredictor("y").describe(own)["remarks"])
    losses = {**table, "gain": [f"({k}.5)" if k % 3 else f"{k}.5" for k in range(N)]}
    assert any("numbers in parentheses" in r for r in gd.TabularPredictor("y").describe(losses)["remarks"])
    named = gd.TabularPredictor("y", categorical="share", **QUICK | {"epochs": 1}).fit(mixed)
    assert not any("read as text" in r for r in named.result_.remarks)


@pytest.mark.parametrize("furthest", [-1e38, -1e39, -1e100, -1e200])
def test_describe_refuses_the_targets_that_training_refuses(furthest):
    y = [1.0, 2.0] * 20
    y[7] = furthest
    answers = []
    for seed in range(3):  # whether or not that row is kept from training
        predictor = gd.TabularPredictor("y", seed=seed, hidden=2, epochs=1, average=1, backend="numpy")
        for use in (predictor.describe, predictor.fit):
            try:
                use({"a": np.arange(40.0) % 7, "y": y})
                answers.append("")
            except gd.InputError as error:
                answers.append(str(error))
    assert len(set(answers)) == 1
    assert bool(answers[0]) == (furthest < -1e38)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("{0}-{1}", "cells such as '.*' may be numbers: write one plain number"),
        ("{0} ± 1", "may be numbers"),
        ("{2}. července 19{3}", "may be dates: write them as 2024-01-31"),
        ("A{0}", None),
        ("00{0}", None),
    ],
)
def test_what_is_left_out_and_looks_like_more_is_said(cell, said):
    table = {"v": [cell.format(k, k + 5, k % 28 + 1, k % 90 + 10) for k in range(60)], "a": np.arange(60.0) % 7}
    remarks = gd.TabularPredictor("y").describe(table | {"y": np.arange(60.0) ** 0.5})["remarks"]
    found = [remark for remark in remarks if remark.startswith("column 'v' is left out")]
    assert bool(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_names_that_differ_by_capitals_alone_are_said():
    table = {"v": ["yes", "no", "Yes"] * 20, "y": (np.arange(60.0) % 11) ** 0.5}
    remarks = gd.TabularPredictor("y").describe(table)["remarks"]
    assert [r for r in remarks if "'Yes' and 'yes' are taken for different names" in r]
    table["v"] = ["yes", "no", "maybe"] * 20
    assert not [r for r in gd.TabularPredictor("y").describe(table)["remarks"] if "different names" in r]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("month", [202001 + k % 12 + 100 * (k // 12) for k in range(40)], "months, such as 202304.*'%Y%m'"),
        ("month", [202001 + k % 3 for k in range(40)], None),
        ("area", [200101 + k % 30 for k in range(40)], None),
        ("created_at", [1.6e9 + k * k % 97 * 1e3 for k in range(40)], "seconds since 1970 .2020-09-13 to 2020-09-14"),
        ("created_at", [1.6e12 + k * k % 97 * 1e6 for k in range(40)], "milliseconds since 1970"),
        ("revenue", [1.6e9 + k * k % 97 * 1e3 for k in range(40)], None),
        ("date", [43831 + k * k % 97 for k in range(40)], "spreadsheets count them .2020-01-01 to 2020-04-06"),
        (
            "end",
            ["9999-12-31" if k == 3 else f"2020-01-{k % 28 + 1:02}" for k in range(40)],
            "1 date far .*'9999-12-31'",
        ),
        ("end", [f"2020-01-{k % 28 + 1:02}" for k in range(40)], None),
        ("d", [210130 + 100 * (k % 11) - k % 30 for k in range(40)], "dates, such as 2111.*'%y%m%d'"),
        (
            "d",
            [1012023 + 1_000_000 * (k % 28) + 10_000 * (k % 9) for k in range(40)],
            "may be dates, such as .*2023 .day, month, year",
        ),
        ("d", [13990101 + 100 * (k % 12) + k % 30 for k in range(40)], "a calendar of its own"),
        ("dep_time", [100 * (k % 24) + k * 7 % 60 for k in range(40)], "times of day, such as 23"),
        ("dose", [100 * (k % 24) + k * 7 % 60 for k in range(40)], None),
        ("d", [f"{k % 28 + 1:02}/0{k % 9 + 1}/25{60 + k % 7}" for k in range(40)], "years 2560 to 2566.*Buddhist"),
        ("d", [f"2020-01-{k % 28 + 1:02}T10:0{k % 9}{'Z' * (k % 2)}" for k in range(40)], "with a zone, such as .*UTC"),
        ("d", [f"20{k % 9:02}-{k % 9 + 1:02}" for k in range(9, 45)] * 2, "as months: .*'2000-01'.*categorical"),
        ("lap", [f"{k % 9}:{k * 7 % 60:02}" for k in range(40)], "as times of day: if they are durations"),
        ("version", [f"1.{k % 12}" for k in range(40)], "decimal numbers: if '1.11' and '1.3' are versions"),
        ("ratio", [f"1.{k % 12}" for k in range(40)], None),
        ("amount", [f"{'CD'[k % 2]}{k},{k * 7 % 90 + 10}" for k in range(40)], "left out, .*may be numbers"),
        ("when", [f"R{k % 6 + 1}.{k % 12 + 1}.{k % 28 + 1}" for k in range(40)], "left out, .*may be dates"),
        ("name", ["a\u200b" if k % 2 else "a" for k in range(40)], r"'a\\u200b' are taken .* though they look alike"),
    ],
)
def test_cells_that_may_mean_something_else_are_said(name, values, said):
    target = (np.arange(float(len(values))) % 11) ** 0.5
    remarks = gd.TabularPredictor("y").describe({name: values, "x": target[::-1], "y": target})["remarks"]
    found = [remark for remark in remarks if remark.startswith(f"column {name!r}")]
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_classes_of_one_or_two_records_are_said():
    classes = np.array(["a", "b"] * 30 + ["rare", "few", "few"])
    prepared = Preparation.fit({"x": np.arange(63.0) % 7, "y": classes.tolist()}, "y", task="classification")
    said = small_classes(prepared, prepared.transform_targets(gd.tables.Table.of({"y": classes.tolist()})))
    assert said == [
        "of these classes there are fewer than 3 records, too few to learn and to measure: 'few' (2), 'rare' (1); "
        "add some, or leave them out"
    ]
    assert not small_classes(Preparation.fit({"x": [1.0, 2, 4], "y": [1.0, 2, 3]}, "y", task="regression"), np.zeros(3))


def test_records_that_are_none_are_said():
    parts = [k * 1.25 for k in range(1, 30)]
    table = {"v": [*parts, sum(parts)], "kind": ["a", "b", "c"] * 9 + ["kind", "a", "b"], "y": [*parts, 7.0]}
    remarks = gd.TabularPredictor("y").describe(table)["remarks"]
    assert [r for r in remarks if r.startswith("the last record holds the sum of all others in 'v': if it is a total")]
    assert [r for r in remarks if r.startswith("record 28 has 'kind' in the column of that name: if it is a header")]
    table["v"][-1] += 1
    assert not [r for r in gd.TabularPredictor("y").describe(table)["remarks"] if "sum of all" in r]
