"""Training on records that are in memory a window at a time."""

import os
import shutil
import threading

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.data.stored import windows as windows_module
from gdkernels.data.stored.windows import Windows
from gdkernels.errors import FileError, InputError, Interrupted
from gdkernels.metrics import resolve_metrics
from gdkernels.training.evaluator import Evaluator

RNG = np.random.default_rng(0)
RECORDS = 1501
X = RNG.standard_normal((RECORDS, 5)).astype(np.float32)
Y = X[:, :1] ** 2 - X[:, 1:2]
CLASSES = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
WEIGHTS = RNG.random(RECORDS).astype(np.float32)
SMALL = 20_000  # bytes: some 250 records at a time


@pytest.fixture(params=["numpy", "numba"])
def backend(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    for name, array in (("X", X), ("Y", Y), ("C", CLASSES), ("W", WEIGHTS)):
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


def stored(folder, *, memory=SMALL, weights=False):
    weight = folder / "W.npy" if weights else None
    return gd.Stored(folder / "X.npy", folder / "Y.npy", weight, memory=memory)


def trainer(backend="numpy", outputs=1, **settings):
    mlp = gd.MLP([5, 12, outputs], seed=3, backend=backend, precision=settings.pop("precision", "float32"))
    return gd.Trainer(mlp, **{"batch_size": 20} | settings)


def bits(made):
    return [np.asarray(a, np.float32).tobytes() for layer in made.mlp.parameters for a in layer]


@pytest.mark.parametrize("weights", [False, True])
def test_what_fits_into_memory_is_trained_on_as_arrays_are(folder, backend, weights):
    arrays, files, maps = trainer(backend), trainer(backend), trainer(backend)
    run = {"epochs": 2, "validation": 0.2, "metrics": ["r2"]}
    a = arrays.fit(X, Y, sample_weight=WEIGHTS if weights else None, **run)
    b = files.fit(stored(folder, memory="1MB", weights=weights), **run)
    mapped = np.load(folder / "X.npy", mmap_mode="r")
    c = maps.fit(mapped, np.load(folder / "Y.npy"), sample_weight=WEIGHTS if weights else None, **run)
    assert bits(arrays) == bits(files) == bits(maps)
    assert a.validation_loss == b.validation_loss == c.validation_loss
    assert a.epochs[-1].metrics == b.epochs[-1].metrics


@pytest.mark.parametrize("share", [0, 0.13])
def test_pieces_hold_every_record_once_in_the_order_of_the_shuffle(folder, share):
    made = trainer()
    with made.mlp.network.bound(X):
        data = made.runner.place(stored(folder, weights=True), None, None)
        assert isinstance(data, Windows)
        train, _ = data.split(share, 3) if share else (data, None)
        arranged = train.shuffled(20, 3, 0)
        whole = [piece.records.take(piece.order) for piece in arranged.pieces(0)]
        pieces = [(p.x.copy(), p.y.copy(), p.weights.copy()) for p in whole]
        x, y, w = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        place = {row.tobytes(): k for k, row in enumerate(X)}
        rows = np.array([place[row.tobytes()] for row in x])
        assert len(set(rows)) == len(rows) == len(train) == RECORDS - int(share * RECORDS)
        assert (y == Y[rows]).all()
        assert (w == WEIGHTS[rows]).all()
        assert len(pieces) == arranged._shuffle.windows > 4
        for step in range(arranged.steps):  # from any step on, it is the same
            first = next(arranged.pieces(step))
            assert first.first <= step < first.last
            begun = first.records.x[first.order]
            assert (begun == x[first.first * 20 : first.first * 20 + len(begun)]).all()


def test_training_on_windows_learns_and_is_repeatable(folder, backend):
    def fit(*data):
        made = trainer(backend, optimizer=gd.Adam(1e-2))
        history = made.fit(*data, epochs=6, validation=0.1, metrics=["r2"])
        return bits(made), history.epochs[-1].metrics["r2"]

    once, again, uniform = fit(stored(folder)), fit(stored(folder)), fit(X, Y)
    assert once == again
    assert once[1] > 0.9
    assert abs(once[1] - uniform[1]) < 0.05


def test_figures_of_windows_are_those_of_arrays(folder):
    held_out = trainer("numba")
    own = gd.Stored(folder / "X.npy", folder / "Y.npy", folder / "W.npy", memory=SMALL)
    names = ["r2", "rmse", "mae"]
    a = held_out.fit(stored(folder), epochs=1, validation=own, metrics=names)
    mlp = held_out.mlp
    expected = trainer("numba")
    expected.mlp.set_parameters(mlp.parameters)
    with expected.mlp.network.bound(X):
        records = expected.runner.place_records(X, Y, WEIGHTS)
        judge = Evaluator(expected.mlp.network, records, records, resolve_metrics(names))
        figures, loss = judge.metrics(), judge.validation_loss(1)
    np.testing.assert_allclose([a.epochs[0].metrics[n] for n in names], [figures[n] for n in names], rtol=1e-6)
    np.testing.assert_allclose(a.validation_loss[0], loss, rtol=1e-6)


def test_classes_weights_and_other_precisions(folder):
    made = trainer(outputs=3, loss="cross_entropy", precision="float64", optimizer=gd.Adam(1e-2))
    data = gd.Stored(folder / "X.npy", folder / "C.npy", folder / "W.npy", memory=2 * SMALL)
    history = made.fit(data, epochs=4, validation=0.1, metrics=["accuracy", "log_loss"], patience=3)
    assert history.precision == "float64"
    assert history.epochs[-1].metrics["accuracy"] > 0.8
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize(
    ("backend", "weights"),
    [  # weights of records are read beside them, whatever computes
        ("numpy", True),
        ("numba", False),
        pytest.param("numpy", False, marks=pytest.mark.slow),
        pytest.param("numba", True, marks=pytest.mark.slow),
    ],
)
def test_from_every_checkpoint(folder, backend, weights):
    def fit(name):
        made = trainer(backend, schedule="cosine")
        run = {"every": "7 steps", "keep": 1000, "resume": True, "validation": 0.2, "gradient_norm": True}
        history = made.fit(stored(folder, weights=weights), epochs=2, checkpoint=folder / name, **run)
        figures = [(e.loss, e.validation_loss, e.gradient_norm, e.learning_rate) for e in history.epochs]
        return bits(made), figures

    whole = fit("whole")
    checkpoints = sorted((folder / "whole").glob("step-*"))
    assert len(checkpoints) > 12  # an epoch has 61 steps in 7 windows
    for checkpoint in checkpoints[::2]:
        (folder / checkpoint.stem).mkdir()
        shutil.copy(checkpoint, folder / checkpoint.stem)
        assert fit(checkpoint.stem) == whole
    without = trainer(backend, schedule="cosine")
    without.fit(stored(folder, weights=weights), epochs=2, validation=0.2, gradient_norm=True)
    assert bits(without) == whole[0]


def test_other_data_or_another_memory_are_refused(folder):
    def fit(memory=SMALL):
        trainer().fit(stored(folder, memory=memory), epochs=1, checkpoint=folder / "c", resume=True)

    fit()
    for memory, read in ((2 * SMALL, r"\d+ records at a time"), ("1GB", "all records at once")):
        with pytest.raises(FileError, match=rf": {read} are read by this memory, not \d+ records at a time as before"):
            fit(memory)
    changed = X.copy()
    changed[777, 3] += 1
    np.save(folder / "X.npy", changed)
    with pytest.raises(FileError, match="the data differ"):
        fit()


def test_a_signal_stops_in_the_middle_and_the_reader_ends(folder, backend):
    import signal

    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    made = trainer(backend, schedule=lambda position, **_: (stop(), np.ones_like(position))[1])
    with pytest.raises(Interrupted, match="its checkpoint is in"):
        made.fit(stored(folder), epochs=2, checkpoint=folder / "c", every="1000 steps")
    assert not [t for t in threading.enumerate() if t.name.startswith("gdkernels-read")]


def test_what_is_wrong_is_said_with_its_place(folder):
    bad = X.copy()
    bad[1234, 2] = np.nan
    np.save(folder / "X.npy", bad)
    made = trainer()
    before = bits(made)
    with pytest.raises(InputError, match=r"X, from record \d+,?\d* on, holds nan in row \d+, column 2") as error:
        made.fit(stored(folder), epochs=1)
    first, row = (int(str(error.value).replace(",", "").split(word)[1].split()[0]) for word in ("record ", "row "))
    assert first + row == 1234
    assert bits(made) == before
    assert not [t for t in threading.enumerate() if t.name.startswith("gdkernels-read")]
    np.save(folder / "C.npy", np.full(RECORDS, 3))
    with pytest.raises(InputError, match="Y, from record 0 on, holds 3 in row 0; with 3 outputs"):
        trainer(outputs=3, loss="cross_entropy").fit(gd.Stored(X, folder / "C.npy", memory=SMALL), epochs=1)


def test_a_file_that_is_cut_short_while_it_is_read(folder, monkeypatch):
    data, taken = stored(folder), []
    pieces = windows_module.ShuffledWindows.pieces

    def cut(self, step):
        for piece in pieces(self, step):
            taken.append(piece)
            if len(taken) == 2:
                os.truncate(folder / "X.npy", 5000)
            yield piece

    monkeypatch.setattr(windows_module.ShuffledWindows, "pieces", cut)
    made = trainer()
    before = bits(made)
    with pytest.raises(FileError, match=r"X.npy was (cut short|changed) while it was read"):
        made.fit(data, epochs=1)
    assert bits(made) == before  # those of the last epoch's end


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda f: stored(f, memory="much"), "memory must be a size as in '512MB'"),
        (lambda f: gd.Stored(f / "X.npy", Y[:5]), r"Y has the shape \(5, 1\), but X has 1,501 rows"),
        (lambda f: gd.Stored(X), "Y is missing, and X is no NPZ file but ndarray"),
        (lambda f: trainer().fit(stored(f, memory=2000), epochs=1), "holds 22 records at a time.*: allow 3.56 kB"),
        (lambda f: trainer().fit(gd.Stored(X[:, :4], Y), epochs=1), r"X has the shape \(1501, 4\); the network has 5"),
        (lambda f: trainer().fit(stored(f), Y, epochs=1), "Stored, which has Y and sample_weight already"),
        (lambda f: trainer(order=lambda e, n: range(n)).fit(stored(f), epochs=1), "order= needs all records in memory"),
        (lambda f: trainer().fit(stored(f), epochs=1, metrics=[max]), "the metric 'max' needs all predictions at once"),
        (lambda f: trainer().fit(stored(f), epochs=1, validation=1e-6), "leaves none on one side"),
        (lambda f: trainer().fit(gd.Stored(X, Y, 0 * WEIGHTS), epochs=1), "none of the 1,501 records has a weight"),
    ],
)
def test_what_cannot_be_is_refused(folder, call, pattern):
    with pytest.raises(InputError, match=pattern):
        call(folder)
