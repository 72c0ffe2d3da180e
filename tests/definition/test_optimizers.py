"""Optimizers against their papers' formulas, written out once more, and against torch where its conventions agree."""

import math

import numpy as np
import pytest
from layered import Layer, map_layers, update

from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from gdkernels.errors import InputError

STEPS = 20
RNG = np.random.default_rng(11)
START = RNG.standard_normal(6)
GRADIENTS = [(1 + 0.1 * k) * RNG.standard_normal(6) for k in range(STEPS)]
RATES = [0.01 / (1 + 0.2 * k) for k in range(STEPS)]  # a schedule moves the rate


def run(optimizer, *, rates=RATES, dtype="float64"):
    """Return the parameter after each step, by the definition; W is what is looked at."""
    parameters = (Layer(START.astype(dtype).reshape(2, 3), np.zeros(3, dtype=dtype)),)
    slots = map_layers(lambda a: (np.zeros_like(a),) * optimizer.slots, parameters)
    path = []
    for k, (g, rate) in enumerate(zip(GRADIENTS, rates, strict=True)):
        gradients = (Layer(g.astype(dtype).reshape(2, 3), np.ones(3, dtype=dtype)),)
        parameters, slots = update(
            parameters, gradients, slots, optimizer=optimizer, learning_rate=rate, t=float(k + 1), xp=np
        )
        assert len(slots[0].W) == optimizer.slots
        assert all(s.dtype == dtype for s in (*slots[0].W, *slots[0].b, *parameters[0]))
        path.append(parameters[0].W.ravel())
    return np.asarray(path)


def by_number(step):
    """Return the path by `step`, a generator function of one weight: it is sent gradients and rates, and yields."""
    paths = []
    for j, w in enumerate(START):
        moves = step(float(w))
        next(moves)
        paths.append([moves.send((float(g[j]), rate)) for g, rate in zip(GRADIENTS, RATES, strict=True)])
    return np.asarray(paths).T


def sgd(w):
    while True:
        g, rate = yield w
        w -= rate * g


def momentum(w, mu=0.9):
    v = 0.0
    while True:
        g, rate = yield w
        v = mu * v - rate * g
        w += v


def nesterov(w, mu=0.9):
    # Sutskever et al. 2013 take the gradient at w + μv; in the place so reached, W = w + μv, the same steps are these.
    v = 0.0
    while True:
        g, rate = yield w
        old, v = v, mu * v - rate * g
        # w_t = W − μ·old moves by v; the next place of look-ahead is w_t + v + μ·v.
        w = (w - mu * old) + v + mu * v


def rmsprop(w, rho=0.9, epsilon=1e-8):
    s = 0.0
    while True:
        g, rate = yield w
        s = rho * s + (1 - rho) * g**2
        w -= rate * g / (math.sqrt(s) + epsilon)


def adam(w, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0):
    m = v = 0.0
    t = 0
    while True:
        g, rate = yield w
        t += 1
        w -= rate * decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w -= rate * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + epsilon)


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        (SGD(), sgd),
        (SGD(momentum=0.9), momentum),
        (SGD(momentum=0.9, nesterov=True), nesterov),
        (RMSprop(), rmsprop),
        (RMSprop(rho=0.5, epsilon=1e-3), lambda w: rmsprop(w, 0.5, 1e-3)),
        (Adam(), adam),
        (Adam(beta1=0.5, beta2=0.9, epsilon=1e-3), lambda w: adam(w, 0.5, 0.9, 1e-3)),
        (AdamW(weight_decay=0.3), lambda w: adam(w, decay=0.3)),
    ],
    ids=lambda v: repr(v) if isinstance(v, Optimizer) else "",
)
def test_twenty_steps_by_number(optimizer, step):
    np.testing.assert_allclose(run(optimizer), by_number(step), rtol=1e-12)
    np.testing.assert_allclose(run(optimizer, dtype="float32"), by_number(step), rtol=1e-4)


