"""Going on from any checkpoint gives, to the bit, what never having stopped gives."""

import shutil

import numpy as np
import pytest
from training import data, fit, told, trainer

import gdkernels as gd


@pytest.fixture(params=["numpy", "numba"])
def backend(request):
    return request.param


@pytest.fixture
def whole(tmp_path, backend):
    """Return a fit that was never stopped, as told, and its checkpoints, the oldest first."""
    made = trainer(backend)
    history = fit(made, tmp_path / "whole")
    return told(made, history), sorted((tmp_path / "whole").glob("step-*"))


def resumed(tmp_path, checkpoint, backend, **run):
    folder = tmp_path / f"from-{checkpoint.stem}"
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    made = trainer(backend)
    return told(made, fit(made, folder, **run))


def test_from_every_checkpoint(tmp_path, whole, backend):
    expected, checkpoints = whole
    assert len(checkpoints) > 10  # most of them in the middle of an epoch of 17 steps
    for checkpoint in checkpoints:
        assert resumed(tmp_path, checkpoint, backend) == expected


def test_without_checkpoints_the_parameters_are_the_same(whole, backend):
    made = trainer(backend)
    fit(made)
    parameters = repr([np.asarray(a).tobytes().hex() for layer in made.mlp.parameters for a in layer])
    assert whole[0].endswith(parameters + ")")


@pytest.mark.parametrize("schedule", ["reduce_on_plateau", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", gd.SGD(0.01, momentum=0.9, nesterov=True)])
def test_optimizers_and_schedules(tmp_path, optimizer, schedule):
    def run(folder):
        made = trainer(optimizer=optimizer, schedule=schedule, l2=0.01, clip_norm=1.0)
        return told(made, fit(made, folder, data=data()))

    expected = run(tmp_path / "whole")
    for checkpoint in sorted((tmp_path / "whole").glob("step-*"))[2:9:3]:
        folder = tmp_path / checkpoint.stem
        folder.mkdir()
        shutil.copy(checkpoint, folder)
        assert run(folder) == expected


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_part_between_checkpoints_that_is_only_the_smaller_last_batch(tmp_path, backend):
    random = np.random.default_rng(0)
    X, Y = random.standard_normal((600, 5)), random.standard_normal((600, 1))

    def run(folder=None):
        mlp = gd.MLP([5, 48, 48, 1], seed=1, backend=backend)
        kept = {} if folder is None else {"checkpoint": folder, "every": "2 steps", "keep": 99, "resume": True}
        mlp.fit(X, Y, epochs=3, optimizer="sgd", batch_size=220, **kept)
        return [a.tobytes() for layer in mlp.parameters for a in layer]

    expected = run()
    assert run(tmp_path / "whole") == expected
    for checkpoint in sorted((tmp_path / "whole").glob("step-*")):
        folder = tmp_path / checkpoint.stem
        folder.mkdir()
        shutil.copy(checkpoint, folder)
        assert run(folder) == expected, checkpoint.name


def test_weights_of_records(tmp_path):
    weights = np.random.default_rng(1).random(203)
    runs = []
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
        if name == "part":
            shutil.copy(sorted((tmp_path / "whole").glob("step-*"))[3], tmp_path / name)
        made = trainer()
        runs.append(told(made, fit(made, tmp_path / name, sample_weight=weights)))
    assert runs[0] == runs[1]


def test_a_fit_that_ended_is_not_repeated(tmp_path):
    first = fit(trainer(), tmp_path / "c")
    made, calls = trainer(), []
    again = fit(made, tmp_path / "c", callbacks=[calls.append])
    assert not calls
    assert again.stopped == first.stopped
    assert again.loss == first.loss


def test_the_second_fit_of_a_trainer(tmp_path):
    def twice(folder):
        made = trainer()
        fit(made, epochs=2)
        return told(made, fit(made, folder))

    expected = twice(tmp_path / "whole")
    (tmp_path / "part").mkdir()
    shutil.copy(sorted((tmp_path / "whole").glob("step-*"))[4], tmp_path / "part")
    made = trainer()  # which knows nothing of the first fit
    assert told(made, fit(made, tmp_path / "part")) == expected


def test_several_starts(tmp_path):
    def run(mlp, folder):
        history = mlp.fit(*data(), epochs=3, starts=2, checkpoint=folder, resume=True)
        return history.loss, [vars(s) for s in history.starts]

    expected = run(gd.MLP([5, 4, 1], seed=1, backend="numpy"), tmp_path / "c")
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"start-1", "start-2"}
    shutil.rmtree(tmp_path / "c" / "start-2")
    assert run(gd.MLP([5, 4, 1], seed=1, backend="numpy"), tmp_path / "c") == expected


# ---- divergence


def test_divergence_goes_on_at_half_the_rate(caplog):
    x, y = data()
    made = trainer(optimizer=gd.SGD(1e3), schedule="constant")
    history = made.fit(x, y, epochs=3, retries=40)
    assert not history.diverged
    assert len(history.epochs) == 3
    halvings = np.log2(1e3 / history.learning_rate[-1])
    assert halvings == round(halvings) == caplog.text.count("at half the rate") > 0


def test_retries_run_out():
    made = trainer(optimizer=gd.SGD(1e30), schedule="constant")
    history = made.fit(*data(), epochs=3, retries=2)
    assert history.diverged
    assert "Lower the learning rate (2.5e+29)" in history.stopped


def test_divergence_and_resume(tmp_path):
    def run(folder):
        made = trainer(optimizer=gd.SGD(3.0), schedule="constant")
        history = fit(made, folder, retries=10)
        return told(made, history)

    expected = run(tmp_path / "whole")
    for checkpoint in sorted((tmp_path / "whole").glob("step-*"))[:6:2]:
        folder = tmp_path / checkpoint.stem
        folder.mkdir()
        shutil.copy(checkpoint, folder)
        assert run(folder) == expected
