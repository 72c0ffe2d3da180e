"""The encoding of a table's numbers: bins between quantiles of the training rows, inside the network."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import blocks
from gdkernels.errors import InputError
from gdkernels.tabular.networks.encoding import encoding_of, network_of


@pytest.fixture
def random():
    return np.random.default_rng(0)


def table(rows, seed=0):
    random = np.random.default_rng(seed)
    x, kind = random.uniform(-3, 3, rows), random.choice(["a", "b", "c"], rows)
    few = random.integers(0, 4, rows)
    y = np.where(x > 1, 2.0, np.where(x > -1, -1.0, 0.5)) + few + (kind == "a")
    return {"x": x, "few": few, "kind": kind, "y": y}


def test_numbers_of_many_values_are_encoded_beside_themselves(random):
    x = np.stack([random.normal(size=900), random.integers(0, 5, 900), random.exponential(size=900)], axis=1)
    block = encoding_of("piecewise", x)
    assert isinstance(block, blocks.Columns)
    assert block.outputs(3) == 3 + 2 * 8
    assert encoding_of("piecewise", np.tile(x, (12, 1))).outputs(3) == 3 + 2 * 24
    assert encoding_of("piecewise", x, 5).outputs(3) == 3 + 2 * 5
    assert encoding_of("none", x) is None
    assert encoding_of("auto", x[:499]) is None
    assert encoding_of("auto", x[:500]) == encoding_of("piecewise", x[:500])
    assert encoding_of("piecewise", x[:, 1:2]) is None


def test_a_value_that_is_everywhere_is_an_edge_of_its_own(random):
    x = np.where(random.random(1000) < 0.6, 0.0, random.exponential(size=1000))[:, None]
    (_, inner) = encoding_of("piecewise", x).blocks[1]
    assert inner.edges[0][0] == 0.0
    assert len(inner.edges[0]) < 9


def test_wide_tables_have_fewer_bins_or_none(random):
    x = random.normal(size=(2000, 40))
    assert encoding_of("auto", x).outputs(40) == 40 + 40 * 10
    assert encoding_of("auto", x[:600]).outputs(40) == 40 + 40 * 8
    assert encoding_of("auto", np.hstack([x, x])) is None


def test_days_have_finer_bins_between_two_wide_ones(random):
    x = np.stack([np.arange(3000) // 10, random.normal(size=3000)], axis=1).astype(float)
    (_, inner) = encoding_of("piecewise", x, days=(0,)).blocks[1]
    days, numbers = inner.edges
    assert (len(days), len(numbers)) == (3000 // 50 + 3, 17)
    assert (days[0], days[1], days[-2], days[-1]) == (-299, 0, 299, 598)
    dates = np.datetime64("2020-01-01") + np.arange(1200)
    table = {"when": np.datetime_as_string(dates), "y": random.normal(size=1200)}
    made = gd.TabularPredictor("y", epochs=1, average=1, progress=False).fit(table)
    day = made.preparation_.features.index("when day number")
    assert made.preparation_.day_numbers == (day,)


def test_an_average_encodes_once_and_is_the_mean_of_its_networks(monkeypatch, random):
    made = []
    real = gd.tabular.networks.fitting.kth
    monkeypatch.setattr("gdkernels.tabular.networks.fitting.kth", lambda *a: made.append(real(*a)) or made[-1])
    predictor = gd.TabularPredictor("y", average=3, epochs=2, progress=False).fit(table(800))
    x = random.normal(size=(20, predictor.network.inputs)).astype(np.float32)
    mean = np.mean([one.predict(x) for one in made], axis=0)
    np.testing.assert_allclose(predictor.network.predict(x), mean, rtol=1e-5, atol=1e-6)
    encoding, rest = predictor.network.block.blocks
    assert isinstance(encoding, blocks.Columns)
    assert isinstance(rest, blocks.Mean)
    assert "of them also in up to 8 bins → Mean(3 × " in predictor.result_.as_text()


def test_a_few_networks_are_enough_where_they_take_long(monkeypatch):
    keywords = {"target": "y", "epochs": 1, "progress": False, "quick": False}
    assert len(gd.TabularPredictor(**keywords).fit(table(1300)).histories_) == 10
    monkeypatch.setattr("gdkernels.tabular.settings.defaults.MOST_WORK", 1.0)
    made = gd.TabularPredictor(**keywords).fit(table(1300))
    assert len(made.histories_) == made.result_.settings["average"] == 3


def test_steps_are_learned_where_a_smooth_network_blurs_them(tmp_path):
    data = table(700)
    found = {}
    for encoding in ("none", "piecewise"):
        made = gd.TabularPredictor(target="y", encoding=encoding, seed=0, epochs=60, average=2, progress=False)
        made.fit(data)
        fresh = table(400, seed=1)
        truth = fresh.pop("y")
        found[encoding] = float(np.mean((np.asarray(made.predict(fresh)).ravel() - truth) ** 2))
    assert found["piecewise"] < 0.8 * found["none"]
    made.save(tmp_path / "m.gd")
    again = gd.load(tmp_path / "m.gd")
    assert np.array_equal(np.asarray(again.predict(fresh)), np.asarray(made.predict(fresh)))
    assert "PiecewiseLinear" in str(again.network)


def test_small_tables_stay_as_they_were():
    data = table(300)
    predictions = [
        gd.TabularPredictor(target="y", encoding=encoding, seed=0, epochs=3, progress=False).fit(data).predict(data)
        for encoding in ("none", "auto")
    ]
    assert np.array_equal(*map(np.asarray, predictions))


def test_the_network_is_the_encoding_and_the_layers(random):
    x = random.normal(size=(600, 2))
    arguments = {
        "sizes": [2, 16, 1],
        "encoding": encoding_of("piecewise", x),
        "activation": "relu",
        "residual": False,
        "norm": None,
        "dropout": 0.0,
        "output": "identity",
        "seed": 3,
        "backend": "auto",
        "device": None,
        "precision": "float32",
    }
    net = network_of(arguments, 5)
    assert (net.inputs, net.network.outputs, net.seed) == (2, 1, 5)
    assert net.network.structure.block.blocks[0] == arguments["encoding"]


def test_what_is_none_is_refused():
    with pytest.raises(InputError, match="unknown encoding 'quantile'"):
        gd.TabularPredictor(target="y", encoding="quantile").fit(table(100))
