"""Going on from any checkpoint gives, to the bit, what never having stopped gives."""

import math
import shutil

import numpy as np
import pytest
from training import data, fit, told, trainer

import gdkernels as gd
from gdkernels.backend import Plan, State
from gdkernels.dispatch import choosing
from gdkernels.files import read_model, write_model
from gdkernels.training.checkpointing import Run
from gdkernels.training.checkpointing.checkpointer import Checkpointer
from gdkernels.training.checkpointing.snapshot import progress_of, put_progress, tensors_of
from gdkernels.training.history import Epoch, History


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


def told_in(folder):
    return read_model(max(folder.glob("step-*")))[1]


def rewrite(folder, **changed):
    """Change what the newest checkpoint tells."""
    path = max(folder.glob("step-*"))
    tensors, metadata = read_model(path)
    write_model(path, tensors, metadata | changed, overwrite=True)


def stopped(folder, backend, epochs=4, **settings):
    """Stop a fit of `epochs` in its third."""

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(trainer(backend, **settings), folder, epochs=epochs, callbacks=[stop])
    return folder


def test_on_another_backend(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    made, expected = trainer("numba"), trainer("numpy")
    fit(made, tmp_path / "c", epochs=4)
    fit(expected, epochs=4)
    assert "another plan or other versions (numpy on cpu)" in caplog.text
    assert "to rounding, not to the bit" in caplog.text
    for layer, other in zip(made.mlp.parameters, expected.mlp.parameters, strict=True):
        for a, b in zip(layer, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_where_nobody_names_a_place_that_of_the_checkpoint_is_taken(tmp_path, monkeypatch, caplog, backend):
    monkeypatch.delenv("GDKERNELS_BACKEND", raising=False)
    expected = told(made := trainer(backend), fit(made, tmp_path / "whole", epochs=4))
    stopped(tmp_path / "c", backend)
    other = "numba" if backend == "numpy" else "numpy"
    real = choosing.decide

    def decide(name="auto", *more):
        return real(other if name == "auto" else name, *more)

    monkeypatch.setattr(choosing, "decide", decide)
    assert fit(trainer("auto"), epochs=1).backend == other
    history = fit(made := trainer("auto"), tmp_path / "c", epochs=4)
    assert (history.backend, history.reason) == (backend, "where the checkpoint was written")
    assert told(made, history) == expected
    assert "to rounding" not in caplog.text


def test_what_is_named_goes_before_the_checkpoint(tmp_path, monkeypatch, caplog):
    stopped(tmp_path / "c", "numba")
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    assert fit(trainer("auto"), tmp_path / "c", epochs=4).backend == "numpy"
    assert "another plan or other versions (numba on cpu)" in caplog.text


def test_a_backend_that_is_not_there_is_replaced(tmp_path, monkeypatch, caplog):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", plan={"backend": "cupy", "device": "cuda:7", "precision": "float32", "choices": {}})
    monkeypatch.delenv("GDKERNELS_BACKEND", raising=False)
    assert fit(trainer("auto"), tmp_path / "c", epochs=4).backend in {"numpy", "numba"}
    assert "another plan or other versions (cupy on cuda:7)" in caplog.text


def test_a_plan_is_repeated_with_its_choices(tmp_path, monkeypatch, caplog):
    """The bits are those of the plan that was begun with, whatever this machine would choose now."""
    pytest.importorskip("numba")

    def calibrated(threads):
        monkeypatch.setattr("gdkernels.dispatch.binding.plan_choices", lambda *_: {"threads": threads})

    monkeypatch.setattr("gdkernels_numba.cpu.features.cores", lambda: 3)
    calibrated(3)
    expected = told(made := trainer("numba"), whole := fit(made, tmp_path / "whole", epochs=4))
    assert whole.plan.choices["threads"] == 3
    assert {"tile_rows", "vector_width"} <= whole.plan.choices.keys()
    stopped(tmp_path / "c", "numba")
    assert told_in(tmp_path / "c")["plan"]["choices"] == dict(whole.plan.choices)
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    calibrated(1)
    history = fit(made := trainer("numba"), tmp_path / "c", epochs=4)
    assert told(made, history) == expected
    assert "to rounding" not in caplog.text
    monkeypatch.setattr("gdkernels_numba.cpu.features.cores", lambda: 2)  # fewer than the plan has threads
    assert fit(trainer("numba"), tmp_path / "d", epochs=4).plan.choices["threads"] == 1
    assert "another plan or other versions (threads 3" in caplog.text


def test_other_versions_are_said(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    versions = told_in(tmp_path / "c")["versions"]
    assert {"gdkernels", "numpy"} <= versions.keys()
    rewrite(tmp_path / "c", versions=versions | {"numpy": "1.0"})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert "other versions (numpy 1.0): what follows agrees with it to rounding" in caplog.text


@pytest.mark.parametrize("plan", [None, {}, {"backend": "numpy", "device": "cpu", "precision": "float32"}])
def test_a_plan_that_is_none(tmp_path, plan):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", plan=plan)
    with pytest.raises(gd.FileError, match="its content is not that of a checkpoint"):
        fit(trainer(), tmp_path / "c", epochs=4)


@pytest.mark.parametrize("rows", ["many", 0, None])
def test_rows_at_a_time_that_cannot_be(tmp_path, rows, caplog):
    stopped(tmp_path / "c", "numpy")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": {"rows_at_a_time": rows}})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert f"another plan or other versions (rows_at_a_time {rows})" in caplog.text


def test_another_number_of_threads_of_blas(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": {"blas_threads": 77}})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert "another plan or other versions (blas_threads 77)" in caplog.text


def test_choices_that_no_plan_can_have(tmp_path):
    pytest.importorskip("numba")
    stopped(tmp_path / "c", "numba")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": plan["choices"] | {"product_depth": 3}})
    with pytest.raises(gd.InputError, match="a plan of the numba backend cannot have product_depth=3"):
        fit(trainer("numba"), tmp_path / "c", epochs=4)


# ---- others are refused


@pytest.mark.parametrize(
    ("settings", "run", "difference"),
    [
        ({"seed": 4}, {}, "seed is 4 and was 3"),
        ({"batch_size": 11}, {}, "batch_size is 11 and was 10"),
        ({"optimizer": gd.Adam(0.5)}, {}, "the learning_rate of optimizer adam is 0.5 and was 0.001"),
        ({"precision": "float64"}, {}, "precision is 'float64' and was 'float32'"),
        ({"l2": 1.0}, {}, "l2 is 1.0 and was 0.0"),
        ({}, {"epochs": 6}, "epochs is 6 and was 5"),
        ({}, {"patience": None}, "patience is None and was 4"),
        ({}, {"data": data(seed=1)}, "the data differ"),
        ({}, {"sample_weight": np.ones(203)}, "the data differ"),
        ({}, {"validation": 0.3}, "the data differ"),
    ],
)
def test_other_settings_and_data(tmp_path, settings, run, difference):
    fit(trainer(), tmp_path / "c")
    before = {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}
    with pytest.raises(gd.FileError, match=f"cannot go on from .*: {difference}; resume with what it was begun with"):
        fit(trainer(**settings), tmp_path / "c", **run)
    assert before == {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}


def test_another_order_of_records(tmp_path):
    fit(trainer(), tmp_path / "c")
    for late in sorted((tmp_path / "c").glob("step-*"))[2:]:
        late.unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}
    with pytest.raises(gd.FileError, match="its records would come in another order"):
        fit(trainer(order=lambda epoch, records: np.arange(records)), tmp_path / "c")
    assert before == {p: p.read_bytes() for p in (tmp_path / "c").glob("step-*")}


def test_starting_afresh_where_there_are_checkpoints(tmp_path):
    fit(trainer(), tmp_path / "c")
    with pytest.raises(gd.FileError, match="has checkpoints already; resume=True"):
        fit(trainer(), tmp_path / "c", resume=False)


def test_a_model_file_is_no_checkpoint(tmp_path):
    (tmp_path / "c").mkdir()
    trainer().mlp.save(tmp_path / "c" / "step-000000000001.safetensors")
    with pytest.raises(gd.FileError, match="a model file, not a checkpoint"):
        fit(trainer(), tmp_path / "c")


@pytest.mark.parametrize("every", ["", "5", "0 steps", "1.5 epochs", "soon", "-3min", 5])
def test_a_cadence_that_is_none(tmp_path, every):
    with pytest.raises(gd.InputError, match='as in "30s"'):
        fit(trainer(), tmp_path / "c", every=every)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"keep": 0}, "keep must be"),
        ({"retries": -1}, "retries must be"),
        ({"checkpoint": None}, "resume=True goes on from checkpoints"),
    ],
)
def test_numbers_out_of_range(tmp_path, run, message):
    with pytest.raises(gd.InputError, match=message):
        fit(trainer(), tmp_path / "c", **run)


