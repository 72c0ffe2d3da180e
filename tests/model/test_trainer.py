"""Trainer and fit: epochs, validation, early stopping, continuation, what goes wrong."""

import logging
import math

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import randomness
from gdkernels.errors import InputError
from gdkernels.training.epoch_runner import EpochRunner
from gdkernels.training.history import StopReason

RNG = np.random.default_rng(0)
X = RNG.standard_normal((103, 5)).astype(np.float32)
Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 3]]).astype(np.float32)


def network(sizes=(5, 16, 2), **keywords) -> gd.MLP:
    return gd.MLP(list(sizes), **({"seed": 3, "backend": "numpy", "activation": "tanh"} | keywords))


def untouched(mlp: gd.MLP) -> bool:
    fresh = network()
    fresh.predict(X)  # binds it, so that the precision is the same
    mlp.predict(X)
    return same_bits(mlp, fresh)


def same_bits(a: gd.MLP, b: gd.MLP) -> bool:
    pairs = zip(a.parameters, b.parameters, strict=True)
    return all(np.array_equal(u, v) for p, q in pairs for u, v in zip(p, q, strict=True))


def test_epoch_returns_the_sum_of_the_losses_measured_before_each_step():
    mlp = network()
    trainer = gd.Trainer(mlp, optimizer=gd.SGD(0.05), loss="sse", batch_size=103)
    before = mlp.loss(X, Y, loss="sse", reduction="sum")
    total = trainer.epoch(X, Y)
    assert isinstance(total, float)
    assert total == pytest.approx(before, rel=1e-5)
    assert mlp.loss(X, Y, reduction="sum") < before


def test_the_mean_gradient_is_used_unless_the_sum_is_asked_for():
    mean, total = network(precision="float64"), network(precision="float64")
    mean.fit(X, Y, epochs=1, batch_size=103, optimizer=gd.SGD(0.103))
    total.fit(X, Y, epochs=1, batch_size=103, optimizer=gd.SGD(0.001), reduction="sum")
    for a, b in zip(mean.parameters, total.parameters, strict=True):
        np.testing.assert_allclose(a.W, b.W, rtol=1e-12)


def test_same_seed_same_bits_and_another_seed_other_bits():
    runs = [network(seed=s) for s in (3, 3, 4)]
    for mlp in runs:
        mlp.fit(X, Y, epochs=3, batch_size=16)
    assert same_bits(runs[0], runs[1])
    assert not same_bits(runs[0], runs[2])


def test_a_second_fit_continues_with_what_the_optimizer_carries():
    once, twice, through_trainer = network(), network(), network()
    once.fit(X, Y, epochs=6, batch_size=16)
    first = twice.fit(X, Y, epochs=2, batch_size=16)
    second = twice.fit(X, Y, epochs=4, batch_size=16)
    trainer = gd.Trainer(through_trainer, batch_size=16)
    for _ in range(6):
        trainer.epoch(X, Y)
    assert same_bits(once, twice)
    assert same_bits(once, through_trainer)
    assert [e.number for e in first.epochs + second.epochs] == [1, 2, 3, 4, 5, 6]


def test_other_settings_start_a_new_trainer_on_the_present_parameters():
    mlp, other = network(), network()
    mlp.fit(X, Y, epochs=2, batch_size=16)
    other.set_parameters(mlp.parameters)
    mlp.fit(X, Y, epochs=2, batch_size=32)
    other.fit(X, Y, epochs=2, batch_size=32)
    assert same_bits(mlp, other)


def test_validation_share_is_drawn_by_the_seed_and_never_trained_on():
    shared, apart = network(), network()
    rows = randomness.generator(3, "validation").permutation(103)
    kept, rest = rows[:21], rows[21:]
    a = shared.fit(X, Y, epochs=3, validation=0.2, batch_size=16)
    b = apart.fit(X[rest], Y[rest], epochs=3, validation=(X[kept], Y[kept]), batch_size=16)
    assert same_bits(shared, apart)
    assert a.validation_loss == b.validation_loss
    assert a.validation_loss[-1] == pytest.approx(shared.loss(X[kept], Y[kept]), rel=1e-5)


def test_early_stopping_keeps_the_best_parameters():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((24, 5)), rng.standard_normal((24, 1))
    held_out = rng.standard_normal((40, 5)), rng.standard_normal((40, 1))
    mlp = network((5, 64, 1))
    history = mlp.fit(x, y, epochs=300, validation=held_out, patience=7, batch_size=8, optimizer=gd.Adam(0.01))
    losses = history.validation_loss
    assert history.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == history.best_epoch + 7
    assert "7 epochs" in history.stopped
    assert mlp.loss(*held_out) == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > min(losses)


