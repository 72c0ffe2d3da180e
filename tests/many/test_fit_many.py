"""`gd.fit_many`: each model comes out as its own fit would leave it, whatever is trained beside it."""

import copy
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdkernels as gd
from gdkernels import blocks
from gdkernels.errors import InputError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((150, 5)).astype(np.float32)
Y = np.sin(X[:, :2]) + 0.1 * X[:, 2:4]
BLOCK = blocks.Sequential(
    blocks.Dense(9, "tanh"), blocks.Dropout(0.2), blocks.Residual(blocks.Dense(9)), blocks.Dense(2)
)
MAKERS = {
    "plain": lambda seed, backend: gd.MLP([5, 8, 2], seed=seed, backend=backend),
    "deep": lambda seed, backend: gd.MLP([5, 7, 6, 2], activation="tanh", bias=False, seed=seed, backend=backend),
    "normed": lambda seed, backend: gd.MLP([5, 8, 8, 2], residual=True, norm="layer", seed=seed, backend=backend),
    "blocks": lambda seed, backend: gd.Network(BLOCK, 5, seed=seed, backend=backend),
}
SETTINGS = [
    {},
    {"optimizer": gd.SGD(0.01, momentum=0.9), "batch_size": 32},
    {"optimizer": gd.SGD(0.03, momentum=0.5, nesterov=True), "l2": 0.1, "batch_size": 150},
    {"optimizer": gd.AdamW(0.003), "schedule": "cosine", "clip_norm": 0.5},
    {"optimizer": "rmsprop", "schedule": "reduce_on_plateau", "l2": 0.01, "l2_in_loss": True},
    {"loss": "huber", "reduction": "sum", "optimizer": gd.SGD(1e-4)},
]
ROWS = [None, np.arange(0, 150, 2), RANDOM.integers(0, 150, 70), X[:, 0] > 0]


def alone(model, given, rows, **run):
    weights = run.pop("sample_weight", None)
    at = slice(None) if rows is None else rows
    if weights is not None:
        run["sample_weight"] = weights[at]
    return model.fit(X[at], Y[at], progress=False, **given, **run)


def bits(model):
    arrays = model.network.host_parameters()
    return {name: np.asarray(a, np.float32).tobytes() for name, a in arrays.items()}


def same(model, history, other, wanted):
    assert bits(model) == bits(other)
    assert history.loss == wanted.loss
    assert history.validation_loss == wanted.validation_loss
    assert history.learning_rate == wanted.learning_rate
    assert (history.best_epoch, history.stop, history.origin) == (wanted.best_epoch, wanted.stop, wanted.origin)


@settings(max_examples=12)
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from(sorted(MAKERS)), st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)),
        min_size=1,
        max_size=7,
    ),
    threads=st.sampled_from([1, 2, 3]),
    run=st.sampled_from(
        [{}, {"validation": 0.3}, {"validation": 0.3, "patience": 2}, {"patience": 1}, {"validation": (X[:40], Y[:40])}]
    ),
    weighted=st.booleans(),
)
def test_bits_are_those_of_fits_alone(drawn, threads, run, weighted):
    def models():
        return [MAKERS[kind](seed, "numba") for kind, seed, _, _ in drawn]

    given, rows = [SETTINGS[k] for _, _, k, _ in drawn], [ROWS[k] for *_, k in drawn]
    run = {"epochs": 4, **run} | ({"sample_weight": 0.5 + (X[:, 1] > 0)} if weighted else {})
    found, wanted = models(), models()
    histories = gd.fit_many(found, X, Y, settings=given, rows=rows, threads=threads, **run)
    for model, history, other, one, at in zip(found, histories, wanted, given, rows, strict=True):
        same(model, history, other, alone(other, one, at, **run))


def test_each_is_validated_on_rows_of_its_own():
    parts = [(np.arange(50, 150), np.arange(50)), (np.r_[0:50, 100:150], np.arange(50, 100))]
    found, wanted = ([MAKERS["plain"](k, "numba") for k in range(2)] for _ in range(2))
    rows, left_out = zip(*parts, strict=True)
    run = {"epochs": 6, "patience": 2}
    histories = gd.fit_many(found, X, Y, rows=rows, validation_rows=left_out, **run)
    for model, history, other, (at, out) in zip(found, histories, wanted, parts, strict=True):
        same(model, history, other, alone(other, {}, at, validation=(X[out], Y[out]), **run))
    with pytest.raises(InputError, match="leave one of them out"):
        gd.fit_many(found, X, Y, epochs=1, validation=0.1, validation_rows=left_out)
    with pytest.raises(InputError, match=r"validation_rows\[1\] names row 150, and there are 150"):
        gd.fit_many(found, X, Y, epochs=1, validation_rows=[None, [150]])


@pytest.mark.parametrize("backend", ["numpy", "numba", "auto"])
def test_on_every_backend(backend):
    found, wanted = ([MAKERS["plain"](k, backend) for k in range(3)] for _ in range(2))
    histories = gd.fit_many(found, X, Y, epochs=3)
    for model, history, other in zip(found, histories, wanted, strict=True):
        same(model, history, other, other.fit(X, Y, epochs=3, progress=False))


