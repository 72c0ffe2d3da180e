"""Memory follows the bytes: many classes and wide tables are predicted and evaluated in pieces, to the same figures."""

import json
import tracemalloc

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import metrics
from gdkernels.cli import main
from gdkernels.metrics.confusion import Confusion
from gdkernels.metrics.streaming import ClassSums, Sums
from gdkernels.tables import Preparation
from gdkernels.tabular.evaluating.evaluation import evaluated
from gdkernels.tabular.model import prediction
from gdkernels.tabular.model.prediction import PreparedNetwork

MB = 1 << 20


def columns(records, classes, features=3, seed=0):
    draw = np.random.default_rng(seed)
    table = {f"x{k}": draw.normal(size=records).round(3) for k in range(features)}
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, records)])[:records]
    return table | {"y": [f"c{k}" for k in labels]}


def model(table, classes, task="classification"):
    preparation = Preparation.fit(table, "y", task=task)
    sizes = [len(preparation.features), 8, classes]
    output = "softmax" if task == "classification" else "identity"
    mlp = gd.MLP(sizes, output=output, seed=0, backend="numpy")
    loss = "cross_entropy" if task == "classification" else "sse"
    mlp.fit(preparation.transform(table)[:64], preparation.transform_targets(table)[:64], loss=loss, epochs=1)
    mlp.extra = {"preparation": preparation.to_json(), "settings": {"loss": loss}}
    return PreparedNetwork(mlp, preparation)


