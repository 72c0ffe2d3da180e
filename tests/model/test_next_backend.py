"""If a backend fails that nobody named, the next one goes on from the same state, and nothing is lost."""

import numpy as np
import pytest
from card_backend import Card
from plugins import working

import gdkernels as gd
from gdkernels.data.sparse import SparseRows
from gdkernels.dispatch import preference
from gdkernels.errors import BackendError
from gdkernels.files.checkpoint_folder import Folder

RANDOM = np.random.default_rng(4)
X = RANDOM.standard_normal((50, 6)).astype(np.float32)
Y = np.sin(X[:, :2])
SIZES = (6, 8, 2)


@pytest.fixture(autouse=True)
def installed(plugins, monkeypatch, tmp_path):
    """The card is better than the host, whatever the work."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(preference, "UNMEASURED_FLOPS", 0.0)
    plugins.add("card", "from card_backend import Card as Backend")
    plugins.add("numpy", working("numpy"))
    Card.plan()


def fit(backend="auto", x=X, y=Y, epochs=4, **settings):
    mlp = gd.MLP(SIZES, seed=0, backend=backend)
    return mlp, mlp.fit(x, y, epochs=epochs, batch_size=16, **{"validation": 0.2, **settings})


def same(one, other):
    """Both did the same steps: in another library, so to rounding."""
    (mlp, history), (wanted, expected) = one, other
    assert mlp.backend == "numpy"
    assert [e.number for e in history.epochs] == [e.number for e in expected.epochs]
    assert history.loss == pytest.approx(expected.loss, rel=1e-5)
    if expected.validation_loss[0] is not None:
        assert history.validation_loss == pytest.approx(expected.validation_loss, rel=1e-5)
    for mine, theirs in zip(mlp.parameters, wanted.parameters, strict=True):
        np.testing.assert_allclose(mine.W, theirs.W, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mine.b, theirs.b, rtol=1e-4, atol=1e-6)


def test_without_a_failure_the_card_is_used():
    mlp, history = fit()
    assert (mlp.backend, history.device) == ("card", "device1")


FAILURES = {
    "placing parameters": {"place": 1},
    "placing data": {"place": 7},
    "compiling": {"compile": 1},
    "the first run": {"run": 1},
    "the third run": {"run": 3},
    "the first evaluation": {"predict": 1},
    "the third evaluation": {"predict": 3},
    "waiting for the end of an epoch": {"synchronize": 2},
    "a step in the middle of a run": {"run": 3, "halfway": True},
}


@pytest.mark.parametrize("what", FAILURES)
def test_training_goes_on_from_the_same_state(what, caplog):
    Card.plan(**FAILURES[what])
    found = fit()
    same(found, fit("numpy"))
    history = found[1]
    assert (history.backend, history.device, history.origin) == ("numpy", "cpu", "definition")
    assert "(card failed: the card cannot" in history.reason
    assert history.memory is not None, "the host's memory is estimated now"
    assert caplog.text.count("backend 'card' failed: the card cannot") == 1
    assert "as planted; falling back" in caplog.text


@pytest.mark.parametrize("named", [{"backend": "card"}, {"device": "device1"}])
def test_one_that_was_named_is_an_error(named):
    Card.plan(run=1)
    mlp = gd.MLP(SIZES, seed=0, **named)
    with pytest.raises(BackendError, match="the card cannot run"):
        mlp.fit(X, Y, epochs=1)
    assert mlp.backend == "card"


def test_one_that_the_environment_named_is_an_error(monkeypatch):
    Card.plan(run=1)
    monkeypatch.setenv("GDKERNELS_BACKEND", "card")
    with pytest.raises(BackendError, match="the card cannot run"):
        fit()


def test_where_nothing_else_has_the_precision_it_is_the_first_error(monkeypatch):
    monkeypatch.setattr(Card, "precisions", ("float32", "bfloat16"))
    Card.plan(run=1)
    with pytest.raises(BackendError, match="the card cannot run"):
        gd.MLP(SIZES, seed=0, precision="bfloat16").fit(X, Y, epochs=1)


def test_a_device_that_gives_nothing_back_ends_training_with_its_own_error():
    Card.plan(run=3, give_back=1)
    with pytest.raises(BackendError, match="the card cannot run"):
        fit(validation=None)


def test_several_backends_may_fail_one_after_the_other(plugins, caplog):
    broken = (
        working("second", priority=5)
        + "    contract = 2\n"
        + "    def compile(self, program, plan):\n"
        + ("        from gdkernels.errors import BackendError\n        raise BackendError('second, as planted')\n")
    )
    plugins.add("second", broken)
    Card.plan(run=3)
    found = fit()
    same(found, fit("numpy"))
    assert "card failed: " in found[1].reason
    assert "second failed: second, as planted" in found[1].reason


# ---- whatever kind of data


@pytest.mark.parametrize("what", [{"place": 9}, {"run": 1}, {"run": 4}])
def test_batches_come_once_and_none_is_lost(what):
    def batches():
        for k in range(0, 48, 8):
            yield X[k : k + 8], Y[k : k + 8], np.linspace(0.5, 2.0, 8, dtype=np.float32)

    Card.plan(**what)
    mlp = gd.MLP(SIZES, seed=0)
    history = mlp.fit(batches(), epochs=1)  # an iterator, which cannot begin again
    wanted = gd.MLP(SIZES, seed=0, backend="numpy")
    same((mlp, history), (wanted, wanted.fit(batches(), epochs=1)))


def test_batches_over_epochs():
    source = [(X[k : k + 10], Y[k : k + 10]) for k in range(0, 50, 10)]
    Card.plan(run=8)
    mlp, wanted = (gd.MLP(SIZES, seed=0, backend=b) for b in ("auto", "numpy"))
    asked = {"epochs": 3, "validation": (X, Y), "patience": 3, "retries": 1}
    history = mlp.fit(source, **asked)
    same((mlp, history), (wanted, wanted.fit(source, **asked)))
    assert (history.backend, history.memory is None) == ("numpy", False)
    assert "card failed: the card cannot run" in history.reason


def test_a_retry_goes_back_to_a_start_that_was_on_the_card():
    """In batches, which go on by themselves: the rate is far too large from the third epoch on."""
    source = [(X[k : k + 10], Y[k : k + 10]) for k in range(0, 50, 10)]
    rate = {"optimizer": "sgd", "schedule": lambda position, **_: np.where(position < 2, 1.0, 1e30)}
    Card.plan(run=8)
    mlp, wanted = (gd.MLP(SIZES, seed=0, backend=b) for b in ("auto", "numpy"))
    history, expected = (one.fit(source, epochs=4, retries=3, **rate) for one in (mlp, wanted))
    assert history.diverged
    assert expected.diverged
    same((mlp, history), (wanted, expected))


@pytest.mark.parametrize("by", ["fit", "epoch"])
def test_a_step_of_a_batch_that_is_done_is_not_done_again(by):
    """Its E is not known then: the epoch begins again where its batches come again, and is an error elsewhere."""
    source = [(X[:10], Y[:10]), (X[10:20], Y[10:20])]

    def train(backend, batches):
        mlp = gd.MLP(SIZES, seed=0, backend=backend)
        trainer = gd.Trainer(mlp)
        history = trainer.fit(batches, epochs=1) if by == "fit" else trainer.epoch(batches)
        return mlp, history

    wanted = train("numpy", source)
    Card.plan(run=2, halfway=True)
    mlp, history = train("auto", source)
    if by == "fit":
        same((mlp, history), wanted)
    else:
        assert history == pytest.approx(wanted[1], rel=1e-5)
    Card.plan(run=2, halfway=True)
    with pytest.raises(BackendError, match="the card cannot run"):
        train("auto", iter(source))


def test_records_in_files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)

    def stored():
        return gd.Stored(tmp_path / "x.npy", tmp_path / "y.npy", memory=6000)

    Card.plan(run=3)
    mlp, wanted = (gd.MLP(SIZES, seed=0, backend=b) for b in ("auto", "numpy"))
    same((mlp, mlp.fit(stored(), epochs=3)), (wanted, wanted.fit(stored(), epochs=3)))


def test_sparse_records():
    rows = SparseRows(pytest.importorskip("scipy.sparse").csr_matrix(np.where(X > 0.5, X, 0)))
    Card.plan(run=3)
    same(fit(x=rows, validation=None), fit("numpy", x=rows, validation=None))


# ---- with all that a fit keeps


def test_optimizer_patience_and_restarts_keep_theirs():
    settings = {"optimizer": "adam", "patience": 2, "starts": 3, "epochs": 5}
    Card.plan(run=8)
    found, wanted = fit(**settings), fit("numpy", **settings)
    same(found, wanted)
    assert [s.loss for s in found[1].starts] == pytest.approx([s.loss for s in wanted[1].starts], rel=1e-5)


def test_the_best_epoch_may_be_one_of_the_card():
    Card.plan(run=4)
    mlp = gd.MLP(SIZES, seed=0)
    rising = {"optimizer": "sgd", "schedule": lambda position, **_: np.where(position < 2, 1e-2, -1e-1)}
    history = mlp.fit(X, Y, epochs=6, patience=3, **rising)
    wanted = gd.MLP(SIZES, seed=0, backend="numpy")
    expected = wanted.fit(X, Y, epochs=6, patience=3, **rising)
    assert history.best_epoch == expected.best_epoch == 3, "the last that the card did"
    same((mlp, history), (wanted, expected))


@pytest.mark.parametrize(("every", "run"), [("1 steps", 6), ("1 epochs", 3)])
@pytest.mark.parametrize("halfway", [False, True])
def test_checkpoints_go_on_from_where_they_were(tmp_path, every, run, halfway):
    Card.plan(run=run, halfway=halfway)
    found = fit(checkpoint=tmp_path / "kept", every=every, retries=1)
    same(found, fit("numpy"))
    folder = Folder(tmp_path / "kept", 3)
    newest = folder.newest()
    folder.close()
    assert newest is not None
    assert newest[2]["plan"]["backend"] == "numpy"


def test_a_fit_that_was_begun_on_the_card_resumes_on_the_host(tmp_path):
    class StopError(Exception):
        pass

    def stop(epoch):
        if epoch.number == 2:
            raise StopError

    kept = {"checkpoint": tmp_path / "kept", "every": "1 epochs"}
    with pytest.raises(StopError):
        fit(callbacks=[stop], **kept)
    Card.plan(place=1)
    found = fit(resume=True, **kept)
    same(found, fit("numpy"))


def test_a_trainer_s_epochs():
    Card.plan(run=2)
    found, wanted = (gd.Trainer(gd.MLP(SIZES, seed=0, backend=b), batch_size=16) for b in ("auto", "numpy"))
    assert [found.epoch(X, Y) for _ in range(3)] == pytest.approx([wanted.epoch(X, Y) for _ in range(3)], rel=1e-5)
    assert found.mlp.backend == "numpy"
    assert found.runner.optimizer_state.steps == wanted.runner.optimizer_state.steps


# ---- predictions


ASKED = {
    "predict": lambda mlp: mlp.predict(X),
    "loss": lambda mlp: mlp.loss(X, Y),
}


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("how", [{"predict": 1}, {"place": 1}, {"compile": 1}])
def test_predictions_come_from_the_next_one(what, how):
    Card.plan(**how)
    mlp, wanted = gd.MLP(SIZES, seed=0), gd.MLP(SIZES, seed=0, backend="numpy")
    found = ASKED[what](mlp)
    assert mlp.backend == "numpy"
    np.testing.assert_allclose(found, ASKED[what](wanted), rtol=1e-5, atol=1e-6)
    if what == "predict":
        assert isinstance(found, np.ndarray)


def test_classes_come_from_the_next_one_too():
    mlp = gd.MLP((6, 8, 3), seed=0)
    mlp.fit(X, np.arange(50) % 3, epochs=2, loss="cross_entropy")
    assert mlp.backend == "card"
    wanted = mlp.predict(X), mlp.predict_proba(X)
    Card.plan(predict=1)
    np.testing.assert_array_equal(mlp.predict(X), wanted[0])
    np.testing.assert_allclose(mlp.predict_proba(X), wanted[1], rtol=1e-5)
    assert mlp.backend == "numpy"


def test_the_gradient_comes_from_the_next_one():
    Card.plan(place=6)
    mlp, wanted = gd.MLP(SIZES, seed=0), gd.MLP(SIZES, seed=0, backend="numpy")
    for mine, theirs in zip(mlp.gradient(X, Y), wanted.gradient(X, Y), strict=True):
        np.testing.assert_allclose(mine.W, theirs.W, rtol=1e-4, atol=1e-6)


def test_data_that_are_on_a_device_stay_there(monkeypatch):
    """Nobody asked for them to be copied to the host."""
    monkeypatch.setattr("gdkernels.network.places.on_host", lambda X: False)
    Card.plan(run=1)
    with pytest.raises(BackendError, match="the card cannot run"):
        fit()
