"""Fits of many records that began before orders were keyed go on with the order that they began with."""

import shutil

import numpy as np
import orders_of_stream_1 as old
import pytest
from kept import DATA

import gdkernels as gd
from gdkernels.files.model_file import read_model, write_model

FOLDER = DATA / "orders_of_stream_1"


@pytest.fixture
def checkpoint(tmp_path):
    (found,) = FOLDER.glob("step-*")
    shutil.copy(found, tmp_path)
    return tmp_path / found.name


def test_an_old_fit_goes_on_in_the_middle_of_an_epoch(checkpoint):
    found, before = old.fit(checkpoint.parent), np.load(FOLDER / "ended.npz")
    assert found.keys() == set(before.files)
    for name, a in found.items():
        np.testing.assert_allclose(a, before[name], rtol=1e-10, atol=1e-12)
    newest = sorted(checkpoint.parent.glob("step-*"))[-1]
    assert read_model(newest)[1]["order_stream"] == 1


def test_a_new_fit_of_it_comes_in_another_order(tmp_path):
    found, before = old.fit(tmp_path), np.load(FOLDER / "ended.npz")
    assert max(abs(found[name] - before[name]).max() for name in found) > 1e-6
    assert read_model(sorted(tmp_path.glob("step-*"))[-1])[1]["order_stream"] == 2


def test_an_order_of_a_newer_version_is_refused(checkpoint):
    tensors, told = read_model(checkpoint)
    write_model(checkpoint, tensors, {**told, "order_stream": 3}, overwrite=True)
    with pytest.raises(gd.errors.FileError, match="a newer version shuffled its records, by stream 3"):
        old.fit(checkpoint.parent)
