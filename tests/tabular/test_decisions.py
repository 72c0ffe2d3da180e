"""What validation rows decide before training: logarithms from 0 on, values that stand for gaps; and bounds."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.tables.column.sentinels import sentinels_of

QUICK = {"hidden": 16, "backend": "numpy", "epochs": 50, "learning_rate": 0.01}
N = 600


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.fixture
def counts(draw):
    """Return a table with a skewed count that has zeros, exponential in its inputs."""
    a, b = draw.normal(size=N), draw.normal(size=N)
    return {"a": a.tolist(), "b": b.tolist(), "y": draw.poisson(np.exp(0.9 * a + 0.9 * b + 0.5)).astype(float).tolist()}


@pytest.fixture
def gappy(draw):
    """Return a table in which a tenth of a column is −200 for want of a value; it would say the more, the higher."""
    a, b = draw.normal(size=N), draw.normal(size=N)
    y = 3 * a + b
    a[draw.uniform(size=N) < 0.1] = -200
    return {"a": a.tolist(), "b": b.tolist(), "y": y.tolist()}


def test_a_logarithm_from_0_on(counts, tmp_path):
    predictor = gd.TabularPredictor("y", **QUICK).fit(counts)
    outcome = predictor.preparation_.outcome
    assert (outcome.logs, outcome.offsets) == ((True,), (1.0,))
    (remark,) = (r for r in predictor.result_.remarks if "the logarithm of 1 + it is learned" in r)
    assert "the error of validation rows is " in remark
    assert "its logarithm from 0 on is learned" in predictor.result_.as_text()
    found = predictor.predict({"a": [-9.0, 9.0, 0.0], "b": [-9.0, 9.0, 0.0]})
    assert found.min() >= 0
    assert found.max() <= max(counts["y"])
    predictor.save(tmp_path / "m.safetensors")
    again = gd.load(tmp_path / "m.safetensors", backend="numpy")
    np.testing.assert_array_equal(again.predict(counts), predictor.predict(counts))
    with pytest.raises(gd.InputError, match="is below 0, as none that was trained on is"):
        predictor.prepared({**counts, "y": [-1.0, *counts["y"][1:]]})
    assert predictor.evaluate({**counts, "y": [-1.0, *counts["y"][1:]]}).records == N


def test_no_logarithm_where_it_fits_worse(draw):
    a = draw.normal(size=N)
    y = np.maximum(0, 0.2 * a + draw.exponential(size=N) ** 2 - 0.2)  # the mean of noise is not that of its logarithm
    predictor = gd.TabularPredictor("y", **QUICK).fit({"a": a.tolist(), "y": y.tolist()})
    assert predictor.preparation_.outcome.logs == (False,)
    assert predictor.preparation_.outcome.bounds == ((0.0, None),)
    assert predictor.predict({"a": a.tolist()}).min() >= 0.0
    assert predictor.preparation_.restore(np.array([[-99.0]])) == 0.0


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [("auto", (0.0, None)), (None, (None, None)), ("none", (None, None)), ((0, 1), (0, 1)), ("0:1", (0, 1)),
     (":2", (None, 2)), ("-1:", (-1, None))],
)  # fmt: skip
def test_bounds(draw, bounds, kept):
    a = draw.uniform(size=100)
    table = {"a": a.tolist(), "y": a.tolist()}
    predictor = gd.TabularPredictor("y", bounds=bounds, **QUICK | {"epochs": 1}).fit(table)
    assert predictor.preparation_.outcome.bounds == (kept,)
    predictor.preparation_.outcome.restore(np.array([[-99.0], [99.0]]))
    low, high = predictor.preparation_.restore(np.array([[-99.0], [99.0]])).tolist()
    assert low == (kept[0] if kept[0] is not None else pytest.approx(low))
    assert high == (kept[1] if kept[1] is not None else pytest.approx(high))
    assert low < 0 or kept[0] == 0
    assert high > 2 or kept[1] is not None


@pytest.mark.parametrize("bounds", ["1", "1:0", "a:b", ":", (1,), 3, (None, None), "nan:", "0:inf"])
def test_what_are_no_bounds(bounds):
    with pytest.raises(gd.InputError, match="bounds must be auto, none, or LOW:HIGH"):
        gd.TabularPredictor("y", bounds=bounds).fit({"a": [1, 2], "y": [1, 2]})


def test_targets_beyond_the_bounds(tmp_path, capsys):
    table = {"a": np.arange(50).tolist(), "y": np.linspace(0, 1.5, 50).tolist()}
    with pytest.raises(gd.InputError, match="the target 'y' has the value 1.5, beyond bounds='0:1'; widen"):
        gd.TabularPredictor("y", bounds="0:1", **QUICK).fit(table)
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,y", *(f"{a},{y}" for a, y in zip(*table.values(), strict=True)), ""]))
    assert main(["train", str(path), "--target", "y", "--bounds", ":1"]) == 2
    assert "beyond --bounds :1; widen" in capsys.readouterr().err


def test_a_far_value_becomes_a_gap_where_that_predicts_better(gappy, tmp_path):
    predictor = gd.TabularPredictor("y", **QUICK).fit(gappy)
    (kind,) = (kind for kind in predictor.preparation_.columns if kind.name == "a")
    assert kind.indicator
    assert -200 in kind.reading.sentinels
    (remark,) = (r for r in predictor.result_.remarks if r.startswith("-200 in 'a'"))
    assert "taken for a gap: the error of validation rows is" in remark
    plain = gd.TabularPredictor("y", read={"a": "1234.5"}, **QUICK).fit(gappy)
    assert not any("-200 in 'a'" in r for r in plain.result_.remarks)
    assert predictor.metrics_["r2"] > plain.metrics_["r2"]
    predictor.save(tmp_path / "m.safetensors")
    again = gd.load(tmp_path / "m.safetensors", backend="numpy")
    gap, far = ({"a": [value, 1.0], "b": [0.0, 0.0]} for value in (None, -200.0))
    np.testing.assert_array_equal(again.predict(gap), again.predict(far))


def test_what_stands_for_a_gap(draw):
    numbers = draw.normal(20, 5, N)
    answers = draw.integers(1, 8, N).astype(float)
    numbers[:30] = -999
    numbers[30:60] = 9999
    answers[:30] = 99
    assert sentinels_of(numbers) == (-999, 9999)
    assert sentinels_of(np.where(numbers == -999, -99.9, numbers)) == (-99.9, 9999)
    assert sentinels_of(answers) == (99,)
    assert sentinels_of(np.where(answers == 99, 30, answers)) == sentinels_of(draw.normal(size=N)) == ()
    assert sentinels_of(np.full(N, np.nan)) == ()


def test_numbers_by_which_the_target_jumps_are_taken_for_names(draw):
    shop, a = draw.integers(0, 30, N), draw.normal(size=N)
    table = {"shop": (shop + 100).tolist(), "a": a.tolist(), "y": (draw.normal(size=30)[shop] * 3 + a).tolist()}
    predictor = gd.TabularPredictor("y", **QUICK | {"epochs": 20}).fit(table)
    (remark,) = predictor.result_.remarks
    assert remark.startswith(
        "the numbers in 'shop' may be codes: the target has no course by them, and taken for names"
    )
    (kind,) = (kind for kind in predictor.preparation_.columns if kind.name == "shop")
    assert kind.kind == "category"


def test_the_same_in_parts(gappy, counts, tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "t.csv"
    rows = zip(*gappy.values(), strict=True)
    path.write_text("\n".join(["a,b,y", *(",".join(map(str, row)) for row in rows), ""]))
    predictor = gd.TabularPredictor("y", memory="1MB", **QUICK).fit(path)
    assert any("-200 in 'a'" in r and "taken for a gap" in r for r in predictor.result_.remarks)
    assert predictor.metrics_["r2"] > 0.8
    path.write_text("\n".join(["a,b,y", *(",".join(map(str, row)) for row in zip(*counts.values(), strict=True)), ""]))
    predictor = gd.TabularPredictor("y", memory="1MB", **QUICK).fit(path)
    assert predictor.preparation_.outcome.offsets == (1.0,)
    assert predictor.predict(path).min() >= 0


def test_a_target_with_a_far_value_is_pointed_out(gappy):
    table = {"b": gappy["b"], "y": [-200.0 if k % 20 == 0 else v for k, v in enumerate(gappy["y"])]}
    (remark,) = (
        r for r in gd.TabularPredictor("y", **QUICK | {"epochs": 1}).fit(table).result_.remarks if "the target" in r
    )
    assert remark == (
        "the target 'y' is -200 in 30 records, far from the others: if it means a gap, say missing=['-200'] "
        "drop_missing=True"
    )


def test_onnx_restores_as_here(counts, gappy, tmp_path):
    pytest.importorskip("onnx")
    run = pytest.importorskip("onnxruntime")
    for table, options in (
        (counts, {}),
        (counts, {"bounds": "0:1000", "outside": "hold"}),
        (gappy, {"outside": "hold"}),
    ):
        predictor = gd.TabularPredictor("y", **QUICK | {"epochs": 5} | options).fit(table)
        path = tmp_path / "m.onnx"
        predictor.export_onnx(path, overwrite=True)
        new = {"a": np.array([0.5, -90.0, 90.0, np.nan, -200.0]), "b": np.array([0.1, 5.0, -40.0, 0.0, 0.0])}
        inputs = {name: values[:, None] for name, values in new.items()}
        (found,) = run.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["prediction"], inputs)
        np.testing.assert_allclose(found[:, 0], predictor.predict(new), rtol=1e-4, atol=1e-5)
