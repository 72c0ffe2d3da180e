"""What was learned about the columns goes there and back, through JSON too."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdkernels.errors import GdkernelsError, InputError
from gdkernels.tables import Preparation, Table, split, task_of

GENERATOR = np.random.default_rng(0)
N = 200
X = GENERATOR.normal(3.0, 5.0, size=(N, 3))
Y = GENERATOR.normal(-100.0, 40.0, size=N)
LABELS = np.repeat([3.0, 7.0, -1.0, 4.0], 50)


def table(**columns):
    return Table.of({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y} | columns)


def only(values, y=Y, **settings):
    """Return what becomes of one column beside three others."""
    preparation = Preparation.fit(table(v=values, y=y), "y", **settings)
    return next(kind for kind in preparation.columns if kind.name == "v"), preparation


def through_json(preparation):
    back = Preparation.from_json(json.loads(json.dumps(preparation.to_json(), allow_nan=False)))
    assert json.dumps(back.to_json()) == json.dumps(preparation.to_json())
    return back


# ---- numbers


def test_inputs_are_standardised_and_far_ones_drawn_in():
    z = Preparation.fit(table(), "y").transform(table())
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(z.std(axis=0), 0.9, atol=0.1)
    far = Preparation.fit(table(), "y").transform(table(a=np.full(N, 1e300)))
    assert np.abs(far).max() <= 3
    assert (np.diff(Preparation.fit(table(), "y").transform(table(a=np.linspace(-99, 99, N)))[:, 0]) > 0).all()


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e100, "same"])
def test_a_constant_column_is_left_out(constant):
    kind, preparation = only([constant] * N)
    assert (kind.kind, kind.features) == ("dropped", ())
    assert "constant" in kind.why
    assert preparation.inputs == ("a", "b", "c")


def test_gaps_become_the_median_with_an_indicator():
    values = np.where(np.arange(N) < 20, np.nan, X[:, 0])
    kind, preparation = only(values)
    assert kind.features == ("v", "v missing")
    assert "10.0% gaps become the median, with an indicator" in kind.why
    z = preparation.transform(table(v=values))
    assert len(set(z[:20, 3])) == 1
    assert set(z[:20, 4]) != set(z[20:, 4])
    few, _ = only(np.where(np.arange(N) < 1, np.nan, X[:, 0]))
    assert few.features == ("v",)


def test_gaps_that_training_never_saw_become_the_median():
    _, preparation = only(X[:, 0])
    z = preparation.transform(table(v=np.full(N, np.nan)))
    assert np.isfinite(z).all()


@pytest.mark.parametrize("zeros", [0, 100])
def test_skewed_numbers_become_logarithms(zeros):
    values = np.exp(3 * GENERATOR.normal(size=N))
    values[:zeros] = 0
    kind, preparation = only(values)
    assert "logarithm" in kind.why
    assert (kind.log > 0) == bool(zeros)
    assert np.isfinite(preparation.transform(table(v=-values - 1))).all()


def test_numbers_too_large_to_standardise_are_refused():
    with pytest.raises(InputError, match="column 'v' has numbers too large"):
        only(np.tile([-1e308, 1e308], N // 2))


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("n", np.arange(N), "consecutive"),
        ("n", N - np.arange(N) + 17, "consecutive"),
        ("house_id", np.arange(N) ** 2, "such a name"),
        ("userId", np.arange(N) ** 2, "such a name"),
        ("n", [f"A{k}" for k in range(N)], "all its text differs"),
        ("n", [f"{k:05}" for k in range(N)], "all its text differs"),
    ],
)
def test_identifiers_are_left_out_unless_kept(name, values, why):
    data = table(**{name: values})
    (kind,) = (k for k in Preparation.fit(data, "y").columns if k.name == name)
    assert kind.kind == "dropped"
    assert why in kind.why
    if not isinstance(values, list):
        (kept,) = (k for k in Preparation.fit(data, "y", keep=[name]).columns if k.name == name)
        assert kept.kind == "number"


@pytest.mark.parametrize(("name", "values"), [("n", np.arange(N) ** 2), ("id", np.arange(N) % 50), ("width", X[:, 0])])
def test_what_is_no_identifier_is_used(name, values):
    assert name in Preparation.fit(table(**{name: values}), "y").inputs


# ---- categories and dates


def test_categories_are_told_apart_rare_ones_pooled_unseen_ones_average():
    values = ["red"] * 90 + ["blue"] * 90 + [f"rare{k}" for k in range(10)] + [None] * 10
    kind, preparation = only(values)
    assert kind.features == ("v=blue", "v=red", "v other", "v missing")
    z = preparation.transform(table(v=["green"] * N))
    assert (z[:, 5] > 1).all()  # with the rare ones
    _, whole = only(["red", "blue"] * (N // 2))
    np.testing.assert_array_equal(whole.transform(table(v=["green"] * N))[:, 3:], 0)
    np.testing.assert_array_equal(whole.transform(table(v=[None] * N))[:, 3:], 0)


def test_two_values_are_one_feature():
    kind, _ = only([True, False] * (N // 2))
    assert kind.features == ("v=false",)


def test_numbers_as_categories_are_the_same_as_text_and_back():
    kind, preparation = only(np.arange(N) % 4 * 10, categorical=["v"])
    assert kind.levels == ("0", "10", "20", "30")
    forms = [np.arange(N) % 4 * 10.0, [f"{k % 4 * 10}" for k in range(N)], [f"{k % 4 * 10}.0" for k in range(N)]]
    first, *others = (preparation.transform(table(v=form)) for form in forms)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_figures_that_begin_with_a_zero_are_no_numbers(tmp_path):
    from gdkernels.tables import read

    (tmp_path / "t.csv").write_text("code,a,y\n" + "".join(f"0{k % 3}0,{k * k},{k}\n" for k in range(60)))
    kind = Preparation.fit(read(tmp_path / "t.csv"), "y").columns[0]
    assert (kind.kind, kind.levels) == ("category", ("000", "010", "020"))


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d"])
def test_dates_are_split(pattern):
    from datetime import datetime, timedelta

    moments = [datetime(2020, 1, 1) + timedelta(days=3 * k, hours=k) for k in range(N)]
    kind, preparation = only([m.strftime(pattern) for m in moments])
    assert kind.features[:4] == ("v day number", "v month", "v day", "v weekday")
    assert np.isfinite(preparation.transform(table(v=[None] * N))).all()
    with pytest.raises(InputError, match="record 1 of the table, column 'v': 'soon' is not a date like"):
        preparation.transform(table(v=["soon"] * N))


def test_text_among_numbers_is_refused_with_its_place():
    values = [*map(float, range(N - 1)), "blue"]
    with pytest.raises(InputError, match=r"record 200 of .*'v': 'blue' is not a number, but nearly all.*--categorical"):
        only(values)
    with pytest.raises(InputError, match=r"record 200 of .*'v': 'blue' is not a number"):
        only(values, numeric=["v"])
    assert only(values, ignore=["v"])[0].kind == "dropped"
    with pytest.raises(InputError, match=r"record 3 of .*'v': 'inf' is not a finite number"):
        only(np.where(np.arange(N) == 2, np.inf, 1.5 * np.arange(N)))


def test_choices_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="no column 'w'. Did you mean 'v'|no column 'w'"):
        only(X[:, 0], ignore=["w"])
    with pytest.raises(InputError, match="cannot be both --ignore and --numeric"):
        only(X[:, 0], ignore=["v"], numeric=["v"])
    with pytest.raises(InputError, match="no column to predict from is left .*'a' is ignored"):
        Preparation.fit(table(), "y", ignore=["a", "b", "c"])


# ---- targets


def test_targets_of_a_regression_come_back():
    preparation = Preparation.fit(table(z=1e6 * Y**2), ["y", "z"])
    targets = preparation.transform_targets(table(z=1e6 * Y**2))
    np.testing.assert_allclose(targets.std(axis=0), 1)
    np.testing.assert_allclose(preparation.restore(targets), np.column_stack([Y, 1e6 * Y**2]))


def test_a_skewed_target_above_0_is_learned_as_its_logarithm_and_stays_in_range():
    y = np.exp(2 * GENERATOR.normal(size=N))
    preparation = Preparation.fit(table(y=y), "y")
    assert preparation.outcome.logs == (True,)
    np.testing.assert_allclose(preparation.restore(preparation.transform_targets(table(y=y))), y)
    np.testing.assert_allclose(preparation.restore(np.array([[1e9], [-1e9]])), [y.max(), y.min()])
    assert Preparation.fit(table(y=y - 1), "y").outcome.logs == (False,)


def test_targets_can_be_left_as_they_are():
    preparation = Preparation.fit(table(), "y", standardise_targets=False)
    np.testing.assert_array_equal(preparation.transform_targets(table())[:, 0], Y)
    np.testing.assert_array_equal(preparation.restore(Y[:, None]), Y)


@pytest.mark.parametrize("labels", [LABELS, LABELS / 8, np.where(LABELS > 3.5, "yes", "no"), LABELS > 3.5])
def test_classes_come_back(labels):
    preparation = Preparation.fit(table(y=labels), "y", task="classification")
    indices = preparation.transform_targets(table(y=labels))
    back = preparation.restore(indices)
    assert preparation.classes.tolist() == sorted(preparation.classes.tolist())
    assert back.tolist() == [v if not isinstance(v, bool) else str(v).lower() for v in labels.tolist()]


@pytest.mark.parametrize("unknown", ["-5", "maybe", "3.5"])
def test_an_unknown_class_is_refused(unknown):
    preparation = Preparation.fit(table(y=LABELS), "y")
    with pytest.raises(InputError, match=rf"record 1 of .* the class {unknown} is not among"):
        preparation.transform_targets(table(y=[unknown] * N))


@pytest.mark.parametrize(
    ("y", "task", "pattern"),
    [
        (np.ones(N), "regression", "same value in every record"),
        (np.ones(N), "classification", "one class only, 1"),
        (["yes"] * N, "auto", "one class only, yes"),
        (
            [None, *["yes", "no"] * 99, "no"],
            "auto",
            "no value in 1 of 200 records .*first in record 1; .*--drop-missing",
        ),
        (["yes", "no"] * 100, "regression", "record 1 of .*'yes' is not a number"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(y, task, pattern):
    with pytest.raises(InputError, match=pattern):
        Preparation.fit(table(y=y), "y", task=task)


def test_a_target_that_is_not_there_offers_the_closest():
    with pytest.raises(InputError, match=r"no column 'Y'\. Did you mean 'y'\? It has a, b, c, y"):
        Preparation.fit(table(), "Y")
    with pytest.raises(InputError, match="--target COLUMN; it has a, b, c, y"):
        Preparation.fit(table())


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.arange(1000) % 10, "classification"),
        (np.arange(400) % 20, "classification"),
        (np.arange(1000) % 21, "regression"),
        (np.arange(100) % 5, "classification"),
        (np.arange(99) % 5, "regression"),
        (np.arange(1000) % 10 / 2, "regression"),
        ([True, False], "classification"),
        (["3", "x"], "classification"),
    ],
)
def test_task(y, task):
    assert task_of(Table.of({"y": y}), ("y",)) == task


# ---- there and back


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


@settings(max_examples=200, deadline=None)
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


# ---- splits


@given(st.integers(2, 300), st.floats(0.001, 0.6), st.integers(0, 5))
def test_split_takes_each_row_once(n, share, seed):
    kept, held = split(n, share, np.random.default_rng(seed))
    assert sorted([*kept, *held]) == list(range(n))
    assert len(held) == max(1, round(share * n))
    np.testing.assert_array_equal(held, np.sort(held))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.floats(0.01, 0.5), st.integers(0, 5))
def test_split_keeps_the_shares_of_classes(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    total = max(1, round(share * len(labels)))
    if total > len(labels) - len(sizes):
        with pytest.raises(InputError, match="too few"):
            split(len(labels), share, np.random.default_rng(seed), labels)
        return
    kept, held = split(len(labels), share, np.random.default_rng(seed), labels)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held) == total
    assert set(labels[kept]) == set(labels)
    ones = sum(size == 1 for size in sizes)
    for k, size in enumerate(sizes):
        assert abs(np.sum(labels[held] == k) - size * total / len(labels)) <= 1 + ones


def test_split_of_nothing():
    kept, held = split(5, 0.0, np.random.default_rng(0))
    assert kept.tolist() == [0, 1, 2, 3, 4]
    assert held.tolist() == []


def test_split_is_drawn_by_the_generator():
    one, two, other = (split(100, 0.3, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_one_row_cannot_be_split():
    with pytest.raises(InputError, match="1 records are too few"):
        split(1, 0.5, np.random.default_rng(0))
