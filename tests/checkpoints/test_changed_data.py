"""Data that change, or fail, while training goes on: where, in a line, and nothing of what was done before is lost."""

import numpy as np
import pytest
from training import data, fit, trainer

import gdkernels as gd


@pytest.fixture(params=["numpy", "numba"])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def parameters(made):
    return [a.tobytes() for layer in made.mlp.parameters for a in layer]


def spoilt_after(epoch, array, place, made, ends):
    """Return a callback that writes a NaN into `array` after an epoch, and notes the parameters after each."""

    def spoil(record):
        ends.append(parameters(made))
        if record.number == epoch:
            array[place] = np.nan

    return spoil


@pytest.mark.parametrize(
    ("name", "place", "where"),
    [("X", (7, 3), "row 7, column 3"), ("Y", (9, 0), "row 9, column 0"), ("sample_weight", 11, "row 11")],
)
def test_a_nan_that_appears_is_found(tmp_path, backend, name, place, where):
    """As batches of 10 come in the order of the rows, it is used in the first or the second step of epoch 3."""
    x, y = data()
    arrays = {"X": x, "Y": y, "sample_weight": np.ones(len(x), np.float32)}
    made, ends = trainer(backend, order=lambda epoch, records: np.arange(records)), []
    spoil = spoilt_after(2, arrays[name], place, made, ends)
    weights = {"sample_weight": arrays["sample_weight"]} if name == "sample_weight" else {}
    step = (place if isinstance(place, int) else place[0]) // 10 + 1
    message = rf"^{name} holds nan in {where}, used in step {step} of epoch 3: .* those before it$"
    with pytest.raises(gd.InputError, match=message):
        fit(made, tmp_path / "c", data=(x, y), every="1h", validation=None, callbacks=[spoil], **weights)
    assert len(ends) == 2
    assert parameters(made) == ends[-1]


def test_the_first_that_is_used_is_named(backend):
    x, y = data()
    made = trainer(backend, order=lambda epoch, records: np.arange(records)[::-1])

    def spoil(record):
        x[5, 1] = y[180, 0] = x[190, 2] = np.inf

    with pytest.raises(gd.InputError, match="X holds inf in row 190, column 2, used in step 2 of epoch 2"):
        fit(made, data=(x, y), validation=None, callbacks=[spoil])


def test_what_was_done_before_is_gone_on_from(tmp_path, backend):
    """No checkpoint was due yet: the error has one written."""
    run = {"every": "1h", "validation": None, "gradient_norm": True}

    def finite(made, folder):
        return [e.gradient_norm for e in fit(made, folder, **run).epochs], parameters(made)

    expected = finite(trainer(backend), tmp_path / "whole")
    x, y = data()
    spoil = spoilt_after(3, x, (0, 0), made := trainer(backend), [])
    with pytest.raises(gd.InputError, match="X holds nan in row 0, column 0, used in step"):
        fit(made, tmp_path / "c", data=(x, y), callbacks=[spoil], **run)
    assert [p.stem for p in (tmp_path / "c").glob("step-*")] == ["step-000000000063"]
    assert finite(trainer(backend), tmp_path / "c") == expected


def test_validation_data(backend):
    x, y = data()
    held_out = x[:20].copy(), y[:20]
    made, ends = trainer(backend), []
    message = "the validation X holds nan in row 19, column 4 after epoch 3: .* of that epoch$"
    with pytest.raises(gd.InputError, match=message):
        fit(made, validation=held_out, callbacks=[spoilt_after(2, held_out[0], (19, 4), made, ends)])
    assert parameters(made) != ends[-1]


def test_a_batch_of_the_users(backend):
    """Each is looked at before it is used, so the epoch's other steps are undone, and its number is known."""
    x, y = data()
    passes = []

    def batches():
        passes.append(1)
        for k in range(0, 200, 10):
            part = x[k : k + 10].copy()
            if (len(passes), k) == (4, 130):  # the first is opened once to be looked at
                part[2, 1] = np.nan
            yield part, y[k : k + 10]

    made, ends = trainer(backend), []
    with pytest.raises(gd.InputError, match="batch 13 of pass 3: X holds nan in row 2, column 1"):
        made.fit(batches, epochs=5, callbacks=[lambda epoch: ends.append(parameters(made))])
    assert len(ends) == 2
    assert parameters(made) == ends[-1]


def test_a_true_divergence_is_none_of_that(backend):
    made = trainer(backend, optimizer=gd.SGD(1e30))
    assert fit(made, validation=None).diverged
