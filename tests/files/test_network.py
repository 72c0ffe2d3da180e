"""A model file whose description and tensors disagree is refused, however well-formed it is."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.files import read_model, write_model


@pytest.fixture
def change(tmp_path):
    """Return what writes a model file with other metadata or tensors, all digests right, and loads it."""
    gd.MLP([2, 3, 1], seed=0).save(tmp_path / "m")
    tensors, metadata = read_model(tmp_path / "m")

    def run(metadata_changes=None, tensor_changes=None):
        changed = {k: v for k, v in (tensors | (tensor_changes or {})).items() if v is not None}
        write_model(tmp_path / "changed", changed, metadata | (metadata_changes or {}))
        return gd.load(tmp_path / "changed")

    return run


def test_unchanged(change):
    assert change().sizes == (2, 3, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [2, 10**12, 1]},  # would be 32 TB
        {"sizes": [3, 2, 1]},
        {"sizes": [2, 3]},
        {"sizes": [2, 3, 1, 1]},
        {"sizes": [2, "3", 1]},
        {"sizes": "ab"},
        {"sizes": None},
        {"sizes": 5},
        {"bias": False},
        {"extra": 5},
    ],
)
def test_a_description_that_does_not_fit(change, changes):
    with pytest.raises(gd.FileError, match="changed is a gdkernels model, but its description does not fit"):
        change(changes)


@pytest.mark.parametrize(
    "tensor", [None, np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int64), np.zeros(6, np.float32)]
)
def test_a_tensor_that_does_not_fit(change, tensor):
    with pytest.raises(gd.FileError, match="does not fit its tensors"):
        change(tensor_changes={"W0": tensor})


def test_a_tensor_too_many(change):
    with pytest.raises(gd.FileError, match="does not fit its tensors"):
        change(tensor_changes={"W2": np.zeros((1, 1))})


@pytest.mark.parametrize(
    "changes",
    [
        {"activations": ["relu"]},
        {"activations": 5},
        {"activations": [{"name": "relu"}] * 2},
        {"output": None},
        {"loss": {"name": "none"}},
        {"loss": "sse"},
        {"seed": "x"},
        {"precision": 5},
    ],
)
def test_a_garbled_description_is_an_error_of_ours(change, changes):
    with pytest.raises(gd.InputError):
        change(changes)
