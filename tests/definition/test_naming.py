"""Names: what a user types, and what a file keeps."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from gdkernels.definition import activations, losses, optimizers, schedules
from gdkernels.definition.naming import KINDS, built_ins, describe, names, resolve, restore
from gdkernels.errors import InputError

BUILT_IN = [(kind, name) for kind in KINDS for name in names(kind)]

OTHER_PARAMETERS = [
    ("activation", activations.LeakyReLU(0.2)),
    ("activation", activations.ELU(alpha=0.5)),
    ("loss", losses.Huber(2.5)),
    ("optimizer", optimizers.SGD(0.3, momentum=0.9, nesterov=True)),
    ("optimizer", optimizers.RMSprop(0.1, rho=0.8, epsilon=1e-6)),
    ("optimizer", optimizers.Adam(0.1, beta1=0.0)),
    ("optimizer", optimizers.AdamW(0.1, weight_decay=0.5)),
    ("schedule", schedules.Step(every=3, gamma=0.5, warmup=2)),
    ("schedule", schedules.ReduceOnPlateau(patience=3)),
]


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


@dataclass(frozen=True)
class Lion(optimizers.Optimizer):
    learning_rate: float = 1e-4

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        return w - learning_rate * xp.sign(g), ()


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_survives_a_round_trip_through_json(kind, name):
    value = resolve(kind, name)
    description = json.loads(json.dumps(describe(value)))
    assert description["name"] == name
    assert "custom" not in description
    assert restore(kind, description) == value


@pytest.mark.parametrize(("kind", "value"), OTHER_PARAMETERS, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_parameters_survive_a_round_trip_through_json(kind, value):
    restored = restore(kind, json.loads(json.dumps(describe(value))))
    assert type(restored) is type(value)
    assert restored == value


def test_a_description_is_the_name_and_the_parameters():
    assert describe(activations.LeakyReLU(0.2)) == {"name": "leaky_relu", "slope": 0.2}
    assert describe(activations.relu) == {"name": "relu"}
    assert describe(optimizers.SGD(0.5)) == {"name": "sgd", "learning_rate": 0.5, "momentum": 0.0, "nesterov": False}
    assert describe(mish) == {"name": "mish", "custom": True}
    assert describe(Lion()) == {"name": "Lion", "custom": True}


def test_numbers_of_numpy_become_plain_ones():
    description = describe(optimizers.Adam(np.float32(0.5), beta1=np.float64(0.25)))
    assert json.loads(json.dumps(description))["learning_rate"] == 0.5
    assert type(optimizers.SGD(np.float64(0.1), momentum=np.float32(0.5)).momentum) is float


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_name_an_object_and_a_class_mean_the_same(kind, name):
    value = resolve(kind, name)
    assert resolve(kind, value) is value
    if isinstance(built_ins(kind)[name], type):
        assert resolve(kind, built_ins(kind)[name]) == value


def test_a_class_of_parameters_means_its_defaults():
    assert resolve("activation", activations.LeakyReLU) == activations.leaky_relu
    assert resolve("loss", losses.Huber) == losses.huber


def halving(epoch, *, epochs, losses):
    return 0.5**epoch


def test_the_users_own_pass_through():
    lion = Lion()
    assert resolve("activation", mish) is mish
    assert resolve("optimizer", lion) is lion
    assert resolve("schedule", halving) is halving


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_lists_the_choices(kind):
    first = names(kind)[0]
    with pytest.raises(InputError, match=rf"unknown {kind} '{first}x'\. Did you mean '{first}'\? Choices: .*own") as e:
        resolve(kind, first + "x")
    assert all(name in str(e.value) for name in names(kind))


def test_the_users_function_of_a_built_ins_name_is_not_the_built_in():
    def relu(z, *, xp):
        return xp.maximum(z, 0.0)

    assert describe(relu) == {"name": "relu", "custom": True}
    assert restore("activation", describe(relu), {"relu": relu}) is relu
    with pytest.raises(InputError, match="'relu' is not built in"):
        restore("activation", describe(relu))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (
            "activation",
            3,
            r"activation must be a name \(identity, .*\) or a function f\(z, .*, got 3 of type int",
        ),
        ("activation", None, "got None of type NoneType"),
        ("loss", activations.relu, "'relu' is an activation, not a loss"),
        ("activation", losses.Huber(2.0), "'huber' is a loss, not an activation"),
        ("loss", optimizers.Adam, "'adam' is an optimizer, not a loss"),
        ("optimizer", mish, "optimizer must be a name .* or an Optimizer"),
        ("optimizer", Lion, r"must be an object, got the class Lion: pass Lion\(…\)"),
        ("schedule", 0.1, "or a function factor"),
        ("schedule", lambda epoch: 1.0, r"schedule must be a function factor.*got <lambda>\(epoch\): .*'epochs'"),
        ("activation", np.tanh, r"activation must be a function f\(z, \*, xp\), got tanh.*'xp'"),
        ("loss", lambda y: y, "loss must be a function.*too many positional arguments"),
    ],
)
def test_what_cannot_be_used_says_what_can(kind, value, message):
    with pytest.raises(InputError, match=message):
        resolve(kind, value)


def test_loading_the_users_own_needs_the_object():
    assert restore("activation", describe(mish), {"mish": mish}) is mish
    with pytest.raises(InputError, match=r"gd\.load\(path, objects=\{'mish': mish\}\)"):
        restore("activation", describe(mish))
    with pytest.raises(InputError, match=r"objects=\{'<lambda>': function\}"):
        restore("activation", describe(lambda z, *, xp: z), {"mish": mish})
    with pytest.raises(InputError, match="activation must be a name"):
        restore("activation", describe(mish), {"mish": 3})


@pytest.mark.parametrize(
    ("kind", "description", "message"),
    [
        ("loss", {}, "a loss has no name"),
        ("loss", {"name": 3}, "a loss has no name"),
        ("loss", ["sse"], "a loss has no name"),
        ("loss", None, "a loss has no name"),
        ("optimizer", {"name": "sgd", "momentum": 0.9, "nesterov": "yes"}, "nesterov must be True or False, got 'yes'"),
        ("optimizer", {"name": "sgd", "learning_rate": [0.1]}, "learning_rate must be a finite number above 0"),
        ("optimizer", {"name": "adamax"}, "unknown optimizer 'adamax'. Did you mean 'adam"),
        ("activation", {"name": "leaky_relu", "tilt": 1}, "'leaky_relu' has no parameter 'tilt'; was the file"),
        ("activation", {"name": "relu", "slope": 1}, "'relu' has no parameter 'slope'"),
        ("optimizer", {"name": "sgd", "learning_rate": "0.1"}, "learning_rate must be a finite number above 0"),
        ("optimizer", {"name": "sgd", "learning_rate": -1}, "learning_rate must be a finite number above 0"),
    ],
)
def test_a_damaged_description_is_refused(kind, description, message):
    with pytest.raises(InputError, match=message):
        restore(kind, description)
