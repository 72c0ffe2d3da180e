"""Training on several ranks: bits depend on the shards alone, whatever the backend, the settings and the data."""

import hashlib
import re

import numpy as np
import pytest
from strict_backend import StrictBackend
from thread_group import on_ranks

import gdkernels as gd
from gdkernels.cli.arguments import option
from gdkernels.errors import FileError, InputError, keywords_as
from gdkernels.groups import SerialGroup
from gdkernels.tabular import conversion, surveying
from gdkernels.tabular.ranks import agree_on_keywords, by_ranks

STREAM = np.random.default_rng(0)
X = STREAM.standard_normal((203, 6)).astype(np.float32)  # the last batch is smaller, and some of its shards are
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]], axis=1)
CLASSES = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
WEIGHTS = STREAM.random(len(X))
SHARDS = 6

BACKENDS = ("numpy", "numba")

SETTINGS = {
    "sgd": {"optimizer": "sgd"},
    "adam, clipped": {"optimizer": "adam", "clip_norm": 0.3, "gradient_norm": True},
    "weights, l2 in the loss": {"sample_weight": WEIGHTS, "l2": 0.01, "l2_in_loss": True, "gradient_norm": True},
    "sums, validation, patience": {"reduction": "sum", "validation": 0.25, "patience": 1, "metrics": ["r2", "mae"]},
    "a schedule that watches the loss": {"schedule": "reduce_on_plateau", "epochs": 6},
}


def digest(model):
    arrays = model.network.host_parameters().values()
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def trained(group, shards=SHARDS, backend="numpy", sizes=(6, 9, 3), data=(X, Y), **settings):
    network = {name: settings.pop(name) for name in ("dropout", "norm", "precision") if name in settings}
    model = gd.MLP(sizes, seed=0, backend=backend, **network)
    run = {"epochs": 4, "batch_size": 40, "optimizer": "adam"} | settings
    history = model.fit(*data, group=group, shards=shards, progress=False, **run)
    told = [(e.loss, e.validation_loss, e.gradient_norm, e.metrics) for e in history.epochs]
    return digest(model), told, history


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


def test_ranks_that_disagree_are_named(tmp_path):
    def other(group):
        data = (X, Y + (group.rank == 1)) if other.what == "data" else (X, Y)
        settings = {"batch_size": 40 + group.rank} if other.what == "settings" else {}
        return trained(group, data=data, **settings)

    for other.what, message in (("data", "rank 1 has other data"), ("settings", "batch_size 41, and rank 0 has 40")):
        with pytest.raises(InputError, match=message):
            on_ranks(2, other)

    shorter = "rank 1 has records: training 202, and rank 0 has 203"
    with pytest.raises(InputError, match=shorter):
        on_ranks(2, lambda group: trained(group, data=(X[: 203 - group.rank], Y[: 203 - group.rank])))

    def batches(group):
        parts = [[k, 40] for k in range(0, 200, 40)]
        if group.rank == 1 and batches.other:
            parts[3:] = batches.other
        given = [(X[k : k + n], Y[k : k + n]) for k, n in parts]
        return gd.MLP([6, 3], seed=0, backend="numpy").fit(lambda: iter(given), epochs=2, group=group)

    for batches.other, message in (
        ([[120, 30]], "rank 1 has 30 records in batch 3, and rank 0 has 40 records"),
        ([[121, 40]], "rank 1 has other values than rank 0 in batch 3"),
        ([[120, 40]], "rank 1 has none in batch 4, and rank 0 has 40 records"),
    ):
        with pytest.raises(InputError, match=message):
            on_ranks(2, batches)

    def ordered(group):
        own = gd.Trainer(
            gd.MLP([6, 3], seed=0, backend="numpy"),
            group=group,
            order=lambda epoch, n: np.roll(np.arange(n), group.rank),
        )
        own.fit(X, Y, epochs=1)

    with pytest.raises(InputError, match="rank 1 has other order of the records than rank 0"):
        on_ranks(2, ordered)

    def calls(group):
        network = gd.MLP([6, 3], seed=0, backend="numpy")
        return network.fit(X, Y, epochs=1, group=group, checkpoint=tmp_path, every=f"{1 + group.rank} steps")

    with pytest.raises(InputError, match="rank 1 has every '2 steps', and rank 0 has '1 steps'"):
        on_ranks(2, calls)
    with pytest.raises(InputError, match="rank 1 has starts 3, and rank 0 has 2"):
        on_ranks(2, lambda g: gd.MLP([6, 3], seed=0, backend="numpy").fit(X, Y, epochs=1, starts=2 + g.rank, group=g))
    with pytest.raises(InputError, match="rank 1 has call 'fit_many', and rank 0 has 'fit'"):
        on_ranks(
            2,
            lambda g: (
                gd.fit_many([gd.MLP([6, 3], seed=0, backend="numpy")], X, Y, epochs=1, group=g)
                if g.rank
                else trained(g)
            ),
        )

    def drifting(group):
        def change(epoch):
            if group.rank == 1 and epoch.number == 2:
                network = drifting.models[group.rank].network
                network.parameters = {n: a + np.float32(1e-3) for n, a in network.parameters.items()}

        model = drifting.models[group.rank] = gd.MLP([6, 3], seed=0, backend="numpy")
        model.fit(X, Y, epochs=4, callbacks=[change], group=group)

    drifting.models = {}
    with pytest.raises(InputError, match="rank 1 has other parameters or losses than rank 0 after epoch 3"):
        on_ranks(2, drifting)


