"""Modules of PyTorch predict here what they predict there, and what cannot be taken is refused by its name."""

import copy

import numpy as np
import pytest

import gdkernels as gd

torch = pytest.importorskip("torch")
nn = torch.nn
b = gd.blocks

X = np.random.default_rng(0).normal(size=(70, 5)) * 3


def drawn(model, dtype="float64"):
    """Return the module with parameters that are none of those it begins with, such as 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.to(getattr(torch, dtype)).eval()


def theirs(model, x=X):
    with torch.no_grad():
        dtype = next(model.parameters()).dtype
        return model(torch.from_numpy(x).to(dtype)).double().numpy()


def norm(width, **settings):
    return nn.Sequential(nn.Linear(5, width), nn.LayerNorm(width, **settings), nn.Linear(width, 2))


TANH = nn.Tanh()
MODELS = {
    "one layer": nn.Sequential(nn.Linear(5, 3)),
    "a layer alone": nn.Linear(5, 3),
    "a chain": nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 2)),
    "no biases": nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 2, bias=False)),
    "some biases": nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 2)),
    "nested": nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(5, 7), nn.Sequential(nn.SiLU(), nn.Identity())),
        nn.Sequential(),
        nn.Sequential(nn.Sequential(nn.Linear(7, 2))),
    ),
    "by names": nn.Sequential(),
    "many layers": nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(5, 5), nn.LayerNorm(5), nn.Tanh()))),
    "dropout": nn.Sequential(
        nn.Dropout(0.3), nn.Linear(5, 7), nn.Dropout(0.5), nn.ReLU(), nn.Linear(7, 2), nn.Dropout(0.1), nn.Sigmoid()
    ),
    "dropout of nothing": nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(0.0), nn.Linear(7, 2)),
    "norm": norm(7),
    "norm with its epsilon": norm(7, eps=0.3),
    "norm without affine": norm(7, elementwise_affine=False),
    "norm without bias": norm(7, bias=False),
    "norm first": nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 2)),
    "norm last": nn.Sequential(nn.Linear(5, 4), nn.LayerNorm([4])),
    "norm before activation": nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 2)),
    "norm without bias before activation": nn.Sequential(
        nn.Linear(5, 7), nn.LayerNorm(7, bias=False), nn.SiLU(), nn.Linear(7, 2)
    ),
    "an activation first": nn.Sequential(nn.Tanh(), nn.Linear(5, 2)),
    "two activations": nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.ELU(), nn.Linear(6, 2), nn.ReLU(), nn.Sigmoid()),
    "a softmax at the end": nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3), nn.Softmax(dim=1)),
    "a softmax inside": nn.Sequential(nn.Linear(5, 6), nn.Softmax(dim=-1), nn.Linear(6, 3)),
    "one activation in two places": nn.Sequential(nn.Linear(5, 4), TANH, nn.Linear(4, 4), TANH),
}
MODELS["by names"].add_module("first", nn.Linear(5, 4))
MODELS["by names"].add_module("act", nn.GELU(approximate="tanh"))
MODELS["by names"].add_module("head", nn.Linear(4, 1))
for f in (nn.ELU(0.7), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Softplus(), nn.SiLU(inplace=True), nn.GELU("tanh")):
    MODELS[repr(f)] = nn.Sequential(nn.Linear(5, 6), f, nn.Linear(6, 2))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_theirs(name, dtype, error, backend):
    model = drawn(copy.deepcopy(MODELS[name]), dtype)
    net = gd.from_torch(model, backend=backend, seed=3)
    assert (net.precision, net.inputs, net.seed) == (dtype, 5, 3)
    expected = theirs(model)
    if "Softplus" in name:
        error = max(error, 3e-9)
    found = np.asarray(net.predict(X.astype(dtype)), np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= error * np.abs(expected).max()
    assert np.ptp(expected) > 0.01, "else nothing is tried here"


def test_a_chain_is_an_mlp():
    chain = {name for name, model in MODELS.items() if isinstance(gd.from_torch(drawn(copy.deepcopy(model))), gd.MLP)}
    other = {"dropout", "some biases", "an activation first", "two activations", "many layers"}
    assert chain == {name for name in MODELS if "norm" not in name} - other
    net = gd.from_torch(MODELS["a softmax at the end"])
    assert net.output is gd.MLP([1, 1], output="softmax").output
    y = np.argmax(X[:, :3], axis=1)
    net.fit(X, y, epochs=300, loss="cross_entropy")  # which sets that very output
    assert (net.predict(X) == y).mean() > 0.8


def test_a_network_of_blocks_trains_and_is_kept(tmp_path):
    model = drawn(norm(7), "float32")
    net = gd.from_torch(model)
    assert net.block == b.Sequential(b.Dense(7), b.LayerNorm(), b.Dense(2))
    np.testing.assert_array_equal(net.parameters["W0"], model[0].weight.detach().numpy().T)
    np.testing.assert_array_equal(net.parameters["shift1"], model[1].bias.detach().numpy())
    before = net.loss(X, X[:, :2])
    assert net.fit(X, X[:, :2], epochs=20).loss[-1] < before
    net.save(tmp_path / "m")
    np.testing.assert_array_equal(gd.load(tmp_path / "m").predict(X), net.predict(X))


def test_dropout_is_theirs():
    net = gd.from_torch(MODELS["dropout"])
    inner = b.Sequential(b.Dropout(0.3), b.Dense(7), b.Activated(b.Dropout(0.5), "relu"), b.Dense(2), b.Dropout(0.1))
    assert net.block == inner
    assert net.fit(X, X[:, :2] > 0, epochs=3, loss="binary_cross_entropy").epochs


def test_a_frozen_layer_is_warned_of(caplog):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    gd.from_torch(model)
    assert "Linear at 0: parameters that require no gradient are trained" in caplog.text
    assert "Linear at 2" not in caplog.text


def test_it_is_a_copy():
    model = drawn(copy.deepcopy(MODELS["a chain"]))
    net = gd.from_torch(model, backend="numpy")
    before = net.predict(X)
    with torch.no_grad():
        model[0].weight.zero_()
    np.testing.assert_array_equal(net.predict(X), before)


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "float32"), ("float16", "float32")])
def test_sixteen_bits_are_kept_in_float32(dtype, precision):
    model = drawn(copy.deepcopy(MODELS["norm"]), dtype)
    net = gd.from_torch(model)
    assert net.precision == precision
    np.testing.assert_array_equal(net.parameters["W0"], model[0].weight.detach().float().numpy().T)
    assert gd.from_torch(model, precision="float64").precision == "float64"


def test_activations_of_ones_own():
    def mish(z, *, xp):
        return z * xp.tanh(xp.logaddexp(z, 0.0))

    class Squared(nn.Module):
        def forward(self, z):
            return z * z

    model = drawn(nn.Sequential(nn.Linear(5, 6), nn.Mish(), nn.Linear(6, 3), Squared()))
    net = gd.from_torch(model, objects={"Mish": mish, "Squared": lambda z, *, xp: z * z})
    np.testing.assert_allclose(net.predict(X), theirs(model), rtol=1e-9)
    with pytest.raises(gd.InputError, match="PReLU at 1 has parameters, and objects"):
        gd.from_torch(nn.Sequential(nn.Linear(5, 6), nn.PReLU()), objects={"PReLU": mish})


class Wider(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def pruned():
    from torch.nn.utils import prune

    return prune.random_unstructured(nn.Linear(5, 4), "weight", amount=0.5)


def tied():
    one = nn.Linear(5, 5)
    return nn.Sequential(one, nn.Tanh(), one)


def tied_by_weight():
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
    model[2].weight = model[0].weight
    return model


def replaced():
    one = nn.Linear(5, 4)
    one.forward = lambda x: x
    return one


def hooked():
    one = nn.Linear(5, 4)
    one.register_forward_hook(lambda module, x, y: y * 2)
    return nn.Sequential(one)


LINEAR = nn.Linear(5, 4)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.BatchNorm1d(4), "cannot take BatchNorm1d at 1: batch norm is not among them.*Use LayerNorm"),
        (lambda: nn.Conv1d(1, 1, 1), "cannot take Conv1d at 1: it takes Dropout, ELU, .*Linear.*objects="),
        (lambda: nn.Mish(), "cannot take Mish at 1: .*pass a function f.*objects={'Mish': f}"),
        (lambda: nn.GELU(), "cannot take GELU at 1: .*approximate='tanh'"),
        (lambda: nn.Softplus(beta=2), "cannot take Softplus at 1: beta is 2"),
        (lambda: nn.Softmax(dim=0), r"cannot take Softmax at 1: .*Softmax\(dim=1\)"),
        (lambda: nn.LogSoftmax(dim=1), "cannot take LogSoftmax at 1: leave it out"),
        (lambda: nn.Flatten(0), "cannot take Flatten at 1: records are flat already"),
        (lambda: nn.Dropout(1.0), "rate must be a number of at least 0 and below 1"),
        (lambda: nn.Dropout1d(), "cannot take Dropout1d at 1"),
        (lambda: nn.Embedding(3, 4), "Embedding at 1 takes 1 numbers, but Linear at 0 gives 4"),
        (lambda: nn.Embedding(3, 4, padding_idx=0), "cannot take Embedding at 1: padding_idx is 0"),
        (lambda: nn.Embedding(3, 4, max_norm=1.0), "cannot take Embedding at 1: max_norm is 1.0"),
        (lambda: nn.LayerNorm([2, 2]), "cannot take LayerNorm at 1: it normalises over 2 dimensions"),
        (lambda: nn.LayerNorm(5), "LayerNorm at 1 takes 5 numbers, but Linear at 0 gives 4"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), "Linear at 1.1 takes 3 numbers, but Linear at 0 gives 4"),
        (lambda: nn.ModuleList([nn.Linear(4, 4)]), "cannot take ModuleList at 1"),
        (lambda: Wider(4, 4), "cannot take Wider at 1"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "cannot take ParametrizedLinear at 1"),
        (lambda: nn.Linear(4, 4, device="meta"), "W1 must hold real numbers, but is float32 on meta"),
        (lambda: nn.Linear(4, 4, dtype=torch.complex64), "W1 must hold real numbers, but is complex64"),
    ],
)
def test_what_it_cannot_take(make, told):
    with pytest.raises(gd.InputError, match=told):
        gd.from_torch(nn.Sequential(nn.Linear(5, 4), make()))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (hooked, "Linear at 0 has hooks"),
        (pruned, "Linear has hooks, .*prune.remove"),
        (replaced, "Linear has hooks"),
        (lambda: nn.Sequential(hooked()), "Linear at 0.0 has hooks"),
        (tied, "Linear at 0 and Linear at 2 share a parameter, of which"),
        (tied_by_weight, "Linear at 0 and Linear at 2 share a parameter"),
        (lambda: nn.Sequential(nn.ReLU()), "Sequential holds no Linear layer"),
        (lambda: nn.Sequential(), "Sequential holds no Linear layer"),
        (lambda: nn.DataParallel(nn.Linear(5, 2)), "cannot take DataParallel: pass its .module"),
        pytest.param(
            lambda: torch.compile(nn.Linear(5, 2)),
            "cannot take OptimizedModule: pass the module that was compiled",
            marks=pytest.mark.filterwarnings("ignore"),  # of what torch.compile loads
        ),
        (lambda: torch.zeros(3), "takes an nn.Sequential or the path .*, got Tensor"),
        (lambda: nn.Linear(5, 2).state_dict(), "takes an nn.Sequential or the path .*, got OrderedDict"),
        (lambda: nn.Linear, "takes an nn.Sequential or the path .*, got type"),
    ],
)
def test_what_is_no_such_network(make, told):
    with pytest.raises(gd.InputError, match=told):
        gd.from_torch(make())


def test_what_belongs_to_a_file():
    with pytest.raises(gd.InputError, match="has activations of its own; pass activation and output with a file"):
        gd.from_torch(nn.Linear(5, 2), activation="tanh")
    with pytest.raises(gd.InputError, match="has activations of its own"):
        gd.from_torch(nn.Linear(5, 2), output="softmax")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value):
    model = nn.Linear(5, 2)
    model.bias.data[1] = value
    with pytest.raises(gd.InputError, match="the parameters of b0 are not all finite"):
        gd.from_torch(model)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_codes_are_looked_up_as_there(backend):
    module = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.ReLU(), nn.Linear(4, 2))
    codes = np.array([[3], [0], [5], [3]])
    with torch.no_grad():
        wanted = module(torch.from_numpy(codes)).numpy()
    ours = gd.from_torch(module, backend=backend)
    np.testing.assert_allclose(ours.predict(codes), wanted, atol=1e-6)
    assert ours.inputs == 1
