"""float64 data that float32 cannot tell apart are warned of, and large numbers are not called infinite."""

import logging

import numpy as np
import pytest

import gdkernels as gd

SECONDS = 1.7e9 + np.arange(400.0)


def fit(X, Y=None, precision="float32", **more):
    Y = np.zeros(len(X)) if Y is None else Y
    mlp = gd.MLP([np.shape(X)[1], 1], seed=0, backend="numpy", precision=precision)
    return mlp.fit(X, Y, epochs=1, progress=False, **more)


def told(caplog):
    return [r.getMessage() for r in caplog.records if "cannot tell its values apart" in r.getMessage()]


def test_a_column_that_float32_collapses(caplog):
    draw = np.random.default_rng(0)
    fit(np.column_stack([draw.normal(size=400), SECONDS, draw.normal(size=400)]))
    (message,) = told(caplog)
    assert message.startswith("X, column 1: float32 cannot tell its values apart: 400 different ones of 400 records")
    assert "become 4; subtract their mean or standardise them in float64 first, or choose precision=" in message
    assert caplog.records[0].levelno <= logging.WARNING


@pytest.mark.parametrize("kind", ["integers", "list", "targets", "batches", "a frame", "an outlier"])
def test_whatever_it_is_in(caplog, kind):
    X = SECONDS[:, None]
    if kind == "integers":
        fit(X.astype(np.int64))
    elif kind == "list":
        fit(X.tolist())
    elif kind == "targets":
        fit(np.zeros((400, 1)), SECONDS)
    elif kind == "batches":
        mlp = gd.MLP([1, 1], seed=0, backend="numpy")
        mlp.fit([(X[:200], X[:200] * 0), (X[200:], X[200:] * 0)], epochs=2, progress=False)
    elif kind == "a frame":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        fit(pandas.DataFrame({"sold at": SECONDS}))
    else:
        fit(np.vstack([X, [[0.0]]]))
    (message,) = told(caplog)
    assert message.startswith({"targets": "Y, column 0", "a frame": "X, column 'sold at'"}.get(kind, "X, column 0"))


def test_files(caplog, tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(SECONDS, 10)[:, None])
    np.save(tmp_path / "y.npy", np.zeros(4000))
    stored = gd.Stored(tmp_path / "x.npy", tmp_path / "y.npy", memory="20kB")
    gd.MLP([1, 1], seed=0, backend="numpy").fit(stored, epochs=1, progress=False, batch_size=8)
    assert len(told(caplog)) == 1


@pytest.mark.parametrize(
    ("X", "precision"),
    [
        (SECONDS[:, None], "float64"),
        (SECONDS[:, None].astype(np.float32), "float32"),
        (SECONDS[:, None] - SECONDS.mean(), "float32"),
        (np.random.default_rng(0).normal(size=(3000, 4)), "float32"),
        (np.random.default_rng(0).lognormal(0, 20, size=(3000, 2)), "float32"),
        (np.arange(400)[:, None] % 7, "float32"),
        (np.full((400, 1), 1e300), "float64"),
        (np.full((400, 1), 16_777_217.0), "float32"),
        (np.zeros((1, 1)), "float32"),
    ],
)
def test_nothing_is_said_of_what_is_kept(caplog, X, precision):
    fit(X, precision=precision)
    assert not told(caplog)


def test_it_is_said_once_and_the_data_are_as_they_were(caplog):
    X, mlp = SECONDS[:, None].copy(), gd.MLP([1, 1], seed=0, backend="numpy")
    trainer = gd.Trainer(mlp, optimizer="adam")
    for _ in range(3):
        trainer.epoch(X, X * 0)
    assert len(told(caplog)) == 1
    np.testing.assert_array_equal(X[:, 0], SECONDS)


@pytest.mark.parametrize("value", [1e39, -1e200])
def test_what_is_only_too_large_is_not_called_infinite(value):
    X = np.random.default_rng(0).random((10, 2))
    Y = X[:, :1].copy()
    X[3, 1] = value
    with pytest.raises(gd.InputError) as caught:
        fit(X, Y)
    assert f"X holds {value:g} in row 3, column 1, and float32 ends at 3.4e+38; scale the data" in str(caught.value)
    with pytest.raises(gd.InputError, match=r"X holds .* and float32 ends at"):
        fit(X.tolist(), Y)
    with pytest.raises(gd.InputError, match=r"Y holds .* in row 3, column 0, and float32 ends at"):
        fit(np.zeros((10, 2)), X[:, 1])
    X[3, 1] = np.inf
    with pytest.raises(gd.InputError, match="X holds inf in row 3, column 1; remove or fill"):
        fit(X, Y)


def test_what_float32_holds_is_taken():
    X = np.array([[1e38, 0.0], [-3e38, 1.0], [1.0, 1.0]])
    assert gd.MLP([2, 1], seed=0, backend="numpy").predict(X).shape == (3, 1)
