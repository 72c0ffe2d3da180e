"""The definition on every namespace: NumPy's numbers, in that namespace's own arrays, precision and device."""

from itertools import pairwise

import expected
import numpy as np
import pytest
from layered import Layer, forward, gradient, map_layers, train_step

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW, RMSprop
from gdkernels.graph import value_and_derivative, value_and_pullback

Z = np.asarray([[-30.0, -2.5, -1.0, -0.0], [0.0, 0.5, 2.0, 30.0]])
OPTIMIZERS = [SGD(), SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True), RMSprop(), Adam(), AdamW()]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


def check(namespace, dtype, result, wanted):
    found = namespace.numpy(result)
    assert found.dtype == dtype
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", activations.BY_NAME)
def test_activations_with_their_derivatives(namespace, dtype, name):
    f, xp = activations.BY_NAME[name], namespace.xp
    z = np.where(np.abs(Z) > 10, Z / 10, Z) if name == "exp" else Z
    given = namespace.array(z, dtype)
    wanted, wanted_pull_back = value_and_pullback(f)(z, xp=np)
    value, pull_back = value_and_pullback(f)(given, xp=xp)
    cotangent = np.arange(8.0).reshape(2, 4) - 3
    check(namespace, dtype, value, wanted)
    check(namespace, dtype, f(given, xp=xp), wanted)
    check(namespace, dtype, pull_back(namespace.array(cotangent, dtype)), wanted_pull_back(cotangent))
    check(namespace, dtype, value_and_derivative(f)(given, xp=xp)[1], value_and_derivative(f)(z, xp=np)[1])


@pytest.mark.parametrize("name", losses.BY_NAME)
def test_losses_with_their_derivatives(namespace, dtype, name):
    loss, xp = losses.BY_NAME[name], namespace.xp
    rng = np.random.default_rng(3)
    prediction, target = rng.standard_normal((5, 3)), expected.targets(name, (5, 3), rng)
    arrays = namespace.array(prediction, dtype), namespace.array(target, dtype)
    wanted, wanted_pull_back = value_and_pullback(loss)(prediction, target, xp=np)
    value, pull_back = value_and_pullback(loss)(*arrays, xp=xp)
    check(namespace, dtype, value, wanted)
    check(namespace, dtype, loss(*arrays, xp=xp), wanted)
    check(namespace, dtype, pull_back(namespace.array(np.ones(5), dtype)), wanted_pull_back(np.ones(5)))


def problem(name):
    rng = np.random.default_rng(12)
    sizes = [3, 3, 3]  # one shape for all the weights: jax compiles every operation anew for another
    parameters = tuple(Layer(rng.standard_normal((m, n)), rng.standard_normal(n)) for m, n in pairwise(sizes))
    return parameters, rng.standard_normal((6, 3)), expected.targets(name, (6, 3), rng)


def check_layers(namespace, dtype, found, wanted):
    for a, b in zip(found, wanted, strict=True):
        check(namespace, dtype, a.W, b.W)
        check(namespace, dtype, a.b, b.b)


@pytest.mark.parametrize(("activation", "loss"), [("tanh", "sse"), ("relu", "cross_entropy"), ("gelu", "poisson")])
def test_the_network_and_its_gradient(namespace, dtype, activation, loss):
    parameters, x, y = problem(loss)
    functions = [activations.BY_NAME[activation], activations.identity]
    settings = {"activations": functions, "loss": losses.BY_NAME[loss]}
    error, gradients = gradient(parameters, x, y, **settings, xp=np)
    theirs = map_layers(lambda a: namespace.array(a, dtype), parameters)
    x_theirs, y_theirs = namespace.array(x, dtype), namespace.array(y, dtype)
    found_error, found = gradient(theirs, x_theirs, y_theirs, **settings, xp=namespace.xp)
    output = forward(theirs, x_theirs, activations=functions, xp=namespace.xp)
    check(namespace, dtype, output, forward(parameters, x, activations=functions, xp=np))
    check(namespace, dtype, found_error, error)
    check_layers(namespace, dtype, found, gradients)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_steps_of_every_optimizer(namespace, dtype, optimizer):
    def steps(parameters, x, y, xp):
        slots = map_layers(lambda a: (xp.zeros_like(a),) * optimizer.slots, parameters)
        for t in range(3):
            error, norm, parameters, slots = train_step(
                parameters,
                slots,
                x,
                y,
                activations=[activations.tanh, activations.identity],
                objective=Objective(losses.sse, l2=0.01, clip_norm=2.0),
                optimizer=optimizer,
                learning_rate=0.01,
                t=t + 1.0,
                with_norm=True,
                xp=xp,
            )
        return error, norm, parameters, slots

    parameters, x, y = problem("sse")
    error, norm, moved, slots = steps(parameters, x, y, np)
    found_error, found_norm, found, found_slots = steps(
        map_layers(lambda a: namespace.array(a, dtype), parameters),
        namespace.array(x, dtype),
        namespace.array(y, dtype),
        namespace.xp,
    )
    check(namespace, dtype, found_error, error)
    check(namespace, dtype, found_norm, norm)
    check_layers(namespace, dtype, found, moved)
    for a, b in zip(found_slots, slots, strict=True):
        for ours, theirs in zip((*a.W, *a.b), (*b.W, *b.b), strict=True):
            check(namespace, dtype, ours, theirs)


def test_the_second_strict_device_refuses_copies_to_the_host():
    # What makes the tests on it worth something: a hidden copy would raise.
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    array = strict.asarray([1.0, 2.0], device=strict.Device("device1"))
    with pytest.raises(RuntimeError, match="device"):
        np.asarray(array)
