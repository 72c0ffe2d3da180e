"""How many threads may compute: by the cores, a container's quota, variables, and the keyword."""

import os

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend
from gdkernels_numpy import threads as of_blas

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.system import control_groups, threads
from gdkernels.system.thread_limits import at_most
from gdkernels.system.threads import in_words, thread_bound
from gdkernels.training.jobs.one_pass import in_one_pass

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4096, 256)), RNG.normal(size=(4096, 64))


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    """See eight cores, whatever this machine has, and nothing else that bounds threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_quota", lambda: None)
    for name in (threads.VARIABLE, *threads._OTHERS):
        monkeypatch.delenv(name, raising=False)


def bound():
    found = thread_bound()
    return found.threads, found.reason


# ---- control groups


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return what writes the files of control groups, and says in which this process is."""
    monkeypatch.setattr(control_groups, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(control_groups, "_MOUNTED", tmp_path / "mounted")

    def write(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "mounted" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


V1 = "9:name=systemd:/\n4:memory:/m\n1:cpu,cpuacct:/docker/ab\n"


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "garbage"}, None),
        ("0::/\n", {"cpu.max": "100 0"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000", "cpu.stat": ""}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, 0.5),
        ("0::/outside\n", {"cpu.max": "300000 100000"}, 3.0),  # a container sees its own group as the root
        (V1, {"cpu/docker/ab/cpu.cfs_quota_us": "250000\n", "cpu/docker/ab/cpu.cfs_period_us": "100000\n"}, 2.5),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n"}, None),
        # Both versions at once: the limit may stand in either.
        (V1 + "0::/x\n", {"unified/x/cpu.max": "100000 100000", "cpu/docker/ab/cpu.cfs_quota_us": "-1"}, 1.0),
        (V1.replace("cpu,cpuacct", "cpuset"), {"cpu/cpu.cfs_quota_us": "4", "cpu/cpu.cfs_period_us": "1"}, None),
        ("nonsense\n", {"cpu.max": "150000 100000\n"}, None),
    ],
)
def test_the_quota_of_a_container(groups, membership, files, quota):
    groups(membership, files)
    assert control_groups.cpu_quota() == quota


def test_without_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "_MEMBERSHIP", tmp_path / "none")
    assert control_groups.cpu_quota() is None


# ---- the bound


def test_the_strictest_bound_counts_and_is_named(monkeypatch):
    assert bound() == (8, "this process may use 8 cores")
    monkeypatch.setattr(threads, "_quota", lambda: 5.5)
    assert bound() == (6, "the container's quota is 5.5 cores' time")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    assert bound() == (5, "NUMBA_NUM_THREADS=5")
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert bound() == (4, "OMP_NUM_THREADS=4")
    monkeypatch.setenv("GDKERNELS_THREADS", "3")
    assert bound() == (3, "GDKERNELS_THREADS=3")
    with at_most(2):
        assert bound() == (2, "threads=2")
        with at_most(None):
            assert bound() == (2, "threads=2")
    with at_most(64):
        assert bound() == (3, "GDKERNELS_THREADS=3")
    monkeypatch.setattr(threads, "_quota", lambda: 0.2)
    assert bound() == (1, "the container's quota is 0.2 cores' time")


def test_more_than_the_cores_are_the_cores(monkeypatch):
    monkeypatch.setenv("GDKERNELS_THREADS", "99")
    assert bound() == (8, "this process may use 8 cores")
    monkeypatch.setenv("GDKERNELS_THREADS", "8")
    assert bound() == (8, "GDKERNELS_THREADS=8")


def test_words():
    here = threads.ThreadBound(2, "because")
    assert in_words(2, 7, here) == "2 threads (because)"
    assert in_words(1, None, here) == "1 thread of at most 2 (because): more would not pay"
    assert in_words(None, 1, here) == "1 of BLAS for large products, 1 for small ones"
    assert not in_words(None, None, here)
    assert in_words(3, None, here) == "3 threads, as in the plan of the checkpoint (because)"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "2,3", "٣", "9" * 5000])
def test_a_variable_that_is_no_number(monkeypatch, value):
    monkeypatch.setenv("GDKERNELS_THREADS", value)
    for make in (lambda: gd.MLP([2, 1]), lambda: gd.TabularPredictor("y").fit({"x": [1.0, 2.0], "y": [1.0, 2.0]})):
        with pytest.raises(gd.InputError, match="GDKERNELS_THREADS='.* is no number of threads: unset it"):
            make()


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("GDKERNELS_THREADS", "")
    assert bound()[0] == 8


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2"])
def test_a_keyword_that_is_no_number(value):
    for make in (
        lambda: gd.MLP([2, 1], threads=value),
        lambda: gd.Network(gd.blocks.Dense(1), 2, threads=value),
        lambda: gd.TabularPredictor("y", threads=value).fit({"x": [1.0, 2.0], "y": [1.0, 2.0]}),
    ):
        with pytest.raises(gd.InputError, match=f"threads must be a whole number of at least 1.*{value!r}"):
            make()


# ---- what computes


def fitted(**place):
    mlp = gd.MLP([256, 512, 64], seed=0, **place)
    return mlp, mlp.fit(X, Y, epochs=1, batch_size=2048, progress=False)


def test_the_keyword_bounds_the_compiled_engine():
    pytest.importorskip("numba")
    _, alone = fitted(backend="numba", threads=1)
    assert (alone.plan.choices["threads"], alone.threads) == (1, "1 thread (threads=1)")
    mlp, two = fitted(backend="numba", threads=2)
    assert (two.plan.choices["threads"], two.threads) == (2, "2 threads (threads=2)")
    assert two.as_dict()["threads"] == two.threads
    assert mlp.predict(X).shape == (4096, 64)
    small = gd.MLP([2, 2, 1], seed=0, backend="numba", threads=2).fit(X[:8, :2], Y[:8, :1], epochs=1)
    assert small.threads == "1 thread of at most 2 (threads=2): more would not pay"


