"""`gd.Network`: made of blocks, trained, saved, resumed, and refused where it cannot be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import blocks
from gdkernels.errors import FileError, InputError, TraceError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((300, 5)).astype(np.float32)
Y = np.sin(X[:, :2]) + X[:, 2:4] * X[:, 1:3]
BLOCK = blocks.Sequential(
    blocks.Dense(9, "relu"),
    blocks.Residual(blocks.LayerNorm(), blocks.Dense(9, "tanh")),
    blocks.Gated(4),
    blocks.Dense(2),
)


@dataclass(frozen=True)
class Sine(blocks.Block):
    frequency: float = 1.0

    def parameters(self, inputs):
        return {"phase": blocks.Parameter((inputs,), 0.1, decays=False)}

    def constants(self, inputs):
        return {"weights": np.linspace(0.5, 1.5, inputs)}

    def __call__(self, p, a, *, xp, random=None):
        return xp.sin(self.frequency * a * p["weights"] + p["phase"])


def network(block=BLOCK, inputs=5, backend="numba", **settings):
    return gd.Network(block, inputs, seed=3, backend=backend, **settings)


def same(a, b):
    one, other = a.parameters, b.parameters
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_it_trains_predicts_and_comes_back_from_its_file(backend, tmp_path):
    net = network(backend=backend)
    history = net.fit(X, Y, epochs=8, validation=0.2)
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert history.origin == ("compiled" if backend == "numba" else "definition")
    net.save(tmp_path / "n.gd")
    again = gd.load(tmp_path / "n.gd", backend=backend)
    assert type(again) is gd.Network
    assert again.block == BLOCK
    same(again, net)
    assert np.array_equal(again.predict(X), net.predict(X))
    assert again.loss(X, Y) == pytest.approx(net.loss(X, Y))


def test_a_summary_has_a_line_for_each_block():
    heads, _, *rows, _, whole = network().summary().splitlines()
    assert heads.split() == ["block", "outputs", "parameters", "multiply-adds", "a", "record"]
    assert rows[1].startswith("Residual(LayerNorm(), Dense(9, tanh))  ")
    assert [row.split()[-3:] for row in rows] == [
        ["9", "54", "45"], ["9", "108", "81"], ["4", "80", "72"], ["2", "10", "8"],
    ]  # fmt: skip
    assert whole.split()[-3:] == ["2", "252", "206"]
    assert network(blocks.Dense(3), 2).summary().splitlines()[2].split() == ["Dense(3)", "3", "9", "6"]


def test_parameters_are_named_by_their_place():
    names = ["W0", "b0", "scale1/0", "shift1/0", "W1/1", "b1/1", "W2", "b2", "V2", "c2", "W3", "b3"]
    net = network()
    assert list(net.parameters) == names
    assert net.parameter_count == sum(a.size for a in net.parameters.values())
    assert list(net.gradient(X, Y)) == names


def test_inputs_are_those_of_the_first_data():
    lazy, told = gd.Network(BLOCK, seed=3, backend="numba"), network()
    with pytest.raises(InputError, match="at the first fit; pass inputs="):
        _ = lazy.parameters
    lazy.fit(X, Y, epochs=2)
    told.fit(X, Y, epochs=2)
    same(lazy, told)
    with pytest.raises(InputError, match=r"X must be \[records, inputs\]"):
        gd.Network(BLOCK).fit(X[0], Y[0], epochs=1)


def test_constants_are_kept_and_never_trained(tmp_path):
    block = blocks.Sequential(blocks.Dense(6), Sine(2.0), blocks.Dense(2))
    for backend in ("numpy", "numba"):
        net = network(block, backend=backend)
        assert net.parameter_count == 5 * 6 + 6 + 6 + 6 * 2 + 2
        net.fit(X, Y, epochs=2, optimizer=gd.AdamW(), l2=0.1)
        np.testing.assert_array_equal(net.parameters["weights1"], np.linspace(0.5, 1.5, 6, dtype=np.float32))
        assert not np.array_equal(net.parameters["phase1"], np.full(6, 0.1, np.float32))
        net.save(tmp_path / "n.gd", overwrite=True)
        with pytest.raises(InputError, match=r"the block 'Sine' is not built in.*objects=\{'Sine': Sine\}"):
            gd.load(tmp_path / "n.gd")
        same(gd.load(tmp_path / "n.gd", objects={"Sine": Sine}), net)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_it_goes_on_from_checkpoints_to_the_bit(backend, tmp_path):
    whole = network(backend=backend)
    whole.fit(X, Y, epochs=6, batch_size=32)
    first = network(backend=backend)
    stop = {"checkpoint": tmp_path / "c", "every": "1 epochs"}

    def give_up(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, gd.Interrupted)):
        first.fit(X, Y, epochs=6, batch_size=32, callbacks=[give_up], **stop)
    again = network(backend=backend)
    again.fit(X, Y, epochs=6, batch_size=32, resume=True, **stop)
    same(again, whole)
    other = network(blocks.Sequential(blocks.Dense(9, "tanh"), blocks.Dense(2)), backend=backend)
    with pytest.raises(FileError, match="cannot go on from"):
        other.fit(X, Y, epochs=6, batch_size=32, resume=True, **stop)


def test_a_chain_of_dense_blocks_is_the_mlp():
    net = network(blocks.Sequential(blocks.Dense(7, "relu"), blocks.Dense(2)))
    mlp = gd.MLP([5, 7, 2], seed=3, backend="numba")
    for model in (net, mlp):
        model.fit(X, Y, epochs=3, loss="huber")
    layered = [a for layer in mlp.parameters for a in layer]
    assert all(np.array_equal(a, b) for a, b in zip(net.parameters.values(), layered, strict=True))
    assert np.array_equal(net.predict(X), mlp.predict(X))


def test_keywords_of_mlp_put_blocks_around_its_layers():
    mlp = gd.MLP([5, 8, 8, 6, 2], residual=True, norm="layer", bias=False, seed=0)
    assert not mlp.bias  # the shift of a norm is none
    assert gd.MLP([5, 8, 8, 2], residual=True, norm="layer").bias
    dense = [blocks.Dense(n, f, False) for n, f in ((8, "relu"), (8, "relu"), (6, "relu"), (2, "identity"))]
    norm = blocks.LayerNorm()
    assert mlp.block == blocks.Sequential(dense[0], blocks.Residual(norm, dense[1]), norm, dense[2], norm, dense[3])
    assert isinstance(mlp.parameters, dict)
    assert isinstance(gd.MLP([5, 8, 2]).parameters, tuple)


REFUSED = {
    "a class": (lambda: gd.Network(blocks.Dense, 5), "is made of blocks, such as Dense.*got the class Dense"),
    "no block": (lambda: blocks.Sequential("relu"), "Sequential is made of blocks"),
    "no units": (lambda: blocks.Dense(0), "Dense: units must be a whole number of at least 1"),
    "another width": (lambda: network(blocks.Residual(blocks.Dense(4))), "adds its 5 inputs to 4 outputs"),
    "several widths": (
        lambda: network(blocks.Mean(blocks.Dense(4), blocks.Dense(3))),
        "the same number of outputs, got 3, 4",
    ),
    "no inputs": (lambda: network(inputs=0), "inputs must be a whole number of at least 1, got 0"),
    "an unknown activation": (lambda: blocks.Dense(4, "rellu"), "Did you mean 'relu'"),
    "batch norm": (lambda: gd.MLP([5, 4, 2], norm="batch"), "makes the records of a batch depend on each other"),
    "no block around": (lambda: blocks.Activated(blocks.Dense, "relu"), "Activated is made of blocks.*the class Dense"),
    "nothing inside": (lambda: blocks.Residual(), "Residual is made of at least one block"),
    "no bins": (lambda: blocks.PiecewiseLinear.of([[1.0]], bins=0), "bins must be a whole number of at least 1, got 0"),
    "nothing to skip": (lambda: gd.MLP([5, 4, 2], residual=True), "a residual leads past a hidden layer"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_at_once(what):
    make, words = REFUSED[what]
    with pytest.raises(InputError, match=words):
        make()


@dataclass(frozen=True)
class Declares(blocks.Block):
    """A block of a user that declares what it is given; what a declaration may be is for the network to say."""

    told: Callable[[int], Any]
    constant: Any = None

    def parameters(self, inputs):
        return self.told(inputs)

    def constants(self, inputs):
        return {} if self.constant is None else {"c": np.array(self.constant)}

    def __call__(self, p, a, *, xp, random=None):
        return a


DECLARED = {
    "a list": (Declares(lambda n: ["W"]), r"Declares: parameters\(\) must return a mapping by name, got \['W'\]"),
    "a number": (Declares(lambda n: {"W": 3}), r"Declares: W must be a blocks\.Parameter\(shape, init\), got 3"),
    "a number as its name": (Declares(lambda n: {3: ((n, n), 0.0)}), "Declares: a parameter is named by .*got 3"),
    "a dot": (Declares(lambda n: {"W.a": ((n, n), 0.0)}), "Declares: a parameter is named by .*got 'W.a'"),
    "a word to begin with": (
        Declares(lambda n: {"W": ((n, n), "he")}),
        "Declares: the init of W must be a number.*'he'",
    ),
    "no size": (
        Declares(lambda n: {"W": (n, 0.0)}),
        "Declares: the shape of W must be one or two whole numbers.*got 5",
    ),
    "no numbers": (Declares(lambda n: {}, "a"), "Declares: the constant c must be an array of numbers"),
    "another shape": (
        Declares(lambda n: {"W": ((n, n), lambda shape, _: np.ones(3))}),
        r"the init of W1 .*shape \(3,\)",
    ),
    "no finite numbers": (Declares(lambda n: {"W": ((n, n), np.inf)}), "the initial values of W1 are not finite"),
}


@pytest.mark.parametrize("what", DECLARED)
def test_what_a_block_cannot_declare_is_refused_by_its_name(what):
    block, words = DECLARED[what]
    with pytest.raises(InputError, match=words):
        network(blocks.Sequential(blocks.Dense(5), block))


def test_a_block_that_is_not_frozen_is_refused():
    @dataclass
    class Melting(blocks.Block):
        def __call__(self, p, a, *, xp, random=None):
            return a

    with pytest.raises(InputError, match=r"Sequential: Melting cannot be hashed.*@dataclass\(frozen=True\)"):
        blocks.Sequential(Melting())
    with pytest.raises(InputError, match="a network: Melting cannot be hashed"):
        network(Melting())


MIXES = {
    "a batch norm": (lambda a, xp: a - xp.mean(a, axis=0, keepdims=True), "sum of"),
    "products of records": (lambda a, xp: xp.matmul(xp.matmul(a, a.T), a), "matmul of"),
    "their number": (lambda a, xp: a / a.shape[0], "the number of records enters"),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("what", MIXES)
def test_a_block_in_which_records_depend_on_each_other_is_refused(what, backend):
    mixes, words = MIXES[what]

    @dataclass(frozen=True)
    class Mixed(blocks.Block):
        def __call__(self, p, a, *, xp, random=None):
            return mixes(a, xp)

    net = network(blocks.Sequential(blocks.Dense(2), Mixed()), inputs=5, backend=backend)
    with pytest.raises(InputError, match=rf"several records together: {words}.*blocks\.LayerNorm"):
        net.fit(X, Y, epochs=1)


def test_parameters_of_another_network_are_refused():
    net, before = network(), network().parameters
    wrong = dict(before)
    del wrong["W0"]
    with pytest.raises(InputError, match="W0 missing; Z unknown"):
        net.set_parameters(wrong | {"Z": np.ones(2)})
    with pytest.raises(InputError, match=r"W3 has the shape \(2, 4\); expected \(4, 2\)"):
        net.set_parameters(before | {"W3": np.ones((2, 4))})
    with pytest.raises(InputError, match="no chain of layers"):
        net.set_parameters([(np.ones((5, 9)), np.ones(9))])
    same(net, network())


def test_a_block_that_cannot_be_recorded_says_where():
    @dataclass(frozen=True)
    class Rounded(blocks.Block):
        def __call__(self, p, a, *, xp, random=None):
            return xp.round(a)

    with pytest.raises(TraceError, match=r"xp\.round is not .*test_network\.py"):
        network(blocks.Sequential(blocks.Dense(3), Rounded(), blocks.Dense(2))).fit(X, Y, epochs=1)


def test_periodic_is_sines_and_cosines_of_each_input():
    block = blocks.Periodic(2, 0.5)
    net = network(block, inputs=5, backend="numpy", precision="float64")
    f = net.parameters["frequency"].reshape(5, 2, 2)
    assert np.array_equal(f[:, 0], f[:, 1]), "a sine and a cosine begin with one frequency"
    wanted = np.stack([np.sin(X[:, :, None] * f[:, 0]), np.cos(X[:, :, None] * f[:, 1])], axis=2)
    np.testing.assert_allclose(net.predict(X), wanted.reshape(len(X), -1), atol=1e-12)


def test_piecewise_linear_is_the_share_of_each_bin():
    net = network(blocks.PiecewiseLinear(((0.0, 1.0, 3.0), (-1.0, 1.0))), inputs=2, backend="numpy")
    given = np.array([[-1.0, -3.0], [0.25, 0.0], [1.0, 1.0], [2.0, 2.0], [5.0, 3.0]], np.float32)
    wanted = [[-1.0, 0, -1.0], [0.25, 0, 0.5], [1, 0, 1.0], [1, 0.5, 1.5], [1, 2.0, 2.0]]
    np.testing.assert_allclose(net.predict(given), wanted, atol=1e-6)
    of_data = blocks.PiecewiseLinear.of(np.c_[X[:, :1], X[:, 1:2] > 0, np.ones((300, 1))], bins=4)
    assert [len(e) for e in of_data.edges] == [5, 2, 2]
    with pytest.raises(InputError, match="edges for 2 inputs, and there are 5"):
        network(blocks.PiecewiseLinear(((0.0, 1.0), (0.0, 1.0))))
    with pytest.raises(InputError, match="input 1 must be at least two rising numbers"):
        blocks.PiecewiseLinear(((0.0, 1.0), (1.0, 1.0)))


@pytest.mark.parametrize("block", [blocks.Periodic(4, 0.4), blocks.PiecewiseLinear.of(X)], ids=["periodic", "bins"])
def test_encodings_train_and_come_back_from_their_file(block, tmp_path):
    net = network(blocks.Sequential(block, blocks.Dense(16, "relu"), blocks.Dense(2)))
    history = net.fit(X, Y, epochs=20)
    assert history.origin == "compiled"
    assert history.loss[-1] < 0.5 * history.loss[0]
    net.save(tmp_path / "n.gd")
    again = gd.load(tmp_path / "n.gd", backend="numba")
    assert again.block == net.block
    assert np.array_equal(again.predict(X), net.predict(X))
