"""Messages show what was given if it is short, and never the numbers of an array."""

import numpy as np
import pandas as pd
import pytest

import gdkernels as gd
from gdkernels.errors import shown

WIDE = np.arange(5000.0).reshape(50, 100)
GIVEN = [WIDE, [WIDE, WIDE], pd.DataFrame(WIDE), WIDE.tolist(), "x" * 5000, {"a": WIDE}, list(range(5000))]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5"),
        (np.float64(2.5), "np.float64(2.5)"),
        ("relu", "'relu'"),
        ((3, 0, 1), "(3, 0, 1)"),
        (WIDE, "ndarray of shape [50, 100]"),
        ([WIDE, WIDE[0]], "list of 2: ndarray of shape [50, 100], ndarray of shape [100]"),
        (pd.DataFrame(WIDE), "DataFrame of shape [50, 100]"),
        (list(range(5000)), "list of 5,000: 0, 1, 2, …"),
        ("x" * 5000, repr("x" * 60) + "…"),
        ({"a": WIDE}, "dict of 1: ndarray of shape [50, 100]"),
    ],
)
def test_what_is_shown(value, text):
    assert shown(value) == text


def test_capitals_do_not_hide_what_is_meant():
    for name, meant in (("Relu", "relu"), ("ELU", "elu"), ("Softplus", "softplus")):
        with pytest.raises(gd.InputError, match=f"Did you mean '{meant}'"):
            gd.MLP([1, 1], activation=name)


def test_a_path_is_told_what_reads_it():
    for call in (gd.MLP([1, 1], backend="numpy").predict, lambda X: _fit(X=X)):
        with pytest.raises(gd.InputError, match="X is the path 'X.npy'.*np.load.*gdkernels.Stored"):
            call("X.npy")


def _fit(seed=0, X=WIDE[:, :1], **settings):
    gd.MLP([1, 1], seed=seed, backend="numpy").fit(X, WIDE[:, :1], **{"epochs": 1} | settings)


@pytest.mark.parametrize(
    "name", ["epochs", "validation", "patience", "optimizer", "loss", "metrics", "callbacks", "every", "l2", "seed"]
)
def test_no_message_of_a_fit_prints_an_array(name):
    for value in GIVEN:
        with pytest.raises(gd.InputError) as caught:
            _fit(**{name: value})
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["validation", "hidden", "ignore", "bounds", "read", "time_limit", "split"])
def test_no_message_of_a_table_does(name):
    for value in GIVEN:
        if name == "ignore" and isinstance(value, pd.DataFrame):
            continue
        with pytest.raises((gd.InputError, ValueError)) as caught:
            gd.TabularPredictor("0", **{name: value}).fit(WIDE)
        assert len(str(caught.value)) < 500
