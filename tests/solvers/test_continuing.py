"""Solvers that stop, go on, run side by side, or read their records from files: the same bits."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.files.model_file import read_model, write_model
from gdkernels.training.solvers import damping

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(90, 2))
Y = np.sin(X[:, :1]) * X[:, 1:]
SOLVERS = {
    "lm": gd.LevenbergMarquardt(),
    "bayes": gd.LevenbergMarquardt(bayes=True),
    "lbfgs": gd.LBFGS(memory=4),
    "float32": gd.LevenbergMarquardt(),  # which begins there
}


def trainer(name, backend="numpy", seed=3):
    model = gd.MLP([2, 6, 1], activation="tanh", seed=seed, backend=backend, precision="float64")
    return gd.Trainer(model, solver=SOLVERS[name])


def told(made, history):
    figures = [(e.number, e.loss.hex(), e.damping, e.effective_parameters, e.penalty) for e in history.epochs]
    return figures, [np.asarray(a).tobytes() for layer in made.mlp.parameters for a in layer]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", SOLVERS)
def test_from_every_checkpoint_to_the_bit(tmp_path, name, backend, monkeypatch):
    if name == "float32":
        monkeypatch.setattr(damping, "_FEW_FLOPS", 0)
    run = {"epochs": 12, "validation": 0.2, "every": "1 steps", "keep": 100, "progress": False}
    made = trainer(name, backend)
    expected = told(made, made.fit(X, Y, checkpoint=tmp_path / "whole", **run))
    checkpoints = sorted((tmp_path / "whole").glob("step-*"))
    assert len(checkpoints) >= 12
    for checkpoint in checkpoints[1::4]:
        folder = tmp_path / checkpoint.stem
        folder.mkdir()
        shutil.copy(checkpoint, folder)
        made = trainer(name, backend)
        assert told(made, made.fit(X, Y, checkpoint=folder, resume=True, **run)) == expected


@pytest.mark.parametrize("name", ["lm", "lbfgs"])
def test_a_checkpoint_goes_on_with_the_choices_of_its_plan(tmp_path, name):
    run = {"epochs": 3, "checkpoint": tmp_path, "every": "1 steps", "progress": False}
    assert trainer(name, "numba").fit(X, Y, **run).plan.choices["pieces"] != 5
    *_, before, last = sorted(tmp_path.glob("step-*"))
    last.unlink()
    tensors, told = read_model(before)
    told["plan"]["choices"]["pieces"] = 5  # as another version may have chosen
    write_model(before, tensors, told, overwrite=True)
    assert trainer(name, "numba").fit(X, Y, resume=True, **run).plan.choices["pieces"] == 5


def test_an_executable_that_is_shared_runs_the_iterations():
    made = trainer("lbfgs", "numba")
    made.mlp.predict(X)  # which binds it
    work, runner = made.runner.workload(len(X)), made.runner
    shared = made.mlp.network.binding.executable(work.program, work, {"threads": 1})
    runner.take(shared, work)
    assert runner.executable is shared
    made.epoch(X, Y)
    assert runner.executable is shared


def test_another_solver_does_not_go_on_from_a_checkpoint(tmp_path):
    trainer("lm").fit(X, Y, epochs=2, checkpoint=tmp_path / "run", progress=False)
    with pytest.raises(gd.FileError, match="the bayes of solver lm is True and was False"):
        trainer("bayes").fit(X, Y, epochs=2, checkpoint=tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize("name", ["lm", "lbfgs"])
def test_a_second_fit_goes_on_where_the_first_ended(name):
    made, other = trainer(name), trainer(name)
    made.fit(X, Y, epochs=4, progress=False)
    history = made.fit(X, Y, epochs=4, progress=False)
    assert [e.number for e in history.epochs] == [5, 6, 7, 8]
    whole = other.fit(X, Y, epochs=8, progress=False)
    assert history.loss == whole.loss[4:]
    assert made.epoch(X, Y) / len(X) < history.loss[-1]


@pytest.mark.parametrize("name", ["lm", "lbfgs"])
def test_many_side_by_side_have_the_bits_of_each_alone(name):
    models = [trainer(name, "numba", seed).mlp for seed in range(4)]
    histories = gd.fit_many(models, X, Y, epochs=6, settings={"solver": SOLVERS[name]}, threads=2, progress=False)
    for seed, (model, history) in enumerate(zip(models, histories, strict=True)):
        alone = gd.MLP([2, 6, 1], activation="tanh", seed=seed, backend="numba", precision="float64", threads=1)
        expected = alone.fit(X, Y, epochs=6, solver=SOLVERS[name], progress=False)
        assert history.loss == expected.loss
        for a, b in zip(model.parameters, alone.parameters, strict=True):
            np.testing.assert_array_equal(a.W, b.W)


def test_several_starts_keep_the_lowest():
    model = gd.MLP([2, 4, 1], activation="tanh", seed=0, precision="float64")
    history = model.fit(X, Y, epochs=20, solver="lm", starts=3, progress=False)
    losses = [start.loss for start in history.starts]
    assert len(set(losses)) == 3
    assert model.loss(X, Y) == pytest.approx(min(losses), rel=1e-6)


@pytest.mark.parametrize("name", ["lm", "lbfgs"])
def test_records_in_files_a_part_at_a_time(tmp_path, name):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, X)
    np.save(y, Y)
    inside, outside = trainer(name), trainer(name)
    expected = inside.fit(X, Y, epochs=8, progress=False)
    history = outside.fit(gd.Stored(Path(x), Path(y), memory=6000), epochs=8, progress=False)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-6)
