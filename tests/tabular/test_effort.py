"""How long a fit may take: one network in seconds, or the best ensemble that there is time for."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.errors import InputError
from gdkernels.tabular.networks import search
from gdkernels.tabular.settings.effort import seconds_of


def table(rows=90, classes=False):
    random = np.random.default_rng(0)
    x, kind = random.uniform(-3, 3, rows), random.choice(["a", "b", "c"], rows)
    y = np.sin(x) + (kind == "a") + 0.1 * random.normal(size=rows)
    return {"x": x, "kind": kind, "y": np.where(y > 0.5, "high", "low") if classes else y}


@pytest.fixture
def looks(monkeypatch):
    """Return what lets so many seconds pass from each look at the clock of a search to the next, and no others."""

    def take(seconds):
        numbers = itertools.count()
        monkeypatch.setattr(search, "time", SimpleNamespace(perf_counter=lambda: seconds * next(numbers)))

    monkeypatch.setattr(search, "cores", lambda: 2)
    return take


def test_quick_is_one_network_of_few_epochs():
    made = gd.TabularPredictor("y", quick=True, progress=False).fit(table())
    assert len(made.histories_) == 1
    assert len(made.history_.epochs) <= 100
    assert made.result_.settings["patience"] == 10
    assert len(gd.TabularPredictor("y", quick=True, epochs=3, average=2, progress=False).fit(table()).histories_) == 2


@pytest.mark.parametrize("classes", [False, True])
def test_best_is_an_ensemble_that_is_no_worse_than_the_default_settings_on_rows_left_out(classes, tmp_path, looks):
    looks(0.125)
    data = table(classes=classes)
    made = gd.TabularPredictor("y", best=True, time_limit="1s", epochs=15, seed=1, progress=False).fit(data)
    found = made.result_.search
    members = [one for one in found.tried if one.weight]
    assert len(found.tried) == 6
    assert found.loss <= found.tried[0].loss
    assert len(made.histories_) == 5 * len(members)
    assert f"settings, tried in {found.seconds:.0f} s" in made.result_.as_text()
    assert len(json.loads(json.dumps(made.result_.as_dict()))["search"]["tried"]) == len(found.tried)
    made.save(tmp_path / "m")
    assert np.array_equal(gd.load(tmp_path / "m").predict(data), made.predict(data))


def test_best_goes_on_to_other_settings_which_keep_what_was_said(looks):
    looks(0.5)
    keywords = {"hidden": 8, "l2": 0.01, "average": None, "epochs": 2, "progress": False}
    made = gd.TabularPredictor("y", best=True, time_limit=3, **keywords).fit(table())
    tried = made.result_.search.tried
    assert len(tried) == 7
    assert {(one.hidden, one.l2) for one in tried} == {((8,), 0.01)}
    assert len({one.learning_rate for one in tried}) == len(tried)


def test_a_number_and_a_time_limit_end_a_search_whichever_comes_first(looks):
    looks(0.02)
    keywords = {"hidden": 8, "epochs": 2, "progress": False, "seed": 1}
    made = gd.TabularPredictor("y", search=3, time_limit="1h", **keywords).fit(table())
    assert len(made.result_.search.tried) == 3
    made = gd.TabularPredictor("y", search=10**6, time_limit=0.2, **keywords).fit(table())
    assert 5 < len(made.result_.search.tried) < 20


@pytest.mark.parametrize(("said", "seconds"), [(3, 3.0), ("90s", 90.0), ("1.5 min", 90.0), ("2h", 7200.0), ("7", 7.0)])
def test_limits_are_told_in_seconds_and_longer_units(said, seconds):
    assert seconds_of(said) == seconds


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"quick": True, "best": True}, "exclude each other"),
        ({"time_limit": "9min"}, "is the time that"),
        ({"best": True, "time_limit": "soon"}, 'must be as in "90s"'),
        ({"best": True, "time_limit": 0}, 'must be as in "90s"'),
        ({"best": True, "average": 3}, "average=3|average"),
        ({"best": True, "checkpoint": "c"}, "checkpoint"),
        ({"best": 60}, "True or False"),
    ],
)
def test_what_does_not_go_together_is_refused_before_work(keywords, message):
    with pytest.raises(InputError, match=message):
        gd.TabularPredictor("y", **keywords).fit("no such file.csv")
