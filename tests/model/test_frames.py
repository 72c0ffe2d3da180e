"""Frames given to a network: columns go by name, whatever the library, its types and their order."""

import datetime
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gdkernels as gd

RNG = np.random.default_rng(0)
X = RNG.random((40, 3)).astype(np.float32)
Y = (X @ [1, 2, 3]).astype(np.float32)
NAMES = ["a", "b", "c"]


def frames(columns):
    """Return the frame of columns by name in each library."""
    columns = {name: np.ascontiguousarray(values) for name, values in columns.items()}
    return {
        "pandas": pd.DataFrame(columns),
        "polars": pl.DataFrame(columns),
        "lazy": pl.DataFrame(columns).lazy(),
        "table": pa.table(columns),
        "batch": pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()}),
    }


LIBRARIES = sorted(frames({"a": X[:, 0]}))


def in_order(names, values=X):
    return {name: values[:, NAMES.index(name)] for name in names}


def network(outputs=1, **more):
    return gd.MLP([3, 4, outputs], seed=0, backend="numpy", **more)


@pytest.fixture
def trained():
    """Return a network that was trained on a frame of a, b and c."""
    mlp = network()
    mlp.fit(pd.DataFrame(X, columns=NAMES), Y, epochs=3)
    return mlp


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_order_gives_the_same_predictions(library):
    mlp, plain = network(), network()
    mlp.fit(frames(in_order("abc"))[library], Y, epochs=3)
    plain.fit(X, Y, epochs=3)
    expected = plain.predict(X)
    more = in_order("cba") | {"more": np.zeros(len(X))}
    for frame in (frames(in_order("abc"))[library], frames(in_order("cba"))[library], frames(more)[library]):
        np.testing.assert_array_equal(mlp.predict(frame), expected)
    np.testing.assert_array_equal(mlp.predict(X), expected)  # arrays go by position, as ever
    assert mlp.loss(frames(in_order("bca"))[library], Y) == plain.loss(X, Y)
    np.testing.assert_array_equal(mlp.gradient(frames(in_order("bca"))[library], Y)[0].W, plain.gradient(X, Y)[0].W)


def test_probabilities_go_by_name_too():
    mlp = network(2)
    mlp.fit(pd.DataFrame(X, columns=NAMES), (Y > 3).astype(int), loss="cross_entropy", epochs=2)
    given = mlp.predict_proba(pd.DataFrame(in_order("cab")))
    np.testing.assert_array_equal(given, mlp.predict_proba(X))


def test_validation_and_later_fits_go_by_name():
    mlp, plain = network(), network()
    half = {"X": X[:20], "Y": Y[:20]}
    mlp.fit(pd.DataFrame(X, columns=NAMES), Y, validation=(pl.DataFrame(in_order("cab", X[:20])), half["Y"]), epochs=2)
    history = mlp.fit(
        pa.table(in_order("bca")), Y, epochs=2, validation=(pd.DataFrame(in_order("cab", X[:20])), half["Y"])
    )
    plain.fit(X, Y, validation=(X[:20], Y[:20]), epochs=2)
    expected = plain.fit(X, Y, validation=(X[:20], Y[:20]), epochs=2)
    assert history.validation_loss == expected.validation_loss
    with pytest.raises(gd.InputError, match="the validation X has no column 'b'"):
        mlp.fit(X, Y, validation=(pd.DataFrame(in_order("ac")), Y), epochs=1)


def test_batches_go_by_name():
    mlp, plain = network(), network()
    mlp.fit([(pd.DataFrame(in_order("abc")), Y), (pd.DataFrame(in_order("cba")), Y)], epochs=1)
    plain.fit([(X, Y), (X, Y)], epochs=1)
    np.testing.assert_array_equal(mlp.predict(pl.DataFrame(in_order("bac"))), plain.predict(X))


