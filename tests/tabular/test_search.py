"""`TabularPredictor(search=…)` and ``gdkernels train --search``: drawn settings, trained together, and an ensemble."""

import json
import os
import signal

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.errors import InputError, Interrupted
from gdkernels.training.epoch_runner import EpochRunner

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((160, 3))
NUMBERS = {f"x{k}": X[:, k] for k in range(3)} | {"y": np.sin(2 * X[:, 0]) + X[:, 1]}
CLASSES = NUMBERS | {"y": np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")}


def predictor(**keywords):
    keywords = {"search": 6, "epochs": 6, "seed": 3, "backend": "numba", "progress": False} | keywords
    return gd.TabularPredictor("y", **keywords)


def bits(found):
    return {name: np.asarray(a).tobytes() for name, a in found.network.network.host_parameters().items()}


@pytest.mark.parametrize("table", [NUMBERS, CLASSES], ids=["numbers", "classes"])
def test_it_joins_the_networks_that_do_best_together(table, tmp_path):
    found = predictor().fit(table)
    search = found.result_.search
    assert len(search.tried) == 6
    assert len({one.learning_rate for one in search.tried}) == 6
    assert len({one.hidden for one in search.tried}) > 1
    members = [one for one in search.tried if one.weight]
    assert len(members) == len(found.histories_)
    assert search.best in members
    assert found.result_.settings["l2"] == search.best.l2
    assert "searched of 6 settings, tried in" in found.result_.as_text()
    assert len(json.loads(json.dumps(found.result_.as_dict()))["search"]["tried"]) == 6
    found.save(tmp_path / "model.gd")
    loaded = gd.TabularPredictor.load(tmp_path / "model.gd")
    np.testing.assert_array_equal(loaded.predict(table), found.predict(table))
    again = predictor().fit(table)
    assert bits(again) == bits(found)


def test_what_is_said_is_not_drawn():
    found = predictor(hidden=7, learning_rate=0.01, l2=0.1, batch_size=16).fit(NUMBERS)
    told = {(one.hidden, one.learning_rate, one.l2, one.batch_size) for one in found.result_.search.tried}
    assert told == {((7,), 0.01, 0.1, 16)}


def test_those_that_diverge_are_left_out():
    found = predictor(optimizer="sgd", epochs=3, seed=1).fit(NUMBERS | {"y": 100 * NUMBERS["y"]})
    assert np.isfinite(found.metrics_["rmse"])
    with pytest.raises(gd.errors.DivergenceError, match="lower learning_rate"):
        predictor(optimizer="sgd", learning_rate=1e9).fit(NUMBERS)


def test_after_a_signal_it_goes_on_to_the_bit(tmp_path, monkeypatch):
    wanted = predictor(threads=1).fit(NUMBERS)
    run, done = EpochRunner.run, []

    def stopped(self, *args, **keywords):
        done.append(1)
        if len(done) == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(self, *args, **keywords)

    monkeypatch.setattr(EpochRunner, "run", stopped)
    kept = {"checkpoint": tmp_path / "kept", "threads": 1}
    with pytest.raises(Interrupted):
        predictor(**kept).fit(NUMBERS)
    found = predictor(**kept, resume=True).fit(NUMBERS)
    assert bits(found) == bits(wanted)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"search": 0}, "search must be a whole number of at least 1"),
        ({"average": 3}, "search does not go with average"),
        ({"quick": True}, "quick=True and search exclude each other"),
        ({"checkpoint": "c", "time_limit": "9s"}, "search and a time limit does not go with checkpoint"),
        ({"optimizer": "lm"}, "search draws rates and batches of an optimizer"),
        ({"starts": 2}, "search does not go with starts"),
        ({"retries": 1}, "search does not go with retries"),
        ({"memory": "1GB"}, "search does not go with memory"),
        ({"validation": 0}, "leave out validation=0"),
    ],
)
def test_keywords_that_say_otherwise_are_refused(keywords, said):
    with pytest.raises(InputError, match=said):
        predictor(**keywords).fit(NUMBERS)


def test_the_command_says_what_was_found(capsys):
    assert main(["train", "diabetes", "--search", "4", "--epochs", "3", "--backend", "numba", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["search"]["tried"]) == 4
    assert main(["train", "diabetes", "--search", "4", "--average", "2"]) == 2
    assert "--search does not go with --average" in capsys.readouterr().err