# ---- how often, and how many


@pytest.mark.parametrize(
    ("every", "expected"), [("2 epochs", [34, 68, 85]), ("20 steps", [17, 34, 51, 68, 85]), ("1h", [85])]
)
def test_how_often(tmp_path, every, expected):
    """Of 5 epochs of 17 steps, a part ends at the latest with its epoch."""
    fit(trainer(), tmp_path / "c", every=every)
    found = [int(p.stem.split("-")[1]) for p in sorted((tmp_path / "c").glob("step-*"))]
    if every == "20 steps":  # at the first place where it can stop after 20 steps
        assert found == [34, 68, 85]
    else:
        assert found == expected


def test_the_newest_are_kept(tmp_path):
    fit(trainer(), tmp_path / "c", keep=2)
    assert len(list((tmp_path / "c").glob("step-*"))) == 2


def test_large_steps_are_stopped_between(tmp_path, monkeypatch):
    """By their FLOPs, not by the cadence: what takes long must be possible to interrupt."""
    monkeypatch.setattr("gdkernels.training.checkpointing.checkpointer._SEGMENT_FLOPS", 1)
    seen = []
    between = Checkpointer.between_steps
    monkeypatch.setattr(
        Checkpointer, "between_steps", lambda self, *rest: (seen.append(rest[1].middle), between(self, *rest))
    )
    fit(trainer(), tmp_path / "c", every="1h")
    assert len(seen) == 5 * 17 - 1  # the last epoch's end is not between steps