def peak(work):
    """Return the most memory that Python and NumPy had during some work, beyond what they had before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_pieces(monkeypatch):
    """Have everything be done in pieces of a few records."""
    monkeypatch.setattr(prediction, "PIECE", 20_000)


def test_figures_of_classes_are_those_of_one_hot_rows_to_the_bit():
    draw = np.random.default_rng(0)
    whole, shares = Sums(), ClassSums()
    for records in (1000, 37):
        truth = draw.integers(0, 7, records)
        p = draw.random((records, 7)).astype(np.float32)
        p[:5] = np.eye(7)[truth[:5]]  # certain, and right
        p[5:9] = np.eye(7)[(truth[5:9] + 1) % 7]  # certain, and wrong
        p /= p.sum(axis=1, keepdims=True)
        whole.add(np.eye(7)[truth], p)
        shares.add((truth[k : k + 100], p[k : k + 100]) for k in range(0, records, 100))
    for name in ("accuracy", "log_loss"):
        assert shares.figure(name) == whole.figure(name)
    assert shares.records == whole.records == 1037


def test_figures_of_what_shares_out_nothing_are_those_of_one_hot_rows():
    draw = np.random.default_rng(0)
    truth, p = draw.integers(0, 3, 50), draw.random((50, 3))
    shares = ClassSums()
    shares.add([(truth, p)])
    assert shares.figure("accuracy") == metrics.accuracy(np.eye(3)[truth], p)
    assert shares.figure("log_loss") == metrics.log_loss(np.eye(3)[truth], p)
    assert np.isnan(ClassSums().figure("accuracy"))


def test_pairs_are_those_of_the_matrix():
    draw = np.random.default_rng(0)
    true, predicted = draw.integers(0, 5, (2, 300))
    wanted = np.zeros((5, 5), int)
    np.add.at(wanted, (true, predicted), 1)
    confusion = Confusion(5)
    for part in np.array_split(np.arange(300), 7):
        confusion.add(true[part], predicted[part])
    np.testing.assert_array_equal(confusion.matrix(), wanted)
    np.testing.assert_array_equal(confusion.by_true(), wanted.sum(axis=1))
    np.testing.assert_array_equal(confusion.by_predicted(), wanted.sum(axis=0))
    np.testing.assert_array_equal(confusion.right(), np.diag(wanted))
    worst = confusion.most_confused(4)
    errors = sorted(wanted[~np.eye(5, dtype=bool)].tolist(), reverse=True)
    assert [records for _, _, records in worst] == errors[:4]
    assert all(a != b and wanted[a, b] == records for a, b, records in worst)


def test_pieces_are_the_whole(small_pieces, monkeypatch):
    table = columns(1000, 6)
    made = model(table, 6)
    pieces = [
        (len(part), p.values.shape, p.probabilities.shape) for part, p in made.predict_parts(gd.tables.read(table))
    ]
    assert len(pieces) > 10
    assert sum(records for records, _, _ in pieces) == 1000
    small, told = made.predict(gd.tables.read(table)), evaluated(made, table)
    monkeypatch.setattr(prediction, "PIECE", 1 << 30)
    whole, expected = made.predict(gd.tables.read(table)), evaluated(made, table)
    np.testing.assert_array_equal(small.values, whole.values)
    np.testing.assert_allclose(small.probabilities, whole.probabilities, rtol=1e-6)
    assert told["confusion"] == expected["confusion"]
    assert told.metrics == pytest.approx(expected.metrics, rel=1e-6)


def test_a_record_of_a_piece_is_named_by_its_place_in_the_table(small_pieces):
    table = columns(1000, 6)
    made = model(table, 6)
    broken = table | {"x1": [*table["x1"][:900], np.inf, *table["x1"][901:]]}
    with pytest.raises(gd.InputError, match="record 901 of"):
        list(made.predict_parts(gd.tables.read(broken)))


def test_evaluation_of_many_classes_is_bounded(monkeypatch):
    """One-hot rows of these records alone would take 96 MB; they and all else took 800 MB."""
    table = columns(6000, 2000)
    made = model(table, 2000)
    read = gd.tables.read(table)
    monkeypatch.setattr(prediction, "PIECE", 8 * MB)
    assert peak(lambda: evaluated(made, read)) < 40 * MB
    assert peak(lambda: [len(part) for part, _ in made.predict_parts(read)]) < 40 * MB


def test_a_wide_table_is_predicted_within_bounds(monkeypatch):
    """Its features take 48 MB, and took five times as much while they were prepared."""
    draw = np.random.default_rng(0)
    table = {f"x{k}": draw.normal(size=20_000) for k in range(300)} | {"y": draw.normal(size=20_000)}
    few = {name: values[:500] for name, values in table.items()}
    made = model(few, 1, "regression")
    read = gd.tables.read(table)
    monkeypatch.setattr(prediction, "PIECE", 8 * MB)
    assert peak(lambda: made.predict(read)) < 24 * MB


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Return a model of 150 classes and a table."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    table = columns(600, 150)
    model(table, 150).network.save(tmp_path / "m")
    rows = zip(*table.values(), strict=True)
    (tmp_path / "t.csv").write_text("\n".join([",".join(table), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return tmp_path / "m", tmp_path / "t.csv"


def test_of_many_classes_the_pairs_confused_most_often_are_told(many, capsys):
    assert main(["evaluate", *map(str, many), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["confusion"] is None
    assert len(told["classes"]) == 150
    assert 0 < len(told["confused"]) <= 100
    records = [pair["records"] for pair in told["confused"]]
    assert records == sorted(records, reverse=True)
    assert all(pair["true"] != pair["predicted"] for pair in told["confused"])
    assert main(["evaluate", *map(str, many)]) == 0
    text = capsys.readouterr().out
    first = told["confused"][0]
    assert "confused most often, of 150 classes:\n" in text
    assert f"  {first['true']} taken for {first['predicted']}: {first['records']} record" in text
    assert "confusion matrix" not in text


def test_more_classes_than_can_be_drawn_are_refused_before_any_work(many, capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert main(["evaluate", *map(str, many), "--plot", str(tmp_path / "drawn.png")]) == 0
    monkeypatch.setattr("gdkernels.cli.pictures.MOST_CLASSES", 149)
    monkeypatch.setattr(gd.TabularPredictor, "evaluate", None)
    capsys.readouterr()
    assert main(["evaluate", *map(str, many), "--plot", str(tmp_path / "p.png")]) == 2
    assert "a confusion matrix of 150 classes cannot be drawn" in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()