def test_the_variable_bounds_the_compiled_engine(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("GDKERNELS_THREADS", "1")
    _, history = fitted(backend="numba")
    assert (history.plan.choices["threads"], history.threads) == (1, "1 thread (GDKERNELS_THREADS=1)")


@pytest.fixture
def blas(monkeypatch):
    """Return what tells on how many threads products ran, of a BLAS that is set to five."""
    setting, seen = [5], []

    def put(count):
        setting[0] = count
        seen.append(count)

    turns = of_blas.Turns([(lambda: setting[0], put)])
    monkeypatch.setattr(of_blas, "_turns", lambda: turns)
    monkeypatch.setattr(of_blas, "SMALL", 0)
    return lambda: (setting[0], seen)


def test_the_keyword_bounds_blas(blas):
    _, history = fitted(backend="numpy", threads=2)
    assert history.plan.choices["blas_threads"] == 2
    assert history.threads == "2 of BLAS for large products, 1 for small ones (threads=2)"
    now, seen = blas()
    assert now == 5
    assert set(seen) == {2, 5}


def test_blas_is_left_alone_where_nobody_bounds_it(blas):
    _, history = fitted(backend="numpy")
    assert history.plan.choices["blas_threads"] == 5
    assert blas() == (5, [])
    with NumPyBackend().for_products(1), at_most(9):
        assert blas()[0] == 5


def test_a_quota_bounds_blas(blas, monkeypatch):
    monkeypatch.setattr(threads, "_quota", lambda: 2.5)
    _, history = fitted(backend="numpy")
    assert history.plan.choices["blas_threads"] == 3
    assert "the container's quota is 2.5 cores' time" in history.threads


def test_many_models(monkeypatch):
    pytest.importorskip("numba")
    seen = []
    monkeypatch.setattr(
        "gdkernels.many.running.in_one_pass",
        lambda jobs, count, done: seen.append(count) or in_one_pass(jobs, count, done),
    )

    def fit(**keywords):
        models = [gd.MLP([4, 3, 1], seed=k, backend="numba", threads=keywords.get("each")) for k in range(5)]
        keywords.pop("each", None)
        return gd.fit_many(models, X[:64, :4], Y[:64, :1], epochs=1, **keywords)

    assert fit()[0].threads == "1 thread (each model has one)"
    fit(each=2)
    monkeypatch.setenv("GDKERNELS_THREADS", "3")
    fit()
    fit(threads=4)
    monkeypatch.delenv("GDKERNELS_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fit()
    fit(threads=4)
    assert seen == [5, 2, 3, 3, 1, 4]


def test_estimators_and_files(tmp_path):
    pytest.importorskip("sklearn")
    from gdkernels.estimators import MLPRegressor

    estimator = MLPRegressor(hidden_layer_sizes=(8,), threads=1)
    estimator.partial_fit(X[:64], Y[:64, 0])
    assert estimator.get_params()["threads"] == 1
    with pytest.raises(ValueError, match="'threads' parameter"):
        MLPRegressor(threads=0).fit(X[:64], Y[:64, 0])
    gd.MLP([2, 1], seed=0).save(tmp_path / "model")
    assert gd.load(tmp_path / "model", threads=2).network.threads == 2


def test_the_command_line(tmp_path, capsys, monkeypatch):
    pytest.importorskip("numba")
    rows = "\n".join(f"{a:.3f},{b:.3f}" for a, b in np.random.default_rng(1).normal(size=(80, 2)))
    (tmp_path / "t.csv").write_text(f"x,y\n{rows}\n")
    given = ["train", str(tmp_path / "t.csv"), "--target", "y", "--hidden", "4", "--epochs", "2", "--backend", "numba"]
    model = str(tmp_path / "m")
    assert main([*given, "--threads", "1", "--out", model]) == 0
    assert "threads  1 thread (threads=1)" in capsys.readouterr().out
    assert main(["evaluate", model, str(tmp_path / "t.csv"), "--threads", "1"]) == 0
    assert main([*given, "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err
    monkeypatch.setenv("GDKERNELS_THREADS", "some")
    assert main(given) == 2
    assert "GDKERNELS_THREADS='some' is no number of threads" in capsys.readouterr().err


def test_a_resumed_fit_keeps_the_pieces_of_its_plan(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr("gdkernels.dispatch.binding.plan_choices", lambda *_: {"threads": 2})

    def fit(folder, resume=False, ends=9):
        mlp = gd.MLP([256, 64, 64], seed=0, backend="numba")

        def end(epoch):
            if epoch.number == ends:
                raise InterruptedError

        kept = {"checkpoint": tmp_path / folder, "every": "1 epochs", "resume": resume, "callbacks": [end]}
        return mlp.fit(X, Y, epochs=4, batch_size=2048, **kept), [p.W.tobytes() for p in mlp.parameters]

    history, wanted = fit("whole")
    pieces = history.plan.choices["pieces"]
    assert history.plan.choices["threads"] == 2 <= pieces
    with pytest.raises(InterruptedError):
        fit("c", ends=2)
    monkeypatch.setenv("GDKERNELS_THREADS", "1")
    history, resumed = fit("c", resume=True)
    assert (history.plan.choices["threads"], history.plan.choices["pieces"]) == (1, pieces)
    assert history.threads == "1 thread (GDKERNELS_THREADS=1)"
    assert resumed == wanted
