"""Every executable refuses the same wrong arguments, in the same words, before anything runs."""

import numpy as np
import pytest
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from gdkernels_cupy.persistent.executable import PersistentExecutable
from gdkernels_numba import NumbaBackend
from gdkernels_numpy import NumPyBackend
from host_cupy import install
from persistent_twin import TwinDevice

from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.gradient_accumulation import AccumulatingExecutable
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import InputError
from gdkernels.testing.cases import chained

RECORDS, STEPS = 20, 3


def definition(program, folder):
    return DefinitionExecutable(NumPyBackend(), program, Plan("numpy", "cpu", "float32"))


def accumulation(program, folder):
    return AccumulatingExecutable(NumPyBackend(), program, Plan("numpy", "cpu", "float32"), 4)


def numba(program, folder):
    return NumbaBackend().compile(program, Plan("numba", "cpu", "float32"))


def graphs(program, folder):
    return CudaGraphExecutable(program, Plan("cupy", "cuda:0", "float32"), 0)


def persistent(program, folder):
    return PersistentExecutable(program, Plan("cupy", "cuda:0", "bfloat16"), TwinDevice(folder))


def arguments(**changed):
    """Return what `run` takes for a program that weighs its records, but for what is changed."""
    random = np.random.default_rng(0)
    right = {
        "x": random.standard_normal((RECORDS, 5), dtype=np.float32),
        "y": random.standard_normal((RECORDS, 3), dtype=np.float32),
        "order": np.arange(RECORDS),
        "batch_size": 8,
        "learning_rates": np.full(STEPS, 0.01),
        "sample_weight": np.ones(RECORDS, np.float32),
    }
    return right | changed


def parameters():
    return {"W0": np.ones((5, 4), np.float32), "W1": np.ones((4, 3), np.float32)}


def run(make, folder, *, weighted=True, trains=True, **changed):
    settings = {"objective": Objective(losses.sse), "optimizer": SGD()} if trains else {}
    functions = (activations.tanh, activations.identity)
    program = chained(functions, (5, 4, 3), bias=False, weighted=weighted, **settings)
    state = verification.start(program, parameters(), np.array)
    given = arguments(**changed)
    before = {name: a.copy() for name, a in state.parameters.items()}
    with pytest.raises(InputError) as error:
        make(program, folder).run(state, **given)
    assert state.step == 0
    assert all(np.array_equal(a, state.parameters[name]) for name, a in before.items())
    return str(error.value)


WRONG = {
    "columns of x": (
        {"x": np.ones((RECORDS, 4), np.float32)},
        "x (20, 4) and y (20, 3) do not fit a network of 5 to 3 units",
    ),
    "rows of y": (
        {"y": np.ones((RECORDS - 1, 3), np.float32)},
        "x (20, 5) and y (19, 3) do not fit a network of 5 to 3 units",
    ),
    "columns of y": (
        {"y": np.ones((RECORDS, 1), np.float32)},
        "x (20, 5) and y (20, 1) do not fit a network of 5 to 3 units",
    ),
    "no weights": ({"sample_weight": None}, "this program takes sample_weight [20], got None"),
    "weights of fewer": (
        {"sample_weight": np.ones(RECORDS - 1, np.float32)},
        "this program takes sample_weight [20], got [19]",
    ),
    "weights in a column": (
        {"sample_weight": np.ones((RECORDS, 1), np.float32)},
        "this program takes sample_weight [20], got [20, 1]",
    ),
    "weights not asked for": ({"weighted": False}, "this program takes no sample_weight, got [20]"),
    "a row too far": ({"order": np.arange(1, RECORDS + 1)}, "the order names row 1 to 20 of 20 rows"),
    "a row below 0": ({"order": np.arange(RECORDS) - 1}, "the order names row -1 to 18 of 20 rows"),
    "no records": ({"order": np.arange(0)}, "there are no records to train on"),
    "no batch": ({"batch_size": 0}, "a batch has at least one record, got batch_size 0"),
    "a rate too few": (
        {"learning_rates": np.full(STEPS - 1, 0.01)},
        "20 records in batches of 8 take 3 steps, got 2 learning rates",
    ),
    "a rate too many": (
        {"learning_rates": np.full(STEPS + 1, 0.01)},
        "20 records in batches of 8 take 3 steps, got 4 learning rates",
    ),
}
EXECUTABLES = [definition, accumulation, numba, graphs, persistent]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def host(monkeypatch, folder):
    """Return the host as a CUDA device, with what has been done on it."""
    return install(monkeypatch, folder)


@pytest.mark.parametrize("make", EXECUTABLES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments_are_refused_in_the_same_words(host, folder, make, wrong):
    changed, message = WRONG[wrong]
    assert run(make, folder, **changed) == message
    assert host.launches == 0


@pytest.mark.parametrize("make", EXECUTABLES, ids=lambda make: make.__name__)
def test_a_program_that_only_predicts_cannot_be_trained(host, folder, make):
    message = run(make, folder, trains=False)
    assert message == "this program only predicts: it has no loss and no optimizer to train with"


@pytest.mark.parametrize("make", EXECUTABLES, ids=lambda make: make.__name__)
def test_inputs_of_another_width_are_not_predicted(host, folder, make):
    functions = (activations.tanh, activations.identity)
    program = chained(functions, (5, 4, 3), bias=False, objective=Objective(losses.sse), optimizer=SGD())
    executable, layers = make(program, folder), parameters()
    with pytest.raises(InputError) as error:
        executable.predict(layers, np.ones((4, 6), np.float32))
    assert str(error.value) == "x has 6 columns, the network 5 inputs"
    with pytest.raises(InputError) as error:
        executable.predict(layers, np.ones(5, np.float32))
    assert str(error.value) == "x (5,) must be [records, 5]"
