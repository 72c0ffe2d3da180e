"""Each kind of column becomes features, as learned from training rows."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from prepared import GENERATOR, N, X, only, table

from gdkernels.errors import InputError
from gdkernels.tables import Preparation, read

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


@pytest.mark.parametrize(
    ("values", "what"),
    [([-1e308, 1e308], "too large"), ([0.0] * 99 + [1e200], "too large"), ([1e-310, 2e-310], "too small")],
)
def test_numbers_that_cannot_be_standardised_are_refused(values, what):
    with pytest.raises(InputError, match=f"column 'v' has numbers {what} to be standardised"):
        only(np.resize(values, N))
    with pytest.raises(InputError, match=f"column 'y' has numbers {what} to be standardised"):
        Preparation.fit({"v": X[:, 0], "y": np.resize(values, N)}, "y", task="regression")


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
    (tmp_path / "t.csv").write_text("code,a,y\n" + "".join(f"0{k % 3}0,{k * k},{k}\n" for k in range(60)))
    kind = Preparation.fit(read(tmp_path / "t.csv"), "y").columns[0]
    assert (kind.kind, kind.levels) == ("category", ("000", "010", "020"))


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d"])
def test_dates_are_split(pattern):
    moments = [datetime(2020, 1, 1) + timedelta(days=3 * k, hours=k) for k in range(N)]
    kind, preparation = only([m.strftime(pattern) for m in moments])
    assert kind.features[:4] == ("v day number", "v month", "v day", "v weekday")
    assert np.isfinite(preparation.transform(table(v=[None] * N))).all()
    with pytest.raises(InputError, match="record 1 of the table, column 'v': 'soon' is not a date like"):
        preparation.transform(table(v=["soon"] * N))


def test_text_among_numbers_is_refused_with_its_place():
    values = [*map(float, range(N - 1)), "blue"]
    with pytest.raises(
        InputError, match=r"record 200 of .*'v': 'blue' is not a number, but nearly all.*categorical=\['v'\]"
    ):
        only(values)
    kind, _ = only(values, numeric=["v"])
    assert (kind.kind, kind.why.split(";")[0]) == ("number", "1 cell that is no such number counts as a gap")
    kind, _ = only(values, missing=["blue"], keep=["v"])
    assert (kind.kind, kind.reading.is_gap("blue"), kind.reading.lenient) == ("number", True, False)
    assert only(values, ignore=["v"])[0].kind == "dropped"
    with pytest.raises(InputError, match=r"record 3 of .*'v': 'inf' is not a finite number"):
        only(np.where(np.arange(N) == 2, np.inf, 1.5 * np.arange(N)))


def test_choices_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="no column 'w'. Did you mean 'v'|no column 'w'"):
        only(X[:, 0], ignore=["w"])
    with pytest.raises(InputError, match="cannot be both ignore and numeric"):
        only(X[:, 0], ignore=["v"], numeric=["v"])
    with pytest.raises(InputError, match="no column to predict from is left .*'a': ignored"):
        Preparation.fit(table(), "y", ignore=["a", "b", "c"])


def test_dates_without_separators():
    days = [20240101 + k for k in range(28)] + [19991231]
    moments = np.resize([int(f"20{k % 30:02}{k % 12 + 1:02}{k % 28 + 1:02}") for k in range(N)], N)
    kind, preparation = only(moments)
    assert (kind.kind, kind.pattern) == ("date", "%Y%m%d")
    assert "a date (%Y%m%d), split into day number, month, day, weekday" in kind.why
    as_text = [str(v) for v in moments]
    np.testing.assert_array_equal(preparation.transform(table(v=moments)), preparation.transform(table(v=as_text)))
    with pytest.raises(InputError, match="'20240230' is not a date like those trained on"):
        preparation.transform(table(v=[20240230] * N))
    with pytest.raises(InputError, match="'2024131' is not a date"):
        preparation.transform(table(v=[2024131] * N))
    assert only(moments, numeric=["v"])[0].kind == "number"
    assert only(np.resize(days, N))[0].kind == "date"


@pytest.mark.parametrize("odd", [20240230, 18991231, 21000101, 20240101.5, 5])
def test_numbers_of_which_one_is_no_plausible_date_are_numbers(odd):
    assert only([20240101, 20240229, 20231130, odd] * (N // 4))[0].kind == "number"


def test_cells_that_contradict_each_other_are_refused():
    with pytest.raises(
        InputError, match=r"record 2 of .*'1.234.567' is not .* as '950.5' in record 1 is.*categorical="
    ):
        only(["950.5", "1.234.567"] * (N // 2))
    assert only(["950.5", "1.234.567"] * (N // 2), categorical=["v"])[0].kind == "category"
    assert only(["1.234.567", "1.2.3"] * (N // 2))[0].kind == "category"