def test_history_records_what_was_asked_for():
    mlp = network()
    history = mlp.fit(
        X, Y, epochs=4, batch_size=103, gradient_norm=True, validation=(X, Y), metrics=["r2", "rmse", worst], l2=0.5,
        optimizer=gd.SGD(0.01), schedule=gd.schedules.Exponential(gamma=0.5),
    )  # fmt: skip
    assert history.learning_rate == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    assert (history.backend, history.device, history.precision) == ("numpy", "cpu", "float32")
    assert history.origin == "definition"
    assert history.reason
    last = history.epochs[-1]
    assert set(last.metrics) == {"r2", "rmse", "worst"}
    residual = Y - mlp.predict(X)
    assert last.metrics["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-5)
    assert last.metrics["worst"] == pytest.approx(np.abs(residual).max(), rel=1e-5)
    assert all(e.samples_per_second > 0 and e.seconds > 0 for e in history.epochs)
    # One step an epoch: the norm before it is that of the loss and the penalty at the initial weights.
    start = network()
    gradients = start.gradient(X, Y, loss="sse")
    squares = [
        np.sum((g.W + 0.5 * p.W) ** 2) + np.sum(g.b**2) for g, p in zip(gradients, start.parameters, strict=True)
    ]
    assert history.epochs[0].gradient_norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-4)
    assert history.as_dict()["epochs"][3]["number"] == 4


def worst(target, prediction):
    return np.abs(target - prediction).max()


def test_callbacks_see_each_epoch_and_can_stop():
    seen = []

    def stop_at_three(epoch):
        seen.append(epoch.number)
        return epoch.number == 3

    history = network().fit(X, Y, epochs=10, callbacks=iter([stop_at_three, lambda epoch: None]))
    assert seen == [1, 2, 3]
    assert "callback" in history.stopped


@pytest.mark.parametrize("callbacks", [None, print, 3, [print, 3]])
def test_callbacks_that_are_no_list_of_functions(callbacks):
    with pytest.raises(InputError, match="callbacks must be a list of functions|a callback must be a function"):
        network().fit(X, Y, epochs=1, callbacks=callbacks)
    with pytest.raises(InputError, match="metrics must be a list, got None"):
        network().fit(X, Y, epochs=1, metrics=None)


def test_clipping_bounds_the_step():
    mlp = network(precision="float64")
    before = mlp.parameters
    mlp.fit(X, 1e6 * Y, epochs=1, batch_size=103, optimizer=gd.SGD(1.0), clip_norm=0.01)
    moved = [a - b for p, q in zip(before, mlp.parameters, strict=True) for a, b in zip(p, q, strict=True)]
    assert math.sqrt(sum(np.sum(m**2) for m in moved)) == pytest.approx(0.01, rel=1e-6)


def test_a_schedule_of_ones_own_and_cosine_over_the_epochs_of_the_fit():
    history = network().fit(X, Y, epochs=2, schedule=lambda epoch, *, epochs, losses: 0.5, optimizer=gd.SGD(0.1))
    assert history.learning_rate == pytest.approx([0.05, 0.05])
    history = network().fit(X, Y, epochs=4, batch_size=103, schedule="cosine", optimizer=gd.SGD(0.1))
    assert history.learning_rate == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])
    with pytest.raises(gd.InputError, match="how many epochs"):
        gd.Trainer(network(), schedule="cosine").epoch(X, Y)


def test_reduce_on_plateau_follows_the_validation_loss():
    plateau = gd.schedules.ReduceOnPlateau(gamma=0.1, patience=1, threshold=0.5)
    history = network().fit(X, Y, epochs=6, optimizer=gd.SGD(1e-6), schedule=plateau, validation=0.2)
    assert history.learning_rate == pytest.approx([1e-6, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10])


