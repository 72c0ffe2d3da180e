"""Models that are copied, pickled, or sent to other processes, in any state."""

import copy
import pickle
from dataclasses import dataclass, fields

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

import gdkernels as gd
from gdkernels import blocks

X = np.random.default_rng(0).standard_normal((60, 3)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


def _bits(model):
    return [a.tobytes() for a in model.network.host_parameters().values()]


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("settings", [{"optimizer": gd.Adam(0.01)}, {"solver": "lm"}, {"loss": "cross_entropy"}])
def test_a_copy_goes_on_as_the_model_would(how, backend, settings):
    model = gd.MLP([3, 8, 1], seed=0, backend=backend)
    targets = (Y > 0).astype(int) if "loss" in settings else Y
    model.fit(X, targets, epochs=2, **settings)
    model.predict(X)
    copied = how(model)
    assert np.array_equal(copied.predict(X), model.predict(X))
    again = [one.fit(X, targets, epochs=2, **settings).loss for one in (model, copied)]
    assert again[0] == again[1]
    assert _bits(model) == _bits(copied)
    assert copied.network.backend == backend


def test_a_network_that_does_not_know_its_inputs_is_pickled_too():
    model = pickle.loads(pickle.dumps(gd.Network(blocks.Sequential(blocks.Dense(4, "relu"), blocks.Dense(1)), seed=0)))
    model.fit(X, Y, epochs=1)
    assert model.inputs == 3
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@dataclass(frozen=True)
class DrawnHere(blocks.Block):
    def parameters(self, inputs):
        return {"w": blocks.Parameter((inputs,), lambda shape, g: g.normal(size=shape))}

    def __call__(self, p, a, *, xp, random=None):
        return a * p["w"]


def test_a_block_that_draws_its_parameters_by_a_function_of_its_own_is_pickled():
    model = gd.Network(blocks.Sequential(DrawnHere(), blocks.Dense(1)), inputs=3, seed=0, backend="numpy")
    model.fit(X, Y, epochs=1)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_an_ensemble_and_a_predictor_of_a_table_are_pickled():
    models = [gd.MLP([3, 4, 1], seed=k) for k in range(2)]
    gd.fit_many(models, X, Y, epochs=1)
    ensemble = gd.Ensemble(models)
    assert np.array_equal(pickle.loads(pickle.dumps(ensemble)).predict(X), ensemble.predict(X))
    table = {"a": [1.0, 2.0, 3.0, 4.0] * 10, "y": [1.0, 2.0, 3.0, 4.0] * 10}
    houses = gd.TabularPredictor(target="y", epochs=2, average=1, seed=0).fit(table)
    assert pickle.loads(pickle.dumps(houses)).metrics_ == houses.metrics_


class OwnBackend(NumPyBackend):
    """A backend that no entry point names."""

    name = "own"


def test_a_model_with_a_backend_of_your_own_is_pickled_with_it():
    model = gd.MLP([3, 4, 1], seed=0, backend=OwnBackend())
    model.fit(X, Y, epochs=1)
    assert pickle.loads(pickle.dumps(model)).network.backend == "own"


def test_a_hash_that_is_kept_stays_where_it_was_computed():
    """Names hash to other numbers in another process, where what is equal would then be told apart."""
    structure = gd.MLP([3, 4, 1], seed=0).network.structure
    program = structure.program()
    for value in (structure, program, structure.block):
        kept, found = hash(value), pickle.loads(pickle.dumps(value))
        assert vars(found).keys() <= {field.name for field in fields(value)}
        assert (hash(value), hash(found), found) == (kept, kept, value)
