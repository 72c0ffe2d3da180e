"""Blocks for the columns of a table: codes, names, what is refused, files, the same bits on any number of threads."""

from dataclasses import dataclass

import numpy as np
import pytest
from gdkernels_numba import NumbaBackend

import gdkernels as gd
from gdkernels import blocks
from gdkernels.backend import Plan, verification
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Columns, Dense, Embedding, Sequential
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import FileError, InputError

RANDOM = np.random.default_rng(0)
RECORDS = 300
TOWN, KIND = RANDOM.integers(0, 40, RECORDS), RANDOM.integers(0, 3, RECORDS)
NUMBERS = RANDOM.standard_normal((RECORDS, 2))
X = np.c_[TOWN, NUMBERS, KIND].astype(np.float32)
Y = (RANDOM.standard_normal(40)[TOWN] * NUMBERS[:, 0] + KIND)[:, None].astype(np.float32)
BLOCK = Sequential(Columns({0: Embedding(40, 6), -1: Embedding(3, 2)}, rest="passthrough"), Dense(32, "relu"), Dense(1))


def network(block=BLOCK, backend="numba", **settings):
    return gd.Network(block, 4, seed=1, backend=backend, **settings)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_they_train_and_come_back_from_their_file(backend, tmp_path):
    net = network(backend=backend)
    history = net.fit(X, Y, epochs=60, optimizer=gd.Adam(0.01), validation=0.2)
    assert history.origin == ("compiled" if backend == "numba" else "definition")
    assert history.loss[-1] < 0.1 * history.loss[0]
    net.save(tmp_path / "n.gd")
    again = gd.load(tmp_path / "n.gd", backend=backend)
    assert again.block == BLOCK
    assert np.array_equal(again.predict(X), net.predict(X))
    assert list(net.parameters) == ["table0/0/0", "table0/1/0", "W1", "b1", "W2", "b2"]
    assert net.parameter_count == 40 * 6 + 3 * 2 + 10 * 32 + 32 + 32 + 1
    assert net.network.structure.multiply_adds == 10 * 32 + 32
    assert "Columns({0: Embedding(40, 6), -1: Embedding(3, 2)}, rest='passthrough'), Dense" in repr(net)