def test_one_percent_in_a_rule_is_noticed(monkeypatch):
    rule = Adam.rule

    def wrong(self, w, g, slots, **keywords):
        return rule(self, w, 1.01 * g, slots, **keywords)

    # Adam divides its steps by the size of the gradients, so that the error shows in the slots alone.
    np.testing.assert_allclose(run(Adam(epsilon=1e-8)), by_number(adam), rtol=1e-12)
    monkeypatch.setattr(Adam, "rule", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(run(Adam(epsilon=1e-3)), by_number(lambda w: adam(w, epsilon=1e-3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "name", "keywords"),
    [
        (SGD(), "SGD", {}),
        # torch keeps v without the rate, v ← μv + g and w ← w − ηv: the same path while the rate is constant.
        (SGD(momentum=0.9), "SGD", {"momentum": 0.9}),
        (SGD(momentum=0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (RMSprop(), "RMSprop", {"alpha": 0.9}),
        (Adam(), "Adam", {}),
        # torch decays weights and biases alike; only weights are compared here.
        (AdamW(weight_decay=0.3), "AdamW", {"weight_decay": 0.3}),
    ],
    ids=lambda v: repr(v) if isinstance(v, Optimizer) else "",
)
def test_twenty_steps_of_torch(optimizer, name, keywords):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w = torch.nn.Parameter(torch.asarray(START.copy()))
    theirs = getattr(torch.optim, name)([w], lr=0.02, **keywords)
    path = []
    for g in GRADIENTS:
        w.grad = torch.asarray(g)
        theirs.step()
        path.append(w.detach().numpy().copy())
    np.testing.assert_allclose(run(optimizer, rates=[0.02] * STEPS), path, rtol=1e-10)


def test_decay_touches_weights_never_biases():
    parameters = (Layer(np.ones((2, 2)), np.ones(2)),)
    nothing = map_layers(np.zeros_like, parameters)
    optimizer = AdamW(weight_decay=0.5)
    slots = map_layers(lambda a: (np.zeros_like(a),) * 2, parameters)
    (moved,), _ = update(parameters, nothing, slots, optimizer=optimizer, learning_rate=0.1, t=1.0, xp=np)
    np.testing.assert_allclose(moved.W, 0.95)
    np.testing.assert_array_equal(moved.b, 1.0)


def test_arrays_are_never_written_to():
    parameters = (Layer(np.ones((2, 2)), np.ones(2)),)
    gradients = map_layers(lambda a: 3 * a, parameters)
    for optimizer in (SGD(), SGD(momentum=0.5, nesterov=True), RMSprop(), Adam(), AdamW()):
        slots = map_layers(lambda a, n=optimizer.slots: (np.ones_like(a),) * n, parameters)
        for array in [*parameters[0], *gradients[0], *slots[0].W, *slots[0].b]:
            array.flags.writeable = False
        update(
            parameters, gradients, slots, optimizer=optimizer, learning_rate=0.1, t=1.0, clip_norm=1.0, norm=9.0, xp=np
        )


def test_the_users_own_rule():
    class SignDescent(Optimizer):
        learning_rate = 0.1
        weight_decay = 0.5

        def rule(self, w, g, slots, *, learning_rate, t, xp):
            return w - learning_rate * xp.sign(g), slots

    parameters = (Layer(np.ones((1, 2)), None),)
    gradients = (Layer(np.asarray([[5.0, -5.0]]), None),)
    (moved,), _ = update(
        parameters, gradients, (Layer((), None),), optimizer=SignDescent(), learning_rate=0.1, t=1.0, xp=np
    )
    np.testing.assert_allclose(moved.W, [[0.85, 1.05]])
    assert moved.b is None


@pytest.mark.parametrize(
    ("optimizer", "parameters", "message"),
    [
        (SGD, {"learning_rate": 0.0}, "SGD: learning_rate must be a finite number above 0, got 0.0"),
        (SGD, {"learning_rate": -1e-3}, "learning_rate"),
        (SGD, {"learning_rate": math.inf}, "learning_rate"),
        (SGD, {"learning_rate": math.nan}, "learning_rate"),
        (SGD, {"learning_rate": "0.1"}, "learning_rate .* got '0.1'"),
        (SGD, {"learning_rate": None}, "learning_rate"),
        (SGD, {"learning_rate": True}, "learning_rate"),
        (SGD, {"momentum": 1.0}, "momentum must be a number of at least 0 and below 1, got 1.0"),
        (SGD, {"momentum": -0.1}, "momentum"),
        (SGD, {"nesterov": True}, r"nesterov needs momentum, such as SGD\(1e-2, momentum=0.9, nesterov=True\)"),
        (RMSprop, {"learning_rate": 0}, "RMSprop: learning_rate"),
        (RMSprop, {"rho": 1}, "rho"),
        (RMSprop, {"epsilon": 0}, "epsilon must be a finite number above 0"),
        (Adam, {"learning_rate": -1}, "Adam: learning_rate"),
        (Adam, {"beta1": 1.0}, "beta1"),
        (Adam, {"beta2": -0.1}, "beta2"),
        (Adam, {"epsilon": -1e-8}, "epsilon"),
        (AdamW, {"weight_decay": -0.1}, "AdamW: weight_decay must be a finite number of at least 0"),
        (AdamW, {"beta1": 2}, "AdamW: beta1"),
    ],
)
def test_parameters_out_of_range_are_refused(optimizer, parameters, message):
    with pytest.raises(InputError, match=message):
        optimizer(**parameters)


def test_a_rule_is_needed():
    with pytest.raises(TypeError, match="rule"):
        Optimizer()
