"""Targets: what the network learns, and back; the task that follows from them."""

import numpy as np
import pytest
from prepared import GENERATOR, N, Y, table

from gdkernels.errors import InputError
from gdkernels.tables import Preparation, Table, task_of

LABELS = np.repeat([3.0, 7.0, -1.0, 4.0], 50)


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


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["$1.5", "2.5"] * 100, r"record 2 of .* column 'y': '2.5' is not a number of the format \$1234.5; correct"),
        (["red", "blue"] * 100, "record 1 of .* column 'y': 'red' is not a number; correct or remove it"),
        (["1", "red", "-", "7"] * 50, "record 2 of .* column 'y': 'red' is not a number"),
    ],
)
def test_text_among_numbers_to_predict_is_refused_with_its_place(cells, message):
    with pytest.raises(InputError, match=message):
        Preparation.fit(table(y=cells), "y", task="regression")


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
            "no value in 1 of 200 records .*first in record 1; .*drop_missing=True",
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
    with pytest.raises(InputError, match="target='COLUMN'; it has a, b, c, y"):
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


def test_a_target_with_a_mistake_among_numbers_says_what_helps():
    y = [*Y[:-1].tolist(), "blue"]
    with pytest.raises(InputError, match=r"'blue' is not a number, but nearly all .*correct it, .* or say task='class"):
        Preparation.fit(table(y=y), "y")
    names = [*["1", "2"] * (N // 2 - 1), "blue", "blue"]
    preparation = Preparation.fit(table(y=names), "y", task="classification")
    assert preparation.classes.tolist() == ["1", "2", "blue"]
    assert preparation.transform_targets(table(y=names)).tolist()[-3:] == [1, 2, 2]