class Times(gd.blocks.Block):
    """Outputs times a number that its description does not have."""

    def __init__(self, by):
        self.by = by

    def parameters(self, inputs):
        return {"W": gd.blocks.Parameter((inputs, 3), gd.blocks.InitialWeights())}

    def outputs(self, inputs):
        return 3

    def __call__(self, parameters, x, *, xp, random=None):
        return self.by * (x @ parameters["W"])


class Slow(gd.Optimizer):
    def __init__(self, by):
        self.learning_rate, self.by = 0.1, by

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        return w - self.by * learning_rate * g, ()


def test_functions_of_the_same_name_that_compute_something_else_are_named():
    def functions(by):
        return {
            "losses": {"loss": lambda p, y, *, xp: by * xp.sum((p - y) ** 2, axis=1)},
            "optimizers": {"optimizer": Slow(by)},
            "schedules": {"schedule": lambda epoch, *, epochs, losses: 1 / (1 + by * len(losses))},
            "blocks or activations": {},
        }

    def network(what, by):
        return gd.Network(Times(by if what.startswith("blocks") else 1.0), 6, seed=0, backend="numpy")

    def fitted(group, what, by):
        model = network(what, by)
        batches = [(X[k : k + 40], Y[k : k + 40]) for k in range(0, 200, 40)]
        return model.fit(batches, epochs=1, group=group, **functions(by)[what])

    def many(group, what, by):
        models, settings = [network("", 1), network(what, by)], [{}, functions(by)[what]]
        return gd.fit_many(models, X, Y, epochs=1, settings=settings, group=group)

    for what in functions(1):
        of = f"{what} of the same names as rank 0 that compute something else"
        for work, message in ((fitted, f"rank 1 has {of}"), (many, f"rank 1 has model 1: {of}")):
            with pytest.raises(InputError, match=message):
                on_ranks(2, lambda g, work=work, what=what: work(g, what, 1.0 + g.rank))

    def table(group):
        own = {**functions(1.0 + group.rank)["losses"], "average": 3, "epochs": 1, "seed": 0, "backend": "numpy"}
        columns = {f"x{k}": X[:, k] for k in range(6)} | {"y": Y[:, 0]}
        return gd.TabularPredictor("y", group=group, **own).fit(columns)

    with pytest.raises(InputError, match="rank 1 has losses of the same names"):
        on_ranks(2, table)


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


def test_many_models_and_tables_are_dealt_to_ranks_as_jobs():
    def many(group):
        models = [gd.MLP([6, 4, 3], seed=seed, backend="numpy") for seed in range(5)]
        histories = gd.fit_many(models, X, Y, epochs=2, group=group)
        histories += gd.fit_many(models, X, Y, epochs=1, group=group)  # it goes on where the first ended
        return [digest(m) for m in models], [h.loss for h in histories]

    one = many(None)
    assert on_ranks(3, many) == [one] * 3

    table = {f"x{k}": X[:, k] for k in range(6)} | {"y": Y[:, 0], "c": CLASSES.astype(str)}

    def tabular(group):
        predictor = gd.TabularPredictor("y", epochs=3, average=5, seed=0, group=group, backend="numpy").fit(table)
        return digest(predictor.network), predictor.metrics_, predictor.result_.cross_validation

    assert on_ranks(2, tabular) == [tabular(None)] * 2
    with pytest.raises(InputError, match="shards splits the batches of a single network, and 3 are trained here"):
        gd.TabularPredictor("y", average=3, epochs=1, shards=4).fit(table)

    def single(group):
        settings = {"hidden": 8, "epochs": 3, "seed": 0, "shards": 4, "backend": "numpy"}
        predictor = gd.TabularPredictor("y", group=group, **settings).fit(table)
        return digest(predictor.network), predictor.result_.history.ranks.shards

    assert on_ranks(2, single) == [single(None)] * 2