def test_they_run_on_onnx_runtime(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    block = Sequential(
        Columns([((0, 3), Embedding((40, 3), (6, 2))), (slice(1, 3), Dense(5, "tanh")), ((3, 1), Dense(2))]), Dense(1)
    )
    net = network(block)
    net.fit(X, Y, epochs=1)
    net.export_onnx(tmp_path / "n.onnx")
    session = runtime.InferenceSession(tmp_path / "n.onnx")
    np.testing.assert_allclose(session.run(None, {"x": X})[0], net.predict(X), atol=1e-5)


def test_an_embedding_is_a_dense_layer_of_columns_of_0_and_1():
    hot = np.c_[TOWN[:, None] == np.arange(40), NUMBERS].astype(np.float32)
    ending = Dense(9, "tanh"), Dense(1)
    coded = gd.Network(Sequential(Columns({0: Embedding(40, 7)}, "passthrough"), *ending), 3, seed=2, backend="numba")
    dense_layer = Columns({range(40): Dense(7, bias=False)}, "passthrough")
    dense = gd.Network(Sequential(dense_layer, *ending), 42, seed=2, backend="numba")
    own = coded.parameters
    dense.set_parameters({"W0/0": own.pop("table0/0/0"), **own})
    for net, x in ((coded, X[:, :3]), (dense, hot)):
        net.fit(x, Y, epochs=5, batch_size=32, optimizer=gd.AdamW(weight_decay=0.1), l2=0.01)
    for found, wanted in zip(coded.parameters.values(), dense.parameters.values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


# ---- codes


HOSTILE = {"beyond": 40, "negative": -1, "far": 1e30, "no whole number": 0.5, "almost one": 2.999}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_code_is_refused_with_its_place(backend, what):
    wrong, net = X.copy(), network(backend=backend)
    wrong[17, 0] = HOSTILE[what]
    before = net.parameters
    words = r"X holds \S+ in row 17, column 0; .* by a whole number from 0 to 39"
    for use in (
        lambda: net.fit(wrong, Y, epochs=1),
        lambda: net.fit(X, Y, epochs=1, validation=(wrong, Y)),
        lambda: net.fit([(X, Y), (wrong, Y)], epochs=1),
        lambda: net.predict(wrong),
        lambda: net.loss(wrong, Y),
        lambda: net.gradient(wrong, Y),
    ):
        with pytest.raises(InputError, match=words):
            use()
    assert before.keys() == net.parameters.keys()


def test_what_is_no_code_in_a_file_or_a_frame_is_refused_too(tmp_path):
    pandas = pytest.importorskip("pandas")
    wrong = X.copy()
    wrong[17, 0] = 40
    np.save(tmp_path / "x.npy", wrong)
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(InputError, match=r"from record 17 on, holds 40 in row 0, column 0"):
        network().fit(gd.Stored(tmp_path / "x.npy", tmp_path / "y.npy", memory="1 MB"), epochs=1)
    frame = pandas.DataFrame(wrong, columns=["town", "a", "b", "kind"])
    with pytest.raises(InputError, match=r"X holds 40 in record 18, column 'town'"):
        network().fit(frame, Y, epochs=1)


def test_the_last_of_many_categories_is_exact():
    many = 1 << 24
    with pytest.raises(InputError, match="codes are exact in float32 up to 16,777,216 categories, got 16,777,217"):
        Embedding(many + 1, 1)
    table = np.arange(many, dtype=np.float32)[:, None]
    for backend, precision in (("numpy", "float32"), ("numba", "float32"), ("numba", "bfloat16")):
        if precision == "bfloat16" and NumbaBackend().lacks("bfloat16"):
            continue
        net = gd.Network(Embedding(many, 1), 1, backend=backend, precision=precision)
        net.set_parameters({"table0": table})
        codes = np.array([[0], [257], [many - 1], [many - 2]], np.float32)
        assert net.predict(codes)[:, 0].tolist() == [0.0, 257.0, many - 1.0, many - 2.0]


@dataclass(frozen=True)
class Hashed(blocks.Block):
    def parameters(self, inputs):
        return {"table": blocks.Parameter((8, 2), 0.5)}

    def outputs(self, inputs):
        return 2

    def __call__(self, p, a, *, xp, random=None):
        return xp.take(p["table"], xp.astype(a[:, 0] * 2.0, xp.int32), axis=0)


def test_numbers_that_a_network_computes_look_nothing_up():
    net = gd.Network(Sequential(Hashed(), Dense(1)), 4, backend="numba")
    with pytest.raises(InputError, match="by the columns of X alone"):
        net.fit(X, Y, epochs=1)


# ---- columns and their names


def test_blocks_take_their_columns_in_the_order_of_the_keys():
    block = Columns([((2, 0), "passthrough"), (-1, "passthrough"), (slice(1, 2), blocks.Scale(2.0))], rest="drop")
    for backend in ("numpy", "numba"):
        net = network(block, backend)
        np.testing.assert_array_equal(net.predict(X), np.c_[X[:, [2, 0, 3]], 2 * X[:, 1]])
    rest = network(Columns({1: "passthrough"}, rest=blocks.Scale(3.0)))
    np.testing.assert_array_equal(rest.predict(X), np.c_[X[:, 1], 3 * X[:, [0, 2, 3]]])


def test_columns_go_by_the_names_of_a_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["town", "area", "rooms", "kind"])
    by_name = Columns({("kind", "town"): Embedding((3, 40), (2, 6))}, rest="passthrough")
    net = gd.Network(Sequential(by_name, Dense(1)), seed=1, backend="numba")
    net.fit(frame, Y, epochs=2)
    assert net.block.blocks[0].names == ("town", "area", "rooms", "kind")
    numbered = gd.Network(
        Sequential(Columns({(3, 0): Embedding((3, 40), (2, 6))}, rest="passthrough"), Dense(1)), seed=1, backend="numba"
    )
    numbered.fit(X, Y, epochs=2)
    for name, array in numbered.parameters.items():
        assert np.array_equal(net.parameters[name], array)
    assert np.array_equal(net.predict(frame[["kind", "rooms", "area", "town"]]), numbered.predict(X))
    net.save(tmp_path / "n.gd")
    assert np.array_equal(gd.load(tmp_path / "n.gd", backend="numba").predict(frame), numbered.predict(X))
    told = Columns({"b": Dense(1)}, rest="drop", names=["a", "b", "c", "d"])
    assert network(told).predict(X).shape == (RECORDS, 1)
    with pytest.raises(InputError, match=r"Columns knows no name 'kind': train on a frame"):
        gd.Network(Sequential(by_name, Dense(1)), 4)
    with pytest.raises(InputError, match=r"there is no input 'towns' among 'town', 'area'"):
        gd.Network(Columns({"towns": Dense(1)}, rest="drop")).fit(frame, Y, epochs=1)


REFUSED = {
    "columns without a block": (
        lambda: network(Columns({1: Dense(2)})),
        "no block for 3 of 4 inputs: 0, 2, 3; give rest=",
    ),
    "one without a block": (lambda: network(Columns({(0, 1, 2): Dense(2)})), "no block for the input 3"),
    "a column that is not there": (lambda: network(Columns({4: Dense(2)})), "there is no input 4 among 4"),
    "a column twice": (lambda: network(Columns({(1, -3): Dense(2)})), r"Columns: \(1, -3\) names an input twice"),
    "no key": (lambda: Columns({1.5: Dense(2)}), "the number or the name of an input"),
    "a truth value": (lambda: Columns({True: Dense(2)}), "the number or the name of an input"),
    "a mixed key": (lambda: Columns({(0, "a"): Dense(2)}), "the number or the name of an input"),
    "an open slice": (lambda: Columns([(slice(2, None), Dense(2))]), r"a slice must say where it ends"),
    "no block": (lambda: Columns({0: "relu"}), "Columns is made of blocks"),
    "no dictionary": (lambda: Columns(Dense(2)), "Columns takes a dictionary of blocks"),
    "nothing": (lambda: Columns({}), "at least one block"),
    "names for others": (lambda: network(Columns({0: Dense(1)}, "drop", ["a"])), "names for 1 inputs, and there are 4"),
    "names twice": (lambda: Columns({0: Dense(1)}, "drop", ["a", "a"]), "names must be different texts"),
    "no categories": (lambda: Embedding(0, 3), "categories must be whole numbers of at least 1, got 0"),
    "half a width": (lambda: Embedding(3, 2.5), "width must be whole numbers of at least 1, got 2.5"),
    "one table too few": (lambda: network(Embedding((3, 4), 2)), "categories for 2 inputs, and there are 4"),
    "one width too few": (lambda: Embedding((3, 4, 5), (2, 2)), "3 categories and 2 widths"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(what):
    make, words = REFUSED[what]
    with pytest.raises(InputError, match=words):
        make()


def test_a_checkpoint_of_other_categories_is_refused(tmp_path):
    stop = {"checkpoint": tmp_path / "c", "every": "1 epochs"}
    network().fit(X, Y, epochs=2, **stop)
    other = network(Sequential(Columns({0: Embedding(41, 6), -1: Embedding(3, 2)}, "passthrough"), *BLOCK.blocks[1:]))
    with pytest.raises(FileError, match="cannot go on from"):
        other.fit(X, Y, epochs=4, resume=True, **stop)


# ---- bits


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam()], ids=["momentum", "adam"])
def test_bits_are_the_same_on_any_number_of_threads(precision, optimizer):
    if precision == "bfloat16" and NumbaBackend().lacks("bfloat16"):
        pytest.skip(str(NumbaBackend().lacks("bfloat16")))
    # Nothing but tables: what else is summed over the batch is summed thread by thread.
    block = Columns({0: Embedding(200, 70), 1: Embedding(5, 3), 2: Embedding(9000, 1)})
    program = Program(block, 3, objective=Objective(losses.huber), optimizer=optimizer)
    random = np.random.default_rng(3)
    x = np.stack([random.integers(0, n, 333) for n in (200, 5, 9000)], axis=1).astype(np.float32)
    y, order = random.standard_normal((333, 74), dtype=np.float32), random.permutation(333)
    start = {n: a.astype(np.float32) for n, a in initial_values(program.parameters, random).items()}
    dtype = "float64" if precision == "float64" else "float32"
    found = []
    for threads in (1, 2, 3):
        for choices in ({"depth_first": False}, {"depth_first": True, "tile_rows": 12}, {"by_units": True}):
            plan = Plan("numba", "cpu", precision, {"threads": threads, **choices})
            state = verification.start(program, start, lambda a: np.array(a, dtype))
            executable = NumbaBackend().compile(program, plan)
            executable.run(state, x.astype(dtype), y.astype(dtype), order, 100, np.full(4, 0.01))
            found.append({name: a.tobytes() for name, a in verification.named_arrays(state)})
    assert all(bits == found[0] for bits in found[1:])


def test_what_an_interrupted_run_has_added_is_forgotten():
    program = Program(Columns({0: Embedding(50, 3)}), 1, objective=Objective(losses.sse), optimizer=SGD())
    x, y = np.zeros((8, 1), np.float32), np.ones((8, 3), np.float32)
    start = {n: a.astype(np.float32) for n, a in initial_values(program.parameters, np.random.default_rng(0)).items()}
    executable = NumbaBackend().compile(program, Plan("numba", "cpu", "float32", {"threads": 1}))

    def trained():
        state = verification.start(program, start, np.array)
        executable.run(state, x, y, np.arange(8), 8, np.full(1, 0.1))
        return state.parameters["table0/0"]

    first = trained()
    (bound,) = executable._bound.by_use.values()
    for gradient in bound._cleared:
        gradient[:] = 0x40  # a step was given up between its sums and its end
    np.testing.assert_array_equal(trained(), first)


def test_estimators_take_columns_by_number_and_by_the_names_of_a_frame():
    pandas = pytest.importorskip("pandas")
    estimators = pytest.importorskip("gdkernels.estimators")
    frame, scores = pandas.DataFrame(X, columns=["town", "area", "rooms", "kind"]), []
    for key, x in ((0, X), ("town", frame)):
        block = Sequential(Columns({key: Embedding(40, 6)}, rest="passthrough"), Dense(32, "relu"))
        model = estimators.MLPRegressor(
            network=block, max_iter=150, learning_rate_init=0.01, random_state=0, precision="float64"
        ).fit(x, Y.ravel())
        scores.append(model.score(x, Y.ravel()))
        assert model.hidden_outputs(x)[0].shape == (RECORDS, 9)
        wrong = frame.assign(town=40) if key == "town" else X + 40
        for use in (model.predict, model.hidden_outputs):
            with pytest.raises(InputError, match="by a whole number from 0 to 39"):
                use(wrong)
    assert scores[0] == scores[1] > 0.9
