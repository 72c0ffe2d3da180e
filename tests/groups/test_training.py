"""Training on several ranks: bits depend on the shards alone, whatever the backend, the settings and the data."""

import numpy as np
import pytest
from shared_fits import BACKENDS, CLASSES, SHARDS, WEIGHTS, X, Y, digest, trained
from strict_backend import StrictBackend
from thread_group import on_ranks

import gdkernels as gd
from gdkernels.errors import FileError, InputError

SETTINGS = {
    "sgd": {"optimizer": "sgd"},
    "adam, clipped": {"optimizer": "adam", "clip_norm": 0.3, "gradient_norm": True},
    "weights, l2 in the loss": {"sample_weight": WEIGHTS, "l2": 0.01, "l2_in_loss": True, "gradient_norm": True},
    "sums, validation, patience": {"reduction": "sum", "validation": 0.25, "patience": 1, "metrics": ["r2", "mae"]},
    "a schedule that watches the loss": {"schedule": "reduce_on_plateau", "epochs": 6},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_bits_depend_on_the_shards_alone(backend, name):
    settings = SETTINGS[name]
    bits, told, _ = trained(None, backend=backend, **settings)
    for size in (2, 3):
        for found in on_ranks(size, lambda group: trained(group, backend=backend, **settings)):
            assert found[:2] == (bits, told)
    # And they are those of a step on the whole batch, to rounding.
    whole = trained(None, 1, backend=backend, **settings)[1]
    for (loss, *_), (other, *_) in zip(told, whole, strict=True):
        assert loss == pytest.approx(other, rel=2e-5)


def test_shards_of_several_tiles_have_the_error_of_all_of_them():
    x = np.random.default_rng(1).standard_normal((2100, 8)).astype(np.float32)
    settings = {"backend": "numba", "sizes": (8, 32, 32, 1), "data": (x, np.sin(x[:, :1])), "batch_size": 1024}
    settings |= {"optimizer": "sgd", "clip_norm": 0.01, "gradient_norm": True}
    bits, told, history = trained(None, 2, **settings)
    assert history.plan.choices["tile_rows"] < 512 // 2
    for found in on_ranks(2, lambda group: trained(group, 2, **settings)):
        assert found[:2] == (bits, told)
    exact = trained(None, 1, **settings | {"backend": "numpy", "precision": "float64"})[1]
    assert [e[0] for e in told] == pytest.approx([e[0] for e in exact], rel=2e-6)
    assert [e[2] for e in told] == pytest.approx([e[2] for e in exact], rel=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_of_all_kinds_have_the_bits_of_their_shards(backend):
    for settings in (
        {"dropout": 0.3, "norm": "layer"},
        {"sizes": (6, 9, 3), "data": (X, CLASSES), "loss": "cross_entropy", "metrics": ["accuracy"]},
        {"precision": "float64"},
        {"sizes": (6, 1), "data": (X, Y[:, 0])},
    ):
        one = trained(None, backend=backend, **settings)
        two = on_ranks(2, lambda group, settings=settings: trained(group, backend=backend, **settings))
        assert {found[0] for found in two} == {one[0]}
        assert two[0][1] == one[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_shard_is_a_fit_as_any_other(backend):
    alone = trained(None, None, backend=backend)
    assert trained(None, 1, backend=backend)[:2] == alone[:2] == trained("serial", None, backend=backend)[:2]
    assert alone[2].ranks is None
    assert "shards" not in alone[2].plan.choices


def test_a_rank_with_several_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr("gdkernels.training.together._FLOPS_OF_A_SHARD", 1.0)
    for backend in BACKENDS:
        one = trained(None, backend=backend, validation=0.2)
        monkeypatch.setattr("gdkernels.training.together.threads_of_ranks", lambda group: [4] * group.size)
        assert trained(None, backend=backend, validation=0.2)[:2] == one[:2]
        assert on_ranks(2, lambda group, backend=backend: trained(group, None, backend=backend)[2].ranks.shards)[0] == 8
        monkeypatch.undo()
        monkeypatch.setattr("gdkernels.training.together._FLOPS_OF_A_SHARD", 1.0)


WIDE = np.random.default_rng(1).standard_normal((1100, 32)).astype(np.float32)  # the last batch is smaller


PIECES = {
    "summed by tile": {"sizes": (32, 64, 64, 1), "batch_size": 512, "optimizer": "adam"},
    "summed of the whole batch": {"sizes": (32, 300, 200), "batch_size": 300, "l2": 0.01},
}


@pytest.mark.parametrize("name", PIECES)
def test_shards_that_share_the_pieces_of_one_process_have_its_bits(name, monkeypatch):
    """The number of pieces is a multiple of the shards; ranks, their threads and other models change nothing."""
    settings = {"epochs": 2, "optimizer": "sgd", "backend": "numba"} | PIECES[name]
    settings["data"] = (WIDE, np.repeat(np.sin(WIDE[:, :1]), settings["sizes"][-1], axis=1))
    *one, history = trained(None, None, **settings)
    pieces = history.plan.choices["pieces"]
    assert pieces >= 4
    assert history.plan.choices["tree_sums"]
    for ranks, shards in ((1, 2), (2, 2), (1, 4), (3, 4)):
        for found in on_ranks(ranks, lambda group, shards=shards: trained(group, shards, **settings)):
            assert list(found[:2]) == one
            assert found[2].plan.choices["pieces"] == pieces // shards
    monkeypatch.setattr("gdkernels.training.together._FLOPS_OF_A_SHARD", 1.0)
    monkeypatch.setattr("gdkernels.training.together.threads_of_ranks", lambda group: [2] * group.size)
    assert list(trained(None, 4, **settings)[:2]) == one

    several = {n: v for n, v in settings.items() if n in ("optimizer", "batch_size", "l2")}
    models = [gd.MLP(settings["sizes"], seed=k, backend="numba") for k in range(2)]
    gd.fit_many(models, *settings["data"], epochs=2, settings=several, progress=False)
    assert digest(models[0]) == one[0]


def test_the_history_tells_of_the_ranks():
    first, history, _ = on_ranks(3, lambda group: trained(group, None, backend="auto")[2])
    ranks = history.ranks
    assert history.reason == first.reason
    assert "checkpoint" not in history.reason
    assert (ranks.group, ranks.ranks, ranks.shards) == ("threads", 3, 3)
    assert 0 <= ranks.communication <= 1
    assert ranks.slowest in range(3)
    assert history.as_dict()["ranks"]["shards"] == 3
    assert str(ranks).startswith("3 ranks of threads, bits of 3 shards: repeat with --shards 3")


def test_epochs_of_the_trainer_and_batches_of_the_user_are_shared():
    def epochs(group):
        model = gd.MLP([6, 9, 3], seed=0, backend="numpy")
        trainer = gd.Trainer(model, batch_size=40, group=group, shards=SHARDS)
        losses = [trainer.epoch(X, Y), trainer.epoch(X, Y, sample_weight=WEIGHTS)]
        parts = [(X[k : k + 30], Y[k : k + 30]) for k in range(0, 203, 30)]
        losses += trainer.fit(parts, epochs=2).loss
        return digest(model), losses

    one = epochs(None)
    assert on_ranks(3, epochs) == [one] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_records_in_files_are_dealt_to_the_shards(backend, tmp_path):
    many = np.random.default_rng(1).standard_normal((1001, 16)).astype(np.float32)
    for name, array in (("x", many), ("y", many[:, :1]), ("w", np.abs(many[:, 1]))):
        np.save(tmp_path / f"{name}.npy", array)

    def stored(group, shards=SHARDS, weights=None, **more):
        weights = weights and tmp_path / f"{weights}.npy"
        data = gd.Stored(tmp_path / "x.npy", tmp_path / "y.npy", weights, memory="60kB")
        settings = {"epochs": 2, "batch_size": 100, "metrics": ["r2"] if more else []} | more
        return trained(group, shards, backend, (16, 4, 1), (data,), **settings)

    for settings in ({}, {"weights": "w", "validation": 0.2}):
        one = stored(None, **settings)
        three = on_ranks(3, lambda group, settings=settings: stored(group, **settings))
        assert {found[0] for found in three} == {one[0]}
        assert three[2][1] == one[1]
        assert stored(None, 1, **settings)[1][-1][0] == pytest.approx(one[1][-1][0], rel=0.1)


def test_checkpoints_go_on_with_another_number_of_ranks(tmp_path):
    class StoppedError(Exception):
        pass

    def fitted(group, epochs, stop=None, **more):
        def callback(epoch):
            if epoch.number == stop:
                raise StoppedError

        shards = more.pop("shards", None)
        folder = {"checkpoint": tmp_path / "run", "every": "1 epochs"} | more
        return trained(group, shards, "numba", epochs=epochs, callbacks=[callback], **folder)

    with pytest.raises(StoppedError):
        on_ranks(3, lambda group: fitted(group, 6, stop=3))
    with pytest.raises(InputError, match="the bits of 3 shards, which 4 ranks cannot share"):
        on_ranks(4, lambda group: fitted(group, 6, resume=True))
    with pytest.raises(InputError, match="the bits of 3 shards, and shards=5 was asked for"):
        fitted(None, 6, resume=True, shards=5)
    with pytest.raises(FileError, match="has checkpoints already"):
        on_ranks(2, lambda group: fitted(group, 6))
    resumed = on_ranks(2, lambda group: fitted(group, 6, resume=True))
    whole = trained(None, 3, "numba", epochs=6)
    assert {found[0] for found in resumed} == {whole[0]}
    assert [losses[0] for losses in resumed[1][1]] == [losses[0] for losses in whole[1]]
    assert len(list((tmp_path / "run").glob("step-*"))) == 3


def test_a_callback_of_any_rank_ends_all_and_divergence_comes_to_all():
    def fitted(group):
        history = trained(group, callbacks=[lambda epoch: group.rank == 1 and epoch.number == 2])[2]
        return len(history.epochs), history.stopped

    assert on_ranks(3, fitted) == [(2, "a callback asked for it")] * 3
    seen = []
    alone = on_ranks(2, lambda group: trained(group, callbacks=[seen.append] if group.rank else [])[:2])
    assert alone == [trained(None)[:2]] * 2
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4]
    found = on_ranks(2, lambda group: trained(group, optimizer=gd.SGD(1e30), retries=1)[2])
    assert [history.diverged for history in found] == [True, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_estimators_share_sparse_rows(backend):
    sparse = pytest.importorskip("scipy.sparse")
    estimators = pytest.importorskip("gdkernels.estimators")
    rows = sparse.random(151, 40_000, density=0.001, format="csr", random_state=0)  # too many columns to be made dense
    target = np.asarray(rows[:, :20_000].sum(axis=1)).ravel()

    def fitted(group, **more):
        stopping = {"early_stopping": True, "tol": 10.0, "n_iter_no_change": 2}
        settings = {"batch_size": 50, "random_state": 0, "backend": backend, "shards": 4, **stopping}
        model = estimators.MLPRegressor(hidden_layer_sizes=(2,), group=group, **settings | more)
        model.fit(rows, target)
        return digest(model.to_mlp()), model.loss_curve_, model.validation_scores_

    one = fitted(None)
    assert on_ranks(2, fitted) == [one] * 2
    assert one[1] == pytest.approx(fitted(None, shards=None)[1])
    for more, message in (({"random_state": None}, "random_state a number"), ({"solver": "lbfgs"}, "adam and sgd")):
        with pytest.raises(ValueError, match=message):
            fitted("serial", **more)


@pytest.mark.parametrize(("alpha", "beta", "hidden"), [(0.06, 1e9, 20), (0.03, 2e6, 2000)])
def test_the_expected_step_is_that_of_the_network(caplog, alpha, beta, hidden):
    """On a network of known latency and bandwidth; how near it comes, `benchmarks.ranks.predicted` measures."""
    settings = {"backend": "numba", "sizes": (6, hidden, 3), "epochs": 2, "batch_size": 102}
    history = on_ranks(2, lambda group: trained(group, 2, **settings)[2], alpha=alpha, beta=beta)[0]
    expected = history.ranks.expected
    # A wait may be longer than asked for on a busy machine, however much, and is never shorter.
    assert expected.alpha >= alpha
    assert beta > 1e8 or expected.beta <= 1.05 * beta
    assert expected.step > expected.alpha
    assert history.epochs[1].seconds / 2 > alpha
    assert expected.share < 0.5
    assert "2 ranks are expected to be" in caplog.text
    assert "% efficient: a step is expected to take" in caplog.text


def test_any_namespace_can_be_shared():
    backend = StrictBackend()  # whose second device does not let NumPy read its arrays
    settings = {"backend": backend, "validation": 0.2, "sample_weight": WEIGHTS, "clip_norm": 0.3, "epochs": 2}
    one = trained(None, **settings)
    assert {found[0] for found in on_ranks(2, lambda group: trained(group, **settings))} == {one[0]}
