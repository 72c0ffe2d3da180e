"""A model keeps how it read its cells, shows it, and applies it to every other table."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gdkernels as gd
from gdkernels.tables import parts

N = 240
OF_0_1 = Path(__file__).parents[1] / "compatibility" / "data" / "0_1"
QUICK = {"epochs": 3, "hidden": 4, "backend": "numpy", "test": 0.0}


def german(value):
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    amount = draw.uniform(500, 9000, N).round(2)
    return {
        "id": [str(9007199254740990 + k) for k in range(N)],
        "amount": [german(v) + " €" for v in amount],
        "day": [f"{1 + k % 12}/{1 + k % 11}/2024 {1 + k % 12}:30 pm" for k in range(N)],
        "flag": [["True", "False"][k % 2] for k in range(N)],
        "y": [german(v / 7) for v in amount],
    }


def write(path, rows, delimiter=";"):
    lines = [delimiter.join(rows), *map(delimiter.join, zip(*rows.values(), strict=True)), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def fitted(tmp_path, rows):
    predictor = gd.TabularPredictor("y", read={"day": "%m/%d/%Y %I:%M %p"}, **QUICK)
    predictor.fit(write(tmp_path / "t.csv", rows)).save(tmp_path / "m")
    return gd.load(tmp_path / "m", backend="numpy")


def test_the_model_keeps_how_it_read(fitted):
    found = {name: str(finding.reading) for name, finding in fitted.preparation_.findings.items()}
    assert found == {"amount": "1.234,5 €", "day": "%m/%d/%Y %I:%M %p", "flag": "true/false", "y": "1.234,5"}
    assert {c["name"]: c["kind"] for c in fitted.preparation_.describe()}["id"] == "dropped"


def test_other_files_are_read_in_the_same_way(fitted, tmp_path, rows):
    whole = fitted.predict(tmp_path / "t.csv")
    few = {name: cells[:3] for name, cells in rows.items()}
    np.testing.assert_allclose(fitted.predict(write(tmp_path / "few.csv", few, "|")), whole[:3], rtol=1e-5)
    one = few | {"amount": ["4.000 €", "4000,00 €", "4.000,0€"], "day": rows["day"][:1] * 3, "flag": ["true"] * 3}
    assert np.ptp(fitted.predict(write(tmp_path / "one.csv", one, "|"))) == 0
    with pytest.raises(
        gd.InputError, match=r"record 2 of .*'4.5 €' is not a number as .*\(1\.234,5 €\); .*train again"
    ):
        fitted.predict(write(tmp_path / "bad.csv", few | {"amount": ["1 €", "4.5 €", "2 €"]}, "|"))
    with pytest.raises(gd.InputError, match=r"'2024-01-01' is not a date like those .*train again"):
        fitted.predict(write(tmp_path / "bad.csv", few | {"day": ["2024-01-01"] * 3}, "|"))


def test_a_frame_is_read_in_the_same_way(fitted, tmp_path, rows):
    frame = pl.DataFrame(rows).with_columns(pl.col("flag") == "True")
    np.testing.assert_allclose(fitted.predict(frame), fitted.predict(tmp_path / "t.csv"), rtol=1e-6)
    frame.write_parquet(tmp_path / "t.parquet")
    np.testing.assert_allclose(fitted.predict(tmp_path / "t.parquet"), fitted.predict(tmp_path / "t.csv"), rtol=1e-6)


def test_evaluate_reads_the_target_so_too(fitted, tmp_path, rows):
    one = fitted.evaluate(tmp_path / "t.csv")
    few = write(tmp_path / "few.csv", {n: c[:1] for n, c in (rows | {"y": ["1.000"]}).items()})
    assert one.metrics["rmse"] > 0
    assert abs(fitted.evaluate(few).truth[0] - 1000) < 1e-9


def test_larger_than_memory_is_read_as_in_memory(tmp_path, rows):
    path = write(tmp_path / "t.csv", rows)
    settings = QUICK | {"read": {"day": "%d/%m/%Y %I:%M %p"}, "numeric": ["amount"], "test": 0.2}
    one, other = (gd.TabularPredictor("y", memory=memory, **settings).fit(path) for memory in (None, "100KB"))
    assert one.preparation_.findings == other.preparation_.findings
    with pytest.raises(gd.InputError, match="'day': .* may be more than one day.*read="):
        gd.TabularPredictor("y", memory="100KB", **QUICK).fit(path)


def test_what_a_mask_hides_is_a_gap():
    hidden = np.ma.masked_greater(np.arange(40.0) % 9, 6)
    (column,) = gd.TabularPredictor("y").describe({"a": hidden, "y": np.arange(40.0)})["columns"]
    assert (column["gaps"], column["such_as"]) == (8, [0.0, 6.0])


def test_days_that_may_be_times_are_asked_for():
    table = {"day": [f"0{k % 9 + 1}.0{k % 5 + 1}.20" for k in range(40)], "y": list(range(40))}
    with pytest.raises(gd.InputError, match="may be a day or a time of day.*%H.%M.%S.*%d.%m.%y"):
        gd.TabularPredictor("y").describe(table)
    times = {"day": [f"0{k % 9 + 1}.{k % 5 + 10}.20" for k in range(40)], "y": list(range(40))}
    (column,) = gd.TabularPredictor("y").describe(times)["columns"]
    assert column["read"] == "%H.%M.%S"


def test_all_columns_that_cannot_be_read_are_named_at_once(tmp_path, rows):
    rows["amount"][7] = "TBD"
    path = write(tmp_path / "t.csv", rows)
    for memory in (None, "100KB"):
        with pytest.raises(gd.InputError, match=r"2 columns cannot be read .*record 8 of .*'TBD'.*'day'"):
            gd.TabularPredictor("y", memory=memory, **QUICK).fit(path)
        done = gd.TabularPredictor("y", memory=memory, missing="TBD", ignore="day", **QUICK).fit(path)
        assert done.preparation_.findings["amount"].reading.is_gap("TBD")


def test_a_model_of_0_1_reads_plain_numbers_and_refuses_others(tmp_path):
    model = gd.load(OF_0_1 / "price.safetensors", backend="numpy")
    kinds = {c.name: c for c in model.preparation_.columns}
    number = next(name for name, kind in kinds.items() if kind.kind == "number")
    assert kinds[number].reading.format == "1234.5"
    header, first, *_ = (OF_0_1 / "houses.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    plain = model.predict(write(tmp_path / "t.csv", {name: [cell] for name, cell in cells.items()}))
    assert np.isfinite(plain).all()
    with pytest.raises(gd.InputError, match=rf"{number}.*'1,234' is not a number; .*or train again"):
        model.predict(write(tmp_path / "t.csv", {name: [cell] for name, cell in (cells | {number: "1,234"}).items()}))


def test_kept_cells_come_back_as_they_were(fitted, tmp_path, rows, capsys):
    from gdkernels.cli import main

    path = write(tmp_path / "few.csv", {name: cells[:3] for name, cells in rows.items()})
    keep = ["--keep", "id", "--keep", "amount", "--backend", "numpy"]
    assert main(["predict", str(tmp_path / "m"), str(path), *keep]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f'{rows["id"][0]},"{rows["amount"][0]}",')
    frame = pl.DataFrame(rows).with_columns(pl.col("id").cast(pl.Int64))
    frame.write_parquet(tmp_path / "t.parquet")
    out = tmp_path / "p.parquet"
    assert main(["predict", str(tmp_path / "m"), str(tmp_path / "t.parquet"), *keep, "--out", str(out)]) == 0
    written = pl.read_parquet(out)
    assert written["id"].dtype == pl.Int64
    assert written["id"].to_list() == frame["id"].to_list()
    assert written["amount"].to_list() == rows["amount"]


def test_labels_keep_their_spelling(tmp_path):
    names = ["1.10", "1.1", "1E5", "100000", "9007199254740993", "9007199254740992"]
    rows = {"x": [str(k % 17) for k in range(N)], "y": [names[k % 6] for k in range(N)]}
    predictor = gd.TabularPredictor("y", task="classification", **QUICK).fit(write(tmp_path / "t.csv", rows))
    assert predictor.classes_.tolist() == sorted(names)
    assert set(predictor.predict(tmp_path / "t.csv")) <= set(names)
    assert predictor.evaluate(tmp_path / "t.csv").records == N


def test_truth_values_are_classes_in_every_format(tmp_path):
    rows = {"x": [str(k % 17) for k in range(N)], "y": [["True", "False"][k % 17 > 8] for k in range(N)]}
    predictor = gd.TabularPredictor("y", **QUICK).fit(write(tmp_path / "t.csv", rows))
    assert predictor.classes_.tolist() == ["False", "True"]
    frame = pl.DataFrame(rows).with_columns(pl.col("y") == "True", pl.col("x").cast(pl.Int64))
    assert predictor.evaluate(frame).metrics == predictor.evaluate(tmp_path / "t.csv").metrics


def test_a_value_far_from_the_others_is_pointed_out(tmp_path):
    cells = [str(-200 if k % 9 == 0 else k % 40) for k in range(N)]
    path = write(
        tmp_path / "t.csv", {"x": cells, "z": [str(k % 40) for k in range(N)], "y": [str(k) for k in range(N)]}
    )
    told = gd.TabularPredictor("y").describe(path)["columns"]
    assert "-200 is in 27 records, far from the others: if it means a gap, say missing=['-200']" in told[0]["why"]
    assert told[1]["why"] == ""
    told = gd.TabularPredictor("y", missing="-200").describe(path)["columns"]
    assert (told[0]["gaps"], told[0]["such_as"]) == (27, [0, 39])


@pytest.mark.parametrize("words", ["1,2", "DD/MM", "%Q", ""])
def test_a_format_that_is_none(words):
    with pytest.raises(gd.InputError, match="is no format; give numbers as the example"):
        gd.TabularPredictor("y", read={"x": words}).fit({"x": [1], "y": [2]})


def test_a_column_that_is_not_there(tmp_path, rows):
    with pytest.raises(gd.InputError, match="no column 'amonut'"):
        gd.TabularPredictor("y", read={"amonut": "1234,5"}, ignore="day", **QUICK).fit(write(tmp_path / "t.csv", rows))


def test_parts_of_a_file_agree_without_a_model(tmp_path, rows):
    found = [part.columns["amount"] for part in parts(write(tmp_path / "t.csv", rows), 100)]
    assert [len(part) for part in found] == [100, 100, 40]
    assert len({part.finding.reading for part in found}) == 1


def test_while_training_nobody_is_told_to_train_again():
    with pytest.raises(gd.InputError, match=r"'v': 'blue' is not a number; correct or remove it$"):
        gd.TabularPredictor("y", numeric="v", **QUICK).fit({"v": ["blue", "red"] * 30, "y": np.arange(60.0)})


@pytest.mark.parametrize("keyword", ["ignore", "categorical"])
def test_a_name_that_is_wrong_costs_no_reading(tmp_path, rows, keyword, monkeypatch):
    monkeypatch.setattr(
        "gdkernels.tabular.in_parts.surveying.findings_in", lambda *_, **__: pytest.fail("all of it was read")
    )
    with pytest.raises(gd.InputError, match="no column 'flga'. Did you mean 'flag'"):
        gd.TabularPredictor("y", memory="100KB", **{keyword: "flga"}, **QUICK).fit(write(tmp_path / "t.csv", rows))
