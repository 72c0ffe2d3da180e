"""Ranks that were given different things: the error says which rank has what, before anything is trained."""

import re

import numpy as np
import pytest
from shared_fits import X, Y, trained
from thread_group import on_ranks

import gdkernels as gd
from gdkernels.cli.arguments import option
from gdkernels.errors import InputError, keywords_as
from gdkernels.tabular.ranks import agree_on_keywords


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