def test_ranks_that_deal_jobs_and_disagree_are_named():
    def many(group, **settings):
        kind = settings.pop("kind", {})
        models = [gd.MLP([6, 4, 3], seed=seed, **{"backend": "numpy"} | kind) for seed in range(3)]
        if settings.pop("other", False):
            models[2].set_parameters({name: a + 1 for name, a in models[2].network.host_parameters().items()})
        return gd.fit_many(models, X, Y + settings.pop("more", 0), group=group, **{"epochs": 1} | settings)

    def table(group, **settings):
        columns = {f"x{k}": X[:, k] for k in range(6)} | {"y": Y[:, 0] + settings.pop("more", 0)}
        given = {"epochs": 2, "average": 3, "seed": 0, "backend": "numpy"} | settings
        return gd.TabularPredictor("y", group=group, **given).fit(columns)

    for work, other, message in (
        (many, {"epochs": 2}, "rank 1 has model 0: epochs 2, and rank 0 has 1"),
        (many, {"more": 1}, "rank 1 has other data than rank 0"),
        (many, {"other": True}, "rank 1 has other model 2: initial parameters than rank 0"),
        (many, {"kind": {"activation": "sigmoid"}}, "rank 1 has model 0: activations "),
        (many, {"kind": {"backend": "numba"}}, "rank 1 has model 0: backend 'numba', and rank 0 has 'numpy'"),
        (many, {"settings": {"order": lambda epoch, n: np.arange(n)}}, "rank 1 has model 0: order of the records "),
        (many, {"rows": [None, np.arange(9), None]}, "rank 1 has model 1: rows "),
        (table, {"epochs": 3}, "rank 1 has epochs=3, and rank 0 epochs=2: give all ranks the same"),
        (table, {"loss": lambda p, y, *, xp: xp.sum((p - y) ** 4, axis=-1)}, "rank 1 has loss='function', which rank"),
        (table, {"test_file": "t.csv"}, "rank 1 has test_file, which rank 0 lacks"),
        (table, {"checkpoint": "made"}, "rank 1 has checkpoint, which rank 0 lacks"),
        (table, {"header": False}, "rank 1 has header=False, which rank 0 lacks"),
        (table, {"more": 1}, "rank 1 has other data than rank 0"),
    ):
        with pytest.raises(InputError, match=message):
            on_ranks(2, lambda group, work=work, other=other: work(group, **other if group.rank else {}))


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"target": ["c"]}, {"target": ["price"]}, "rank 1 has --target c, and rank 0 --target price"),
        ({"target": None}, {"target": ["a b"]}, "rank 1 lacks --target 'a b', which rank 0 has"),
        ({"hidden": (8, 4)}, {"hidden": ()}, "rank 1 has --hidden 8,4, and rank 0 --hidden none"),
        ({"read": {"a": "1,5"}}, {"read": {}}, "rank 1 has --read a=1,5, which rank 0 lacks"),
        ({"header": None}, {"header": False}, "rank 1 lacks --no-header, which rank 0 has"),
        ({"nesterov": True}, {"nesterov": False}, "rank 1 has --nesterov, which rank 0 lacks"),
        ({"keep_columns": ["id"]}, {"keep_columns": []}, "rank 1 has --keep id, which rank 0 lacks"),
        ({"checkpoint": "made"}, {"checkpoint": None}, "rank 1 has --checkpoint, which rank 0 lacks"),
        ({"every": "3min"}, {"every": "2h"}, "rank 1 has --every 3min, and rank 0 --every 2h"),
    ],
)
def test_ranks_of_a_command_disagree_in_the_words_of_the_command(one, other, said):
    def agreed(group):
        with keywords_as(option):
            agree_on_keywords(group, one if group.rank else other)

    with pytest.raises(InputError, match=f"^{re.escape(said)}: give all ranks the same$"):
        on_ranks(2, agreed)


