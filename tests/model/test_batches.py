"""Batches that the user makes: what an epoch of them is, and what is said of batches that cannot be."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gdkernels as gd

RNG = np.random.default_rng(6)
X = RNG.standard_normal((50, 3)).astype(np.float32)
Y = (X[:, :1] * X[:, 1:2]).astype(np.float32)
WEIGHTS = RNG.uniform(0.5, 2.0, 50).astype(np.float32)
ROWS = [slice(0, 20), slice(20, 40), slice(40, 50)]
PAIRS = [(X[r], Y[r]) for r in ROWS]
TRIPLES = [(X[r], Y[r], WEIGHTS[r]) for r in ROWS]


def trainer(**keywords):
    mlp = gd.MLP([3, 6, 1], seed=1, **{"backend": "numba"} | keywords)
    return gd.Trainer(mlp, batch_size=20, schedule="exponential", clip_norm=3.0, order=lambda epoch, n: np.arange(n))


def same(a, b):
    for p, q in zip(a.mlp.parameters, b.mlp.parameters, strict=True):
        np.testing.assert_array_equal(p.W, q.W)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("source", [PAIRS, lambda: iter(PAIRS), lambda: (batch for batch in PAIRS)])
def test_batches_are_the_steps_of_an_epoch(source, backend):
    whole, parts = trainer(backend=backend), trainer(backend=backend)
    a = whole.fit(X, Y, epochs=3, gradient_norm=True, validation=(X, Y), metrics=["r2"])
    b = parts.fit(source, epochs=3, gradient_norm=True, validation=(X, Y), metrics=["r2"])
    if isinstance(source, list):  # of anything else it is not known how many steps the first epoch will have
        same(whole, parts)
        assert a.learning_rate == b.learning_rate
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-6)
        np.testing.assert_allclose(a.gradient_norm, b.gradient_norm, rtol=1e-6)
        assert a.validation_loss == b.validation_loss
    assert a.origin == b.origin
    assert len(b.epochs) == 3
    assert b.loss[-1] < b.loss[0]


def test_weights_and_single_epochs():
    whole, parts, once = trainer(), trainer(), trainer()
    a = whole.fit(X, Y, sample_weight=WEIGHTS, epochs=2)
    b = parts.fit(TRIPLES, epochs=2)
    same(whole, parts)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-6)
    once.fit(iter(TRIPLES), epochs=1)
    once.fit(TRIPLES, epochs=1)
    assert 0 < once.epoch(iter(TRIPLES)) < 2 * WEIGHTS.sum() * a.loss[0]
    assert once.epochs_done == 3


def test_an_mlp_takes_batches_too():
    mlp = gd.MLP([3, 6, 1], seed=1)
    mlp.fit(PAIRS, epochs=2, loss="huber")
    assert mlp.predict(X).shape == (50, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (X, "Y is missing, and X is no source of batches but ndarray"),
        (7, "Y is missing, and X is no source of batches but int"),
        (iter(PAIRS), "X is an iterator, which can be gone through once, not for 3 epochs: pass a function"),
        ([], "there are no batches: list of 0 things is empty, or used up"),
        (lambda: 3, "the function of batches must return an iterator, it returned int"),
        ([X, X], r"the first batch is ndarray; batches are pairs \(X, Y\)"),
        ([*PAIRS, (X,)], "batch 3 of pass 1 is tuple of 1 things; batches are pairs"),
        ([*PAIRS, TRIPLES[0]], "batch 3 of pass 1 has a sample_weight, unlike the first batch"),
        ([*TRIPLES, PAIRS[0]], "batch 3 of pass 1 has no sample_weight, unlike the first batch"),
        ([*PAIRS, (X[:, :2], Y)], r"batch 3 of pass 1: X has the shape \(50, 2\); the network has 3 inputs"),
        ([*PAIRS, (X, Y[:7])], r"batch 3 of pass 1: Y has the shape \(7, 1\), but batch 3 of pass 1: X has 50 rows"),
        ([*PAIRS, (X * np.nan, Y)], "batch 3 of pass 1: X holds nan in row 0, column 0"),
    ],
)
def test_what_is_wrong_with_batches_is_said(source, message):
    with pytest.raises(gd.InputError, match=message):
        trainer().fit(source, epochs=3)


def test_what_batches_cannot_do_is_said():
    used_up = trainer()
    with pytest.raises(gd.InputError, match="no batches in pass 1: the function has to return a new iterator each"):
        used_up.fit(exhausted_after_one(), epochs=3)
    with pytest.raises(gd.InputError, match="validation=0.2 cannot be a share of batches"):
        trainer().fit(PAIRS, epochs=1, validation=0.2)
    with pytest.raises(gd.InputError, match=r"metrics of batches need validation=\(X, Y\)"):
        trainer().fit(PAIRS, epochs=1, metrics=["r2"])


def exhausted_after_one():
    stream = iter(PAIRS[:1])
    return lambda: stream


def test_frames_of_every_kind_are_arrays():
    columns, wanted = list("abc"), trainer()
    wanted.fit(X, Y, epochs=2)
    table = dict(zip(columns, X.T, strict=True))
    for frame in (pd.DataFrame(X, columns=columns), pl.DataFrame(X, schema=columns), pa.table(table)):
        framed = trainer()
        framed.fit(frame, pa.array(Y[:, 0]), epochs=2)
        same(framed, wanted)
        np.testing.assert_array_equal(np.asarray(framed.mlp.predict(frame)), wanted.mlp.predict(X))
    refusal = r"column 'b' of X holds \w+ values, not real numbers; encode text and categories first"
    with pytest.raises(gd.InputError, match=refusal):
        trainer().fit(pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [3, 4]}), [0, 1], epochs=1)