def test_a_second_call_goes_on():
    found, wanted = ([MAKERS["plain"](k, "numba") for k in range(3)] for _ in range(2))
    gd.fit_many(found, X, Y, epochs=3)
    kept = found[:2]  # as a search by halving does
    histories = gd.fit_many(kept, X, Y, epochs=4)
    for model, history, other in zip(kept, histories, wanted, strict=False):
        other.fit(X, Y, epochs=3, progress=False)
        same(model, history, other, other.fit(X, Y, epochs=4, progress=False))
    third = found[2].fit(X, Y, epochs=4, progress=False)  # a fit alone goes on, too
    wanted[2].fit(X, Y, epochs=3, progress=False)
    same(found[2], third, wanted[2], wanted[2].fit(X, Y, epochs=4, progress=False))


def test_an_order_of_your_own_is_a_setting_like_the_others():
    def order(epoch, records):
        return np.random.default_rng(epoch).permutation(records)

    found, wanted = ([MAKERS["plain"](k, "numba") for k in range(2)] for _ in range(2))
    trainers = [gd.Trainer(model, order=order) for model in wanted]
    for _ in range(2):  # the second goes on
        histories = gd.fit_many(found, X, Y, epochs=2, settings={"order": order})
        for model, history, other, trainer in zip(found, histories, wanted, trainers, strict=True):
            same(model, history, other, trainer.fit(X, Y, epochs=2, progress=False))
    assert found[0].fit(X, Y, epochs=1, progress=False).epochs[0].number == 1, "without it, another training begins"


@pytest.mark.parametrize("run", [{}, {"validation": 0.2}, {"validation": 0.2, "patience": 2}], ids=str)
@pytest.mark.parametrize("late", [False, True])
def test_one_that_diverges_does_not_disturb_the_others(late, run):
    found, wanted = ([MAKERS["plain"](k, "numba") for k in range(4)] for _ in range(2))
    wrong = {"schedule": gd.schedules.Exponential(gamma=30.0)} if late else {"optimizer": gd.SGD(1e6)}
    given = [{"optimizer": gd.SGD(0.01)} | (wrong if k == 1 else {}) for k in range(4)]
    run = {"epochs": 10, **run}
    histories = gd.fit_many(found, X, Y, settings=given, threads=2, **run)
    assert histories[1].diverged or "patience" in run
    assert (len(histories[1].epochs) > 1) is late
    for model, history, other, one in zip(found, histories, wanted, given, strict=True):
        same(model, history, other, other.fit(X, Y, progress=False, **run, **one))


@pytest.mark.parametrize("run", [{}, {"validation": (X[:40], Y[:40])}], ids=["all", "validated"])
def test_data_that_change_are_named(run):
    x = X.copy()

    def order(epoch, records):
        x[3, 2] = np.nan if epoch == 2 else x[3, 2]
        return np.arange(records)

    with pytest.raises(InputError, match="so something writes into the data meanwhile"):
        gd.fit_many([MAKERS["plain"](0, "numba")], x, Y, epochs=6, settings={"order": order}, **run)


def test_an_error_ends_all_and_names_itself(monkeypatch):
    def order(epoch, records):
        raise RuntimeError("an order of my own")

    models = [MAKERS["plain"](k, "numba") for k in range(6)]
    given = [{"order": order} if k == 3 else {} for k in range(6)]
    with pytest.raises(RuntimeError, match="an order of my own"):
        gd.fit_many(models, X, Y, epochs=50, settings=given, threads=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("gdkernels-many")]


def test_classes():
    classes = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    found, wanted = ([gd.MLP([5, 8, 3], seed=k, backend="numba") for k in range(3)] for _ in range(2))
    histories = gd.fit_many(found, X, classes, epochs=3, settings={"loss": "cross_entropy"}, validation=0.2)
    for model, history, other in zip(found, histories, wanted, strict=True):
        same(
            model, history, other, other.fit(X, classes, epochs=3, loss="cross_entropy", validation=0.2, progress=False)
        )


MLPS = [gd.MLP([5, 4, 2], seed=k) for k in range(2)]


