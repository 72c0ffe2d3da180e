"""A fit with other settings or data than its checkpoint's is refused, and nothing is changed."""

import numpy as np
import pytest
from stopped_fits import rewrite, stopped
from training import data, fit, trainer

import gdkernels as gd


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder of checkpoints, in which each test finds the same as the one before it."""
    folder = tmp_path_factory.mktemp("begun") / "c"
    fit(trainer(), folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "run", "difference"),
    [
        ({"seed": 4}, {}, "seed is 4 and was 3"),
        ({"batch_size": 11}, {}, "batch_size is 11 and was 10"),
        ({"optimizer": gd.Adam(0.5)}, {}, "the learning_rate of optimizer adam is 0.5 and was 0.001"),
        ({"precision": "float64"}, {}, "precision is float64 and was float32"),
        ({"l2": 1.0}, {}, "l2 is 1.0 and was 0.0"),
        ({"clip_norm": 2.0, "loss": "mse"}, {}, "loss is mse and was sse"),
        ({"optimizer": "sgd"}, {}, "optimizer is sgd and was adam"),
        ({"dropout": 0.1}, {}, "the network has other blocks"),
        ({"activation": "tanh"}, {}, "activations is tanh, identity and was relu, identity"),
        ({}, {"epochs": 6}, "epochs is 6 and was 5"),
        ({}, {"patience": None}, "patience is none and was 4"),
        ({}, {"data": data(seed=1)}, "the data differ"),
        ({}, {"sample_weight": np.ones(203)}, "the data differ"),
        ({}, {"validation": 0.3}, "the data differ"),
    ],
)
def test_other_settings_and_data(begun, settings, run, difference):
    before = {p: p.read_bytes() for p in begun.glob("step-*")}
    with pytest.raises(gd.FileError, match=f"cannot go on from .*: {difference}; resume with what it was begun with"):
        fit(trainer(**settings), begun, **run)
    assert before == {p: p.read_bytes() for p in begun.glob("step-*")}


def test_another_order_of_records(tmp_path):
    fit(trainer(), tmp_path / "c")
    for late in sorted((tmp_path / "c").glob("step-*"))[2:]:
        late.unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}
    with pytest.raises(gd.FileError, match="its records would come in another order"):
        fit(trainer(order=lambda epoch, records: np.arange(records)), tmp_path / "c")
    assert before == {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}


def test_starting_afresh_where_there_are_checkpoints(tmp_path):
    fit(trainer(), tmp_path / "c")
    with pytest.raises(gd.FileError, match="has checkpoints already; resume=True"):
        fit(trainer(), tmp_path / "c", resume=False)


def test_a_model_file_is_no_checkpoint(tmp_path):
    (tmp_path / "c").mkdir()
    trainer().mlp.save(tmp_path / "c" / "step-000000000001.safetensors")
    with pytest.raises(gd.FileError, match="a model file, not a checkpoint"):
        fit(trainer(), tmp_path / "c")


@pytest.mark.parametrize("every", ["", "5", "0 steps", "1.5 epochs", "soon", "-3min", 5])
def test_a_cadence_that_is_none(tmp_path, every):
    with pytest.raises(gd.InputError, match='as in "30s"'):
        fit(trainer(), tmp_path / "c", every=every)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"keep": 0}, "keep must be"),
        ({"retries": -1}, "retries must be"),
        ({"checkpoint": None}, "resume=True goes on from checkpoints"),
    ],
)
def test_numbers_out_of_range(tmp_path, run, message):
    with pytest.raises(gd.InputError, match=message):
        fit(trainer(), tmp_path / "c", **run)


@pytest.mark.parametrize(
    "figures", [{}, {"fields": ["loss"], "metrics": []}, {"fields": ["number"] * 5, "metrics": []}, None]
)
def test_a_history_that_is_none(tmp_path, figures):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", figures=figures)
    with pytest.raises(gd.FileError, match="its content is not that of a checkpoint"):
        fit(trainer(), tmp_path / "c", epochs=4)
