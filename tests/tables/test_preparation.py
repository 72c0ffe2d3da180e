"""What was learned about the columns goes there and back, through JSON too."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdkernels.errors import InputError
from gdkernels.tables import Preparation, split, task_of

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(3.0, 5.0, size=(200, 4))
Y = GENERATOR.normal(-100.0, 40.0, size=200)
LABELS = np.repeat([3.0, 7.0, -1.0, 4.0], 50)


def same(a, b):
    assert json.dumps(a.to_json()) == json.dumps(b.to_json())


# ---- Preparation


def test_inputs_are_standardised():
    z = Preparation.fit(X, Y, "regression").transform(X)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e100, 1e-300])
def test_a_constant_column_becomes_zero(constant):
    x = np.column_stack([X, np.full(len(X), constant)])
    z = Preparation.fit(x, Y, "regression").transform(x)
    np.testing.assert_allclose(z[:, -1], 0, atol=abs(constant) * 1e-12)
    assert np.isfinite(z).all()


def test_a_small_deviation_is_no_constant():
    x = np.column_stack([X[:, 0], 1 + 1e-9 * X[:, 1]])
    np.testing.assert_allclose(Preparation.fit(x, Y, "regression").transform(x).std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("y", [Y, np.column_stack([Y, 1e6 * Y**2])])
def test_targets_of_a_regression_come_back(y):
    preparation = Preparation.fit(X, y, "regression")
    z = preparation.transform_targets(y)
    assert z.shape == (200, y.reshape(200, -1).shape[1])
    np.testing.assert_allclose(z.std(axis=0), 1)
    np.testing.assert_allclose(preparation.restore(z), y)
    assert preparation.restore(z).shape == y.shape


def test_targets_can_be_left_as_they_are():
    preparation = Preparation.fit(X, Y, "regression", standardise_targets=False)
    np.testing.assert_array_equal(preparation.transform_targets(Y)[:, 0], Y)
    np.testing.assert_array_equal(preparation.restore(Y[:, None]), Y)


def test_classes_come_back():
    preparation = Preparation.fit(X, LABELS, "classification")
    assert preparation.classes.tolist() == [-1, 3, 4, 7]
    assert preparation.classes.dtype == np.int64
    indices = preparation.transform_targets(LABELS)
    assert indices[[0, 50, 100, 150]].tolist() == [1, 3, 0, 2]
    np.testing.assert_array_equal(preparation.restore(indices), LABELS)


def test_one_hot_rows_are_classes():
    preparation = Preparation.fit(X[:3], np.eye(3), "classification")
    assert preparation.transform_targets(np.eye(3)[[2, 0, 1]]).tolist() == [2, 0, 1]


def test_classes_need_not_be_whole():
    preparation = Preparation.fit(X, LABELS + 0.5, "classification")
    assert preparation.restore(np.array([0, 1])).tolist() == [-0.5, 3.5]


@pytest.mark.parametrize("unknown", [-5.0, 5.0, 99.0, 3.5])
def test_an_unknown_class_is_refused(unknown):
    with pytest.raises(InputError, match=rf"class {unknown:g} is not among"):
        Preparation.fit(X, LABELS, "classification").transform_targets(np.array([3.0, unknown]))


@pytest.mark.parametrize(
    ("y", "task", "pattern"),
    [
        (np.ones(200), "regression", "same value in every record"),
        (np.ones(200), "classification", "one class only, 1"),
        (np.ones((200, 2)), "classification", "one-hot rows"),
    ],
)
def test_nothing_to_learn_is_refused(y, task, pattern):
    with pytest.raises(InputError, match=pattern):
        Preparation.fit(X, y, task)


@pytest.mark.parametrize("x", [X[:, :3], X[0], X[None]])
def test_other_columns_are_refused(x):
    with pytest.raises(InputError, match="needs 4 columns"):
        Preparation.fit(X, Y, "regression").transform(x)


def test_numbers_too_large_to_standardise_are_refused():
    x = X.copy()
    x[:, 2] = np.tile([-1e308, 1e308], 100)
    with pytest.raises(InputError, match="column '2' has numbers too large"):
        Preparation.fit(x, Y, "regression")


@pytest.mark.parametrize(("y", "task"), [(Y, "regression"), (LABELS, "classification"), (LABELS / 8, "classification")])
@pytest.mark.parametrize("standardise", [True, False])
def test_goes_through_json_to_the_last_bit(y, task, standardise):
    preparation = Preparation.fit(X, y, task, standardise_targets=standardise)
    back = Preparation.from_json(json.loads(json.dumps(preparation.to_json(), allow_nan=False)))
    same(preparation, back)
    np.testing.assert_array_equal(back.transform(X), preparation.transform(X))
    np.testing.assert_array_equal(back.transform_targets(y), preparation.transform_targets(y))


@pytest.mark.parametrize(
    "change",
    [
        {"task": "ranking"},
        {"task": "classification"},
        {"inputs": None},
        {"inputs": {"mean": [1.0], "scale": [1.0, 2.0]}},
        {"inputs": {"mean": ["a"], "scale": [1.0]}},
        {"inputs": {"mean": 1.0, "scale": 1.0}},
        {"inputs": 5},
        {"classes": ["a", "b"]},
        {"classes": [1, 2]},
    ],
)
def test_a_damaged_description_is_refused(change):
    value = Preparation.fit(X, Y, "regression").to_json() | change
    with pytest.raises(InputError, match="damaged"):
        Preparation.from_json(value)
    with pytest.raises(InputError, match="damaged"):
        Preparation.from_json({k: v for k, v in value.items() if k != "inputs"})


# ---- the task


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.arange(1000) % 10, "classification"),
        (np.arange(400) % 20, "classification"),
        (np.arange(1000) % 21, "regression"),
        (np.arange(100) % 5, "classification"),
        (np.arange(99) % 5, "regression"),
        (np.arange(1000) % 10 / 2, "regression"),
        (np.eye(3), "classification"),
        (np.array([[1.0, 1.0], [0.0, 1.0]]), "regression"),
        (np.array([[2.0, 0.0], [0.0, 1.0]]), "regression"),
    ],
)
def test_task(y, task):
    assert task_of(np.asarray(y, np.float64)) == task


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
