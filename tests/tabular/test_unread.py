"""A column that holds neither numbers nor text is not read where you leave it out, and refused where it is used."""

import datetime
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gdkernels as gd

N = 60
TABLE = {"a": np.linspace(0, 1, N).tolist(), "b": ["p", "q"] * (N // 2), "y": (np.linspace(0, 1, N) ** 2).tolist()}
UNREAD = {
    "lists": [[1, 2]] * N,
    "ragged": [[0] * (k % 3) for k in range(N)],
    "dicts": [{"k": 1}] * N,
    "mixed": [1, "x", [2], None] * (N // 4),
    "bytes": [b"x"] * N,
    "objects": [object()] * N,
    "durations": [datetime.timedelta(1)] * N,
    "complex": [1j] * N,
}


def predictor(**keywords):
    settings = {"target": "y", "hidden": 2, "epochs": 1, "average": 1, "test": 0.0, "backend": "numpy"}
    return gd.TabularPredictor(**settings | keywords)


def frames(name):
    whole = TABLE | {name: UNREAD[name]}
    made = {"dict": whole, "pandas": pd.DataFrame(whole)}
    if name != "mixed":  # polars makes numbers of these, and pyarrow takes none of them
        made["polars"] = pl.DataFrame(whole)
        made |= {} if name in ("objects", "complex") else {"arrow": pa.table(whole)}
    return made.values()


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_left_out_is_not_read(name):
    plain = predictor().fit(TABLE)
    for frame in frames(name):
        found = predictor(ignore=name).fit(frame)
        assert found.predict(TABLE).tolist() == plain.predict(TABLE).tolist() == plain.predict(frame).tolist()
        told = {column["name"]: column["why"] for column in found.describe(frame)["columns"]}
        assert told[name].startswith("ignored, as asked for: it holds ")
        with pytest.raises(gd.InputError, match=rf"column '{name}' of the table holds .*ignore=\['{name}'\]"):
            predictor().fit(frame)


@pytest.mark.parametrize("name", ["ragged", "mixed"])
def test_it_is_refused_wherever_it_is_used(name):
    frame = pd.DataFrame(TABLE | {name: UNREAD[name]})
    uses = [
        *({"target": name}, {"target": name, "drop_missing": True}, {"target": name, "task": "classification"}),
        *({"split": f"group:{name}"}, {"split": f"time:{name}"}),
        *({"categorical": name}, {"numeric": name}, {"keep_columns": name}, {"read": {name: "text"}}),
    ]
    for use in uses:
        with pytest.raises(gd.InputError, match=f"column '{name}' of the table holds a value of type list in record"):
            predictor(**use).fit(frame)
    trained = predictor().fit(TABLE | {name: TABLE["a"]})
    for use in (trained.predict, trained.drift, lambda X: trained.evaluate(X)):
        with pytest.raises(gd.InputError, match=f"column '{name}' of the table holds a value .*the model needs"):
            use(frame)
    with pytest.raises(gd.InputError, match=r"column 'target' of the table holds .*predict another column"):
        predictor(target=None).fit(TABLE, UNREAD[name])


def test_of_a_file_too(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame(TABLE | {"lists": UNREAD["lists"], "dicts": UNREAD["dicts"]}).write_parquet(path)
    with pytest.raises(gd.InputError, match="holds List.*'dicts' of .* holds Struct.*ignore="):
        predictor().fit(path)
    ignored = predictor(ignore=["lists", "dicts"])
    assert ignored.fit(path).predict(path).tolist() == predictor().fit(TABLE).predict(TABLE).tolist()


def test_what_has_a_text_of_its_own_is_read():
    told = predictor().describe(TABLE | {"id": [uuid.UUID(int=k) for k in range(N)], "at": [datetime.time(9)] * N})
    assert [column["kind"] for column in told["columns"]] == ["number", "category", "dropped", "dropped"]
    assert "identifier" in told["columns"][2]["why"]
    times = pl.DataFrame(TABLE | {"t": [datetime.time(k % 24, 30) for k in range(N)]})
    assert {c["name"]: c["kind"] for c in predictor().describe(times)["columns"]}["t"] == "date"


def test_a_prediction_reads_no_column_that_it_does_not_need():
    trained = predictor().fit(TABLE)

    class Untouched(list):
        def __iter__(self):
            raise AssertionError("nobody needs it")

        __getitem__ = __array__ = __iter__

    few = {name: values[:3] for name, values in TABLE.items() if name != "y"}
    beside = few | {"more": Untouched([1, 2, 3])}
    assert trained.predict(beside).tolist() == trained.predict(TABLE)[:3].tolist()
    assert trained.predict(pd.DataFrame(few | {"more": [1, 2, 3]})).tolist() == trained.predict(few).tolist()
    with pytest.raises(gd.InputError, match=r"must have one length, not \[2, 3\]"):
        trained.predict(few | {"more": [1, 2]})
    with pytest.raises(gd.InputError, match="no column 'b'.*It has a, more"):
        trained.predict({"a": few["a"], "more": [1, 2, 3]})
