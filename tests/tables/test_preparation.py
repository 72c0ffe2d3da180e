"""A preparation goes from columns to features and back, through JSON too."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import N, table, through_json

from gdkernels.errors import GdkernelsError, InputError
from gdkernels.tables import Preparation, Table, read


def mixed(rows=N, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "number": draw.normal(size=rows),
        "gaps": np.where(draw.random(rows) < 0.2, np.nan, draw.normal(size=rows)),
        "skewed": np.exp(2 * draw.normal(size=rows)),
        "category": draw.choice(["red", "blue", "green"], rows).tolist(),
        "date": [f"2021-{m:02}-{m + 9}" for m in draw.integers(1, 13, rows)],
        "key": [f"k{k}" for k in range(rows)],
        "y": draw.normal(size=rows),
    }  # fmt: skip


def test_the_order_of_columns_does_not_matter_and_missing_ones_are_named():
    data = mixed()
    preparation = Preparation.fit(data, "y")
    backwards = dict(reversed(data.items()))
    np.testing.assert_array_equal(preparation.transform(data), preparation.transform(backwards))
    without = {name: values for name, values in data.items() if name not in ("key", "y")}
    np.testing.assert_array_equal(preparation.transform(data), preparation.transform(without))
    with pytest.raises(InputError, match="no column 'gaps'"):
        preparation.transform({k: v for k, v in data.items() if k != "gaps"})
    with pytest.raises(InputError, match="lacks 2 of the 5 columns that the model needs: gaps, date"):
        preparation.transform({k: v for k, v in data.items() if k not in ("gaps", "date")})


@pytest.mark.parametrize("target", ["y", "category", "skewed"])
def test_goes_through_json_to_the_last_bit(target):
    data = mixed()
    preparation = Preparation.fit(data, target)
    back = through_json(preparation)
    np.testing.assert_array_equal(back.transform(data), preparation.transform(data))
    np.testing.assert_array_equal(back.transform_targets(data), preparation.transform_targets(data))
    assert back.describe() == preparation.describe()


def test_training_rows_alone_are_learned_from():
    data = Table.of(mixed())
    rows = np.arange(100)
    other = Table.of(mixed() | {"number": np.where(np.arange(N) < 100, mixed()["number"], 99.0)})
    one, two = (Preparation.fit(t, "y", rows=rows) for t in (data, other))
    assert json.dumps(one.to_json()) == json.dumps(two.to_json())


@pytest.mark.parametrize(
    "change",
    [
        {"task": "ranking"},
        {"task": "classification"},
        {"columns": []},
        {"columns": 5},
        {"columns": [{"kind": "number"}]},
        {"columns": [{"kind": "spell", "name": "a"}]},
        {"scaling": None},
        {"scaling": {"mean": [1.0], "scale": [1.0, 2.0]}},
        {"scaling": {"mean": [1.0] * 3, "scale": [0.0] * 3}},
        {"scaling": {"mean": ["a"], "scale": [1.0]}},
        {"outcome": None},
        {"outcome": {"target": "y", "labels": ["a", "a"]}},
    ],
)
def test_a_damaged_description_is_refused(change):
    value = Preparation.fit(table(), "y").to_json() | change
    with pytest.raises(InputError, match="damaged"):
        Preparation.from_json(value)


CELLS = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from(["", "NA", "?", "red", "blue", "1.5", "007", "2020-01-02", "ä", "inf", "0x1", "\0"]),
    st.text(max_size=4),
)


@st.composite
def tables(draw, names=("a", "b", "y")):
    rows = draw(st.integers(1, 30))
    kinds = [
        draw(st.sampled_from([CELLS, st.integers(0, 2), st.floats(-9, 9), st.sampled_from(["u", "v"])])) for _ in names
    ]
    return {n: draw(st.lists(k, min_size=rows, max_size=rows)) for n, k in zip(names, kinds, strict=True)}


@settings(max_examples=200)
@given(tables(), tables())
def test_any_table_is_prepared_or_refused_also_with_other_types_later(data, other):
    try:
        preparation = Preparation.fit(data, "y")
        assert np.isfinite(preparation.transform(data)).all()
        back = through_json(preparation)
    except GdkernelsError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    try:
        z = back.transform(other)
    except GdkernelsError as error:
        assert "record" in str(error)  # noqa: PT017
    else:
        assert z.shape == (len(other["a"]), len(back.features))
        assert np.isfinite(z).all()


def test_records_as_dicts_and_structured_arrays_are_tables():
    found = read([{"a": 1.0, "b": "x"}, {"b": "y", "c": 3}])
    assert found.names == ("a", "b", "c")
    assert np.array_equal(found.columns["a"], [1.0, np.nan], equal_nan=True)
    assert found.columns["b"].levels == ("x", "y")
    same = read(np.array([(1.5, "x"), (2.5, "y")], [("a", "f4"), ("b", "U1")]))
    assert (same.names, same.columns["b"].levels) == (("a", "b"), ("x", "y"))
    assert same.columns["a"].tolist() == [1.5, 2.5]
    with pytest.raises(InputError, match="a list of dicts"):
        read([{"a": 1}, 2])