# ---- the history


def test_a_history_of_any_length(tmp_path):
    """Half a million epochs, of which the header of a file could not tell."""
    epoch = {"validation_loss": math.nan, "learning_rate": 0.1, "seconds": 1e-3, "samples_per_second": 2e5}
    epochs = [
        Epoch(number=k + 4, loss=1 / (k + 1), gradient_norm=None, metrics={"r2": -math.inf}, **epoch)
        for k in range(500_000)
    ]
    mlp = gd.MLP([2, 1], seed=0, backend="numpy")
    arrays = mlp.network.parameters
    state = State(arrays, {name: (w, w) for name, w in arrays.items()}, 7)
    run = Run(History(Plan("numpy", "cpu", "float32", {}), "definition", ""), began=3)
    run.history.epochs = epochs
    write_model(tmp_path / "c", tensors_of(state, run, np.asarray), progress_of(state, run, 500_003))
    tensors, metadata = read_model(tmp_path / "c")
    again = Run(History(run.history.plan, "definition", ""), began=0)
    put_progress(again, metadata, tensors, arrays, tuple(arrays), 2)
    assert repr(again.history.epochs[::1000]) == repr(epochs[::1000])  # NaN is not equal to itself
    assert len(again.history.epochs) == len(epochs)


@pytest.mark.parametrize(
    "figures", [{}, {"fields": ["loss"], "metrics": []}, {"fields": ["number"] * 5, "metrics": []}, None]
)
def test_a_history_that_is_none(tmp_path, figures):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", figures=figures)
    with pytest.raises(gd.FileError, match="its content is not that of a checkpoint"):
        fit(trainer(), tmp_path / "c", epochs=4)


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