def test_targets_go_by_name_where_there_are_several():
    mlp, targets = network(2), {"u": Y, "v": -Y}
    mlp.fit(X, pd.DataFrame(targets), epochs=2)
    swapped = pd.DataFrame({"v": -Y, "u": Y})
    assert mlp.loss(X, swapped) == mlp.loss(X, np.column_stack([Y, -Y]))
    with pytest.raises(gd.InputError, match="Y lacks 2 of the 2 columns that the network was trained on: u, v"):
        mlp.loss(X, pd.DataFrame({"p": Y, "q": Y}))
    classes = network(2)
    classes.fit(X, pd.get_dummies(pd.Series(Y > 3)), loss="cross_entropy", epochs=2)
    one_column = pd.DataFrame({"class": (Y > 3).astype(int)})
    assert classes.loss(X, one_column) == classes.loss(X, (Y > 3).astype(int))


def test_missing_columns_are_named(trained):
    with pytest.raises(gd.InputError, match="X has no column 'b'. It has a, c"):
        trained.predict(pd.DataFrame(in_order("ac")))
    with pytest.raises(gd.InputError, match=r"X lacks 2 of the 3 columns .* trained on: a, b; it has c.*Pass an array"):
        trained.predict(pl.DataFrame(in_order("c")))


def test_the_names_are_kept_in_the_model_file(trained, tmp_path):
    trained.save(tmp_path / "m")
    loaded = gd.load(tmp_path / "m", backend="numpy")
    np.testing.assert_array_equal(loaded.predict(pa.table(in_order("cab"))), trained.predict(X))
    with pytest.raises(gd.InputError, match="X has no column 'a'"):
        loaded.predict(pd.DataFrame(in_order("bc")))


def test_a_network_of_arrays_keeps_no_names(tmp_path):
    mlp = network()
    mlp.fit(X, Y, epochs=1)
    mlp.save(tmp_path / "m")
    assert b'"columns"' not in (tmp_path / "m").read_bytes().replace(b"\\", b"")
    loaded = gd.load(tmp_path / "m", backend="numpy")
    loaded.predict(pd.DataFrame(X))
    np.testing.assert_array_equal(loaded.predict(pd.DataFrame(in_order("cba"))), mlp.predict(X[:, ::-1]))


@pytest.mark.parametrize("told", [{"inputs": ["a", "b"]}, {"inputs": ["a", "a", "b"]}, {"outputs": "abc"}, 5, [None]])
def test_garbled_names_are_refused(trained, tmp_path, told):
    from gdkernels.files import read_model, write_model

    trained.save(tmp_path / "m")
    tensors, metadata = read_model(tmp_path / "m")
    write_model(tmp_path / "bad", tensors, metadata | {"columns": told})
    with pytest.raises(gd.errors.FileError, match="bad is a gdkernels model, but its names of columns do not fit"):
        gd.load(tmp_path / "bad")