@pytest.mark.parametrize(
    ("models", "arguments", "said"),
    [
        ([], {}, "at least one model"),
        ([MLPS[0], MLPS[0]], {}, "among the models twice"),
        ([MLPS[0], "mlp"], {}, r"models\[1\] must be a Network"),
        (MLPS, {"settings": [{}]}, "one for each of the 2 models, got 1"),
        (MLPS, {"settings": {"rate": 1}}, r"settings\[0\] has 'rate'; known are optimizer"),
        (MLPS, {"settings": [{}, {"optimizer": "sdg"}]}, "sdg"),
        (MLPS, {"rows": [None]}, "an entry for each of the 2 models, got 1"),
        (MLPS, {"rows": [None, [[1]]]}, r"rows\[1\] must be a list"),
        (MLPS, {"rows": [None, [0, 150]]}, r"rows\[1\] names row 150, and there are 150"),
        (MLPS, {"rows": [[-1], None]}, r"rows\[0\] names row -1, and there are 150"),
        (MLPS, {"rows": [None, [[1], [1, 2]]]}, r"rows\[1\] must be a list"),
        (MLPS, {"rows": [None, [2**63]]}, r"rows\[1\] names row 9,223,372,036,854,775,80., and there are 150"),
        (MLPS, {"rows": [None, [-(2**70)]]}, r"rows\[1\] names row -9,223,372,036,854,775,808, and there are 150"),
        (MLPS, {"rows": [None, np.uint64([2**63 + 5])]}, r"rows\[1\] names row 9,223,372,036,854,775,813"),
        (MLPS, {"rows": [None, [True, 5]]}, r"rows\[1\] must be a list of numbers of rows, or True and False for each"),
        (MLPS, {"rows": [None, [0.0, 1.0]]}, r"rows\[1\] must be a list .* got \[0.0, 1.0\]"),
        (MLPS, {"rows": [None, b"abc"]}, r"rows\[1\] must be a list .* got b'abc'"),
        (MLPS, {"rows": [None, np.ma.array([1, 2], mask=[0, 1])]}, r"rows\[1\] has 1 masked values"),
        ([MLPS[0], copy.copy(MLPS[0])], {}, r"models\[0\] and models\[1\] share their parameters"),
        (MLPS, {"patience": True}, "patience must be"),
        (MLPS, {"rows": 5}, "rows must be a list with an entry for each model, got int"),
        (MLPS, {"rows": [None, np.ones(149, bool)]}, r"rows\[1\] has True or False for 149 rows, and there are 150"),
        (MLPS, {"rows": [None, np.zeros(150, bool)]}, r"rows\[1\] has no rows"),
        (MLPS, {"rows": [[], None]}, r"rows\[0\] has no rows: a model needs at least one"),
        (MLPS, {"rows": [None, [0, 1]], "sample_weight": np.arange(150) > 1}, r"none of the rows of rows\[1\] has a w"),
        (MLPS, {"rows": [None, [0]], "validation": 0.5}, r"models\[1\]: validation=0.5 of 1 records leaves 0"),
        (MLPS, {"settings": "adam"}, "settings must be a dictionary, or one for each"),
        (MLPS, {"settings": [None, "adam"]}, r"settings\[1\] must be a dictionary"),
        (MLPS, {"settings": [None, {"batch_size": 0}]}, r"models\[1\]: batch_size must be"),
        (MLPS[0], {}, r"takes a list of models, got MLP; a single one is \[model\]"),
        ([MLPS[0], gd.MLP([4, 2], seed=0)], {}, r"models\[1\]: X has the shape"),
        (MLPS, {"threads": 0}, "threads must be"),
        (MLPS, {"validation": 1.5}, "validation must be a share"),
        (MLPS, {"epochs": 0}, "epochs must be"),
        ([gd.MLP([4, 2], seed=0)], {}, "X"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(models, arguments, said):
    before = [bits(m) for m in MLPS]
    with pytest.raises(InputError, match=said):
        gd.fit_many(models, X, Y, **{"epochs": 1} | arguments)
    assert [bits(m) for m in MLPS] == before


def test_rows_are_the_same_in_whatever_they_come():
    """Objects, as frames of mixed columns give them, are read by what they hold."""

    def trained(rows):
        mlp = gd.MLP([5, 4, 2], seed=0, backend="numpy")
        gd.fit_many([mlp], X, Y, epochs=1, rows=[rows])
        return bits(mlp)

    wanted = trained([1, 3, 4])
    assert trained(np.array([1, 3, 4], object)) == trained(iter([1, 3, 4])) == trained(np.uint8([1, 3, 4])) == wanted
    switches = np.isin(np.arange(150), [1, 3, 4])
    assert trained(switches) == trained(switches.astype(object)) == trained(switches.tolist()) == wanted


def test_code_and_memory_are_shared_by_models_that_differ_in_numbers(monkeypatch):
    from gdkernels_numba.bytecode import bound_step

    made = []
    init = bound_step.BoundStep.__init__
    monkeypatch.setattr(bound_step.BoundStep, "__init__", lambda self, *a: (made.append(1), init(self, *a))[1])
    models = [MAKERS["plain"](k, "numba") for k in range(12)]
    given = [
        {
            "optimizer": gd.SGD(0.001 * (k + 1), momentum=0.05 * (k + 1)),
            "l2": 0.01 * (k + 1),
            "clip_norm": 0.5 + k,
        }
        for k in range(12)
    ]
    gd.fit_many(models, X, Y, epochs=2, settings=given, threads=2)
    assert len(made) <= 2


def test_other_constants_of_an_optimizer_make_no_new_code(monkeypatch):
    from gdkernels_numba.cpu import jit

    def fit(k):
        optimizer = gd.AdamW(0.001, beta1=0.5 + k, beta2=0.7 + k, epsilon=0.1 + k, weight_decay=0.1 + k)
        MAKERS["plain"](0, "numba").fit(X, Y, epochs=1, l2=0.1 + k, clip_norm=1 + k, optimizer=optimizer)

    fit(0.0)
    monkeypatch.setattr(jit, "load", lambda *_: pytest.fail("code is looked up again"))
    fit(0.1)