def test_a_table_that_one_rank_cannot_read_ends_all(capfd, tmp_path):
    def fitted(group):
        data = {"x": X[:, 0], "y": Y[:, 0]} if group.rank else str(tmp_path / "missing.csv")
        gd.TabularPredictor("y", epochs=2, average=3, group=group).fit(data)

    with pytest.raises(SystemExit):
        on_ranks(2, fitted)
    assert "gdkernels: rank 0 of 2: there is no file" in capfd.readouterr().err


def test_rows_that_are_tested_are_predicted_by_one_rank_each():
    made = []

    def predicted(group, parts):
        def part(number):
            made.append(number)
            return np.full((number, 2), number, np.float32)

        return [(a.dtype, a.tolist()) for a in by_ranks(group, parts, part)]

    for parts in (0, 2, 7):
        one, alone = predicted(SerialGroup(), parts), sorted(made)
        made.clear()
        assert on_ranks(3, lambda group, parts=parts: predicted(group, parts)) == [one] * 3
        assert sorted(made) == alone == list(range(parts))
        made.clear()


@pytest.mark.parametrize("target", ["y", "c"])
def test_a_table_to_test_on_is_read_by_rank_0_alone(monkeypatch, tmp_path, target):
    columns = [*(X[:, k] for k in range(6)), Y[:, 0] if target == "y" else CLASSES]
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    head = ",".join([*(f"x{k}" for k in range(6)), target])
    for name, part in (("learn", rows[:150]), ("test", rows[150:]), ("bad", ["1,2,3,4,5,six,0"])):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *part]))
    monkeypatch.setattr("gdkernels.tabular.prediction.PIECE", 1 << 10)  # so that there are parts, and pieces of them
    monkeypatch.setattr("gdkernels.tabular.prediction._ROUND", 8)

    def tested(group, test="test"):
        mine = tmp_path / f"{test}.csv" if group is None or not group.rank else tmp_path / "missing.csv"
        settings = {"epochs": 2, "average": 2, "seed": 0, "backend": "numpy", "test_file": mine}
        predictor = gd.TabularPredictor(target, group=group, **settings).fit(tmp_path / "learn.csv")
        return digest(predictor.network), predictor.result_.test.as_dict(), predictor.result_.as_dict()["test_rows"]

    one = tested(None)
    assert one[1]["records"] == 53
    rank_0, rank_1 = on_ranks(2, tested)
    assert rank_0 == one
    assert rank_1[:2] == one[:2]
    with pytest.raises(InputError, match=r"bad.csv.*'six'"):
        on_ranks(2, lambda group: tested(group, "bad"))


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


def test_one_rank_surveys_a_table_in_files_for_all_and_one_of_a_machine_prepares_it(monkeypatch, tmp_path):
    folders, surveys = [], []
    write, findings = conversion._write, surveying.findings_in
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conversion, "_write", lambda files, *rest: (folders.append(files.folder), write(files, *rest)))
    monkeypatch.setattr(surveying, "findings_in", lambda *a, **more: (surveys.append(1), findings(*a, **more))[1])
    names = ("red", "blue", "", "Ü;x")
    lines = [
        f"{a},{b if k % 7 else ''},{names[k % 4]},2024-{1 + k // 28:02}-{1 + k % 28:02},g{k % 40},{2**55 + k},{y:.3f}"
        for k, ((a, b), y) in enumerate(zip(X[:, :2].tolist(), Y[:, 1].tolist(), strict=True))
    ]
    (tmp_path / "t.csv").write_text("a,b,name,day,of,whole,y\n" + "\n".join(lines))

    def fitted(group, target="y", **more):
        settings = {"epochs": 2, "batch_size": 40, "hidden": 4, "backend": "numpy", "progress": False}
        memory = "1MB" if group is None or group.rank else "2MB"  # the least of all ranks
        predictor = gd.TabularPredictor(target, group=group, shards=2, seed=0, memory=memory, **settings, **more)
        found = predictor.fit(str(tmp_path / "t.csv"))
        return digest(found.network), found.metrics_, found.result_.remarks

    settings = (
        {"split": "time:day", "ignore": ["of"]},
        {"split": "group:of"},
        {"target": "name", "drop_missing": True},
    )
    for more in settings:
        assert on_ranks(2, lambda group, more=more: fitted(group, **more)) == [fitted(None, **more)] * 2
    assert (len(surveys), len(folders)) == (6, 6), "one for both ranks, and one for the process alone"
    with pytest.raises(InputError, match="no column 'z'"):
        on_ranks(2, lambda group: fitted(group, "z"))
    assert not any(folder.exists() for folder in folders)


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