def test_divergence_returns_to_the_last_finite_epoch(caplog):
    mlp = network(activation="identity")
    with caplog.at_level(logging.WARNING, logger="gdkernels"):
        history = mlp.fit(X, Y, epochs=500, batch_size=103, optimizer=gd.SGD(5.0))
    assert history.diverged
    assert "Lower the learning rate" in history.stopped
    assert "stopped being finite" in caplog.text
    assert len(history.epochs) > 1
    assert all(np.isfinite(a).all() for layer in mlp.parameters for a in layer)
    trainer = gd.Trainer(network(), optimizer=gd.SGD(1e30))
    with pytest.raises(gd.DivergenceError, match="epoch 1"):
        trainer.epoch(X, Y)
    assert untouched(trainer.mlp)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1, "batch_size": 0}, "batch_size"),
        ({"epochs": 1, "l2": -1}, "l2"),
        ({"epochs": 1, "clip_norm": 0}, "clip_norm"),
        ({"epochs": 1, "reduction": "median"}, "median"),
        ({"epochs": 1, "optimizer": "adamm"}, "Did you mean 'adam'"),
        ({"epochs": 1, "loss": "sss"}, "Did you mean 'sse'"),
        ({"epochs": 1, "schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"epochs": 1, "validation": 1.5}, "share between 0 and 1"),
        ({"epochs": 1, "validation": 0.001}, "leaves 0"),
        ({"epochs": 1, "validation": (X[:, :3], Y)}, "the validation X"),
        ({"epochs": 1, "patience": 0}, "patience"),
        ({"epochs": 1, "starts": 0}, "starts"),
        ({"epochs": 1, "metrics": ["r3"]}, "metric"),
        ({"epochs": 1, "metrics": "r2"}, "list"),
        ({"epochs": 1, "stop_gradient_norm": -1.0}, "stop_gradient_norm"),
    ],
)
def test_settings_out_of_range_are_refused_before_training(keywords, message):
    mlp = network()
    with pytest.raises(gd.InputError, match=message):
        mlp.fit(X, Y, **keywords)
    assert untouched(mlp)


def test_an_optimizer_that_upcasts_is_told_why():
    class Upcasting(gd.Optimizer):
        learning_rate = 0.1

        def rule(self, w, g, slots, *, learning_rate, t, xp):
            return w - xp.sqrt(np.float64(learning_rate)) * g, ()

    with pytest.raises(gd.InputError, match="float64"):
        network().fit(X, Y, epochs=1, optimizer=Upcasting())


def test_no_bar_off_a_terminal_and_one_where_asked_for(capfd):
    network().fit(X, Y, epochs=2)
    assert capfd.readouterr().err == ""
    network().fit(X, Y, epochs=2, progress=True)
    assert "samples/s" in capfd.readouterr().err


def test_an_order_of_ones_own():
    given, by_hand = network(), network()
    rows = np.arange(103)[::-1].copy()
    trainer = gd.Trainer(given, batch_size=16, order=lambda epoch, records: rows if epoch else np.arange(records))
    trainer.fit(X, Y, epochs=2)
    other = gd.Trainer(by_hand, batch_size=16, order=lambda epoch, records: np.arange(records))
    other.epoch(X, Y)
    other.epoch(X[rows], Y[rows])
    assert same_bits(given, by_hand)
    for wrong in (np.arange(5), np.arange(103.0), np.arange(103) + 1, np.arange(103) - 1):
        with pytest.raises(gd.InputError, match="order must return 103 numbers of rows"):
            gd.Trainer(network(), order=lambda epoch, records, wrong=wrong: wrong).epoch(X, Y)


class Patient:
    """A callback that looks at the network after every fourth epoch, and ends training after the eighth."""

    def __init__(self):
        self.seen = []

    def next_look(self):
        return 4 - len(self.seen) % 4

    def __call__(self, epoch):
        self.seen.append(epoch.number)
        return len(self.seen) == 8


def test_a_callback_can_let_epochs_run_at_once(monkeypatch):
    X = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    at_once, run_epochs = [], EpochRunner.run_epochs
    monkeypatch.setattr("gdkernels.training.looks._AT_ONCE", 1e9)  # however long the first one takes
    monkeypatch.setattr(
        EpochRunner, "run_epochs", lambda self, *a, **k: (at_once.append(a[2]), run_epochs(self, *a, **k))[1]
    )
    patient, watched = Patient(), gd.MLP([3, 4, 1], seed=0, backend="numpy")
    history = watched.fit(X, X[:, :1], epochs=20, callbacks=[patient], progress=False)
    assert patient.seen == list(range(1, 9))
    assert history.stop.reason is StopReason.CALLBACK
    assert at_once == [1, 3, 4]  # the first by itself, which tells how long one takes
    alone = gd.MLP([3, 4, 1], seed=0, backend="numpy")
    assert alone.fit(X, X[:, :1], epochs=8, callbacks=[lambda epoch: None], progress=False).loss == history.loss
    np.testing.assert_array_equal(alone.predict(X), watched.predict(X))