def test_a_fit_that_is_refused_teaches_no_names():
    mlp = network()
    with pytest.raises(gd.InputError, match="40 rows"):
        mlp.fit(pd.DataFrame(X, columns=["p", "q", "r"]), Y[:5], epochs=1)
    mlp.fit(pd.DataFrame(X, columns=NAMES), Y, epochs=1)
    mlp.predict(pd.DataFrame(in_order("cba")))


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(gd.InputError, match="two columns of X are named 'a'"):
        network().fit(pd.DataFrame(X, columns=["a", "b", "a"]), Y, epochs=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_preparation_takes_frames_too(library):
    columns = in_order("abc") | {"y": Y}
    expected = gd.tables.Preparation.fit(columns, "y", task="regression")
    made = gd.tables.Preparation.fit(frames(columns)[library], "y", task="regression")
    assert made.to_json() == expected.to_json()
    backwards = frames(dict(reversed(columns.items())))[library]
    np.testing.assert_array_equal(made.transform(backwards), expected.transform(columns))
    np.testing.assert_array_equal(made.transform_targets(backwards), expected.transform_targets(columns))


# ---- types

COUNTS = [1, 0, 3, 2]
TYPES = {
    "dummies": pd.get_dummies(pd.Series(["p", "q", "p", "r"])),
    "sparse": pd.get_dummies(pd.Series(["p", "q", "p", "r"]), sparse=True),
    "nullable": pd.DataFrame({"p": [True, False, True, False], "q": COUNTS, "r": [0.5, 1, 2, 3]}).convert_dtypes(),
    "pandas arrow": pd.DataFrame({"p": [True, False] * 2, "q": COUNTS, "r": [0.5, 1, 2, 3]}).convert_dtypes(
        dtype_backend="pyarrow"
    ),
    "objects": pd.DataFrame({"p": [True, 2, 3.5, Decimal("0.5")], "q": COUNTS, "r": COUNTS}, dtype=object),
    "category of numbers": pd.DataFrame({"p": pd.Categorical([3, 1, 3, 2]), "q": COUNTS, "r": COUNTS}),
    "polars": pl.DataFrame({"p": [True, False] * 2, "q": pl.Series(COUNTS, dtype=pl.UInt8), "r": [Decimal("1.5")] * 4}),
    "arrow": pa.table({"p": [True, False] * 2, "q": pa.array(COUNTS, pa.uint8()), "r": [Decimal("1.5")] * 4}),
    "arrow dictionary": pa.table({"p": pa.array(COUNTS).dictionary_encode(), "q": COUNTS, "r": COUNTS}),
}


def as_floats(frame):
    columns = frame.to_pydict() if isinstance(frame, pa.Table) else {n: frame[n].to_list() for n in frame.columns}
    return np.array(list(columns.values()), dtype=object).T.astype(float)


@pytest.mark.parametrize("kind", TYPES)
def test_whatever_is_a_number_is_one(kind):
    frame, expected = TYPES[kind], as_floats(TYPES[kind])
    mlp, plain = network(), network()
    mlp.fit(frame, Y[:4], epochs=2)
    plain.fit(expected, Y[:4], epochs=2)
    np.testing.assert_array_equal(mlp.predict(frame), plain.predict(expected))


@pytest.mark.parametrize(
    "targets",
    [
        pd.Series(COUNTS, dtype="Int64", name="y"),
        pd.Series(COUNTS, dtype="Float64"),
        pd.Series(COUNTS, dtype=object),
        pl.Series("y", COUNTS),
        pa.array(COUNTS),
        pa.chunked_array([COUNTS[:1], COUNTS[1:]]),
        pd.DataFrame({"y": pd.Series(COUNTS, dtype="Int64")}),
        pl.DataFrame({"y": COUNTS}),
    ],
)
def test_targets_and_weights_are_columns_too(targets):
    mlp, plain = network(), network()
    weights = pd.Series([1, 2, 3, 4], dtype="Int64")
    mlp.fit(X[:4], targets, epochs=2, sample_weight=weights)
    plain.fit(X[:4], np.array(COUNTS), epochs=2, sample_weight=np.array([1, 2, 3, 4]))
    np.testing.assert_array_equal(mlp.predict(X), plain.predict(X))


GAPS = {
    "Int64": pd.DataFrame({"p": COUNTS, "q": pd.array([1, 2, None, 4], "Int64"), "r": COUNTS}),
    "boolean": pd.DataFrame({"p": COUNTS, "q": pd.array([True, True, None, False], "boolean"), "r": COUNTS}),
    "Float64": pd.DataFrame({"p": COUNTS, "q": pd.array([1, 2, None, 4], "Float64"), "r": COUNTS}),
    "object": pd.DataFrame({"p": COUNTS, "q": pd.Series([1, 2, pd.NA, 4], dtype=object), "r": COUNTS}),
    "NaN": pd.DataFrame({"p": COUNTS, "q": [1, 2, np.nan, 4], "r": COUNTS}),
    "category": pd.DataFrame({"p": COUNTS, "q": pd.Categorical([1, 2, None, 4]), "r": COUNTS}),
    "polars": pl.DataFrame({"p": COUNTS, "q": [1, 2, None, 4], "r": COUNTS}),
    "arrow": pa.table({"p": COUNTS, "q": [True, False, None, True], "r": COUNTS}),
}


@pytest.mark.parametrize("kind", GAPS)
def test_a_gap_is_refused_with_its_record_and_column(kind):
    mlp = network()
    with pytest.raises(gd.InputError, match=r"X has no value in record 3, column 'q'; remove or fill them first"):
        mlp.fit(GAPS[kind], COUNTS, epochs=1)
    with pytest.raises(gd.InputError, match="X has no value in record 3, column 'q'"):
        mlp.predict(GAPS[kind])


def test_what_is_infinite_in_the_precision_is_refused_with_its_place():
    frame = pd.DataFrame({"p": COUNTS, "q": [1.0, 1e300, 1.0, 1.0], "r": pd.array(COUNTS, "Int64")})
    with pytest.raises(gd.InputError, match="X holds inf in record 2, column 'q'"):
        network().fit(frame, COUNTS, epochs=1)
    network(precision="float64").fit(frame, COUNTS, epochs=1)


def test_a_gap_among_targets_is_refused():
    with pytest.raises(gd.InputError, match="Y has no value in record 2, column 'y'"):
        network().fit(X[:4], pd.Series([1, None, 3, 4], dtype="Int64", name="y"), epochs=1)


DAYS = [datetime.date(2020, 1, 1)] * 4
OTHERS = {
    "text": pd.DataFrame({"p": COUNTS, "q": ["1", "2", "3", "4"], "r": COUNTS}),
    "objects": pd.DataFrame({"p": COUNTS, "q": pd.Series(["1", 2, 3, 4], dtype=object), "r": COUNTS}),
    "category": pd.DataFrame({"p": COUNTS, "q": pd.Categorical(["u", "v", "u", "v"]), "r": COUNTS}),
    "dates": pd.DataFrame({"p": COUNTS, "q": pd.to_datetime(["2020-01-01", None, "2020-01-02", None]), "r": COUNTS}),
    "durations": pd.DataFrame({"p": COUNTS, "q": pd.to_timedelta(COUNTS, unit="s"), "r": COUNTS}),
    "complex": pd.DataFrame({"p": COUNTS, "q": np.array(COUNTS, complex), "r": COUNTS}),
    "polars text": pl.DataFrame({"p": COUNTS, "q": ["1", "2", "3", "4"], "r": COUNTS}),
    "polars dates": pl.DataFrame({"p": COUNTS, "q": DAYS, "r": COUNTS}),
    "arrow text": pa.table({"p": COUNTS, "q": ["1", "2", "3", "4"], "r": COUNTS}),
    "arrow dates": pa.table({"p": COUNTS, "q": DAYS, "r": COUNTS}),
    "arrow lists": pa.table({"p": COUNTS, "q": [[1], [2], [3], [4]], "r": COUNTS}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_whatever_is_no_number_is_refused_with_its_column(kind):
    pattern = r"column 'q' of X holds .* values, not real numbers; encode .* first, or train gdkernels.TabularPredictor"
    for ask in (lambda f: network().fit(f, COUNTS, epochs=1), lambda f: network().predict(f)):
        with pytest.raises(gd.InputError, match=pattern) as caught:
            ask(OTHERS[kind])
        assert re.search("\n", str(caught.value)) is None


def test_the_precision_follows_the_columns():
    frame = pd.DataFrame({"a": X[:, 0].astype(np.float64), "b": pd.array(range(40), "Int64"), "c": [True] * 40})
    for given, wanted in (
        (frame, "float64"),
        (frame.astype({"a": np.float32}), "float32"),
        (pa.table(in_order("abc")), "float32"),
    ):
        mlp = network(precision=None)
        mlp.fit(given, Y, epochs=1)
        assert mlp.precision == wanted


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_that_the_precision_cannot_tell_apart_are_pointed_out_by_column(library, caplog):
    stamps = 1_700_000_000 + np.arange(40)
    given = frames({"a": X[:, 0] > 0.5, "when": stamps, "c": X[:, 2]})[library]
    network().fit(given, Y, epochs=1)
    assert "X, column 'when': float32 cannot tell its values apart: 40 different ones of 40 records" in caplog.text
