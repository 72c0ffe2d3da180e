"""The conformance suite catches backends with one defect each."""

import itertools
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import array_api_compat.numpy
import numpy as np
import pytest
from few_cases import FEW, FEW_CASES, FUSED, FUSED_CASES, PAIRS
from gdkernels_numpy import NumPyBackend

from gdkernels.backend import verification
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.verification import relative_error
from gdkernels.definition import activations, losses, network
from gdkernels.definition.chain import layers_in
from gdkernels.testing import BackendConformance, cases
from gdkernels.testing.cases import CASES
from gdkernels.testing.cases.given_arrays import with_gaps


def test_no_case_is_chaotic():
    """Where NumPy's own error in float32 is large, the bound is loose, and the case would catch nothing."""
    for name, case in CASES.items():
        own, wanted = cases.on_numpy_once(case, "float32"), cases.on_numpy_once(case, "float64")
        for array, a64 in wanted[0].items():
            assert relative_error(own[0][array], a64) < 0.5e-5, (name, array)
        for array, a64 in wanted[-1].items():
            assert relative_error(own[-1][array], a64) < 0.5e-4, (name, array)


class Low(NumPyBackend):
    """Products in tf32 and bfloat16, as a matrix unit does them."""

    name = "low"
    precisions = ("tf32", "bfloat16")

    def compile(self, program, plan):
        numpy = NumPyBackend()
        numpy.xp = verification.numpy_namespace(plan.precision)
        return DefinitionExecutable(numpy, program, plan)


@pytest.mark.parametrize("name", ["relu-sse", "softplus-cross_entropy", "adam", "five hidden layers"])
def test_low_precisions_have_bounds_of_their_own(name):
    BackendConformance().test_training_is_the_definition(Low(), "cpu", name)


def without_float64():
    backend = Namespace()
    del backend.xp.float64
    backend.precisions = ("float32",)
    return backend


@pytest.mark.parametrize("name", ["relu-sse", "gradient norm"])
def test_a_device_without_float64_is_enough(name):
    BackendConformance().test_training_is_the_definition(without_float64(), "cpu", name)


class TF32(Low):
    """Says float32 and means TF32."""

    precisions = ("float32",)

    def compile(self, program, plan):
        return super().compile(program, replace(plan, precision="tf32"))


class BF16(Low):
    """Says TF32 and means bfloat16."""

    precisions = ("tf32",)

    def compile(self, program, plan):
        return super().compile(program, replace(plan, precision="bfloat16"))


class Namespace(NumPyBackend):
    """NumPy with functions replaced."""

    name = "namespace"

    def __init__(self, **functions):
        self.xp = SimpleNamespace(**{**vars(array_api_compat.numpy), **functions})


class Wrong(NumPyBackend):
    """Compiled programs that do something of their own in `run` or `predict`."""

    name = "wrong"

    def __init__(self, run=None, predict=None):
        self._run, self._predict = run, predict

    def compile(self, program, plan):
        outer = self

        class Compiled(DefinitionExecutable):
            def run(self, *args):
                return outer._run(super().run, *args) if outer._run else super().run(*args)

            def predict(self, *args):
                return outer._predict(super().predict, *args) if outer._predict else super().predict(*args)

        return Compiled(self, program, plan)


def drops_the_ragged_batch(run, state, x, y, order, size, rates):
    whole = max(1, len(order) // size)
    return run(state, x, y, order[: whole * size], size, rates[:whole])


def ignores_the_order(run, state, x, y, order, size, rates):
    return run(state, x, y, np.arange(len(order)), size, rates)


def uses_one_rate(run, state, x, y, order, size, rates):
    return run(state, x, y, order, size, np.full_like(rates, rates[0]))


def starts_counting_again(run, state, *args):
    before, state.step = state.step, 0
    result = run(state, *args)
    state.step += before
    return result


def does_not_count(run, state, *args):
    before = state.step
    result = run(state, *args)
    state.step = before
    return result


def returns_numpy_scalars(run, *args):
    loss, norm = run(*args)
    return np.float64(loss), norm


def returns_a_norm_unasked(run, *args):
    return run(*args)[0], 1.0


def takes_memory_as_it_lies(run, state, x, *args):
    buffer = np.lib.stride_tricks.as_strided(x, strides=(x.itemsize * x.shape[1], x.itemsize))
    return run(state, buffer, *args)


def scales_its_inputs(run, state, x, *args):
    x.flags.writeable = True
    x *= 2
    return run(state, x, *args)


def mixes_its_slots(run, state, *args):
    result = run(state, *args)
    state.slots = state.slots | {"W0": (state.slots["W0"][0] * 2,)}
    return result


NOISES = itertools.count()  # each call has another one


def is_noisy(run, state, *args):
    random, result = np.random.default_rng(next(NOISES)), run(state, *args)
    state.parameters = {
        name: a + 1e-6 * random.normal(size=a.shape).astype(a.dtype) if a.ndim == 2 else a
        for name, a in state.parameters.items()
    }
    return result


def hides_nan(run, *args):
    loss, norm = run(*args)
    return (0.0 if np.isnan(loss) else loss), norm


class ItsOwnUpdate(NumPyBackend):
    """Has the update compiled once and for all, whatever the definition says."""

    name = "stubborn"
    update = staticmethod(network.update)

    def compile(self, program, plan):
        update = self.update

        class Compiled(DefinitionExecutable):
            def run(self, *args):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(network, "update", update)
                    return super().run(*args)

        return Compiled(self, program, plan)


def relu_that_swallows_nan(condition, a, b):
    return np.nan_to_num(np.where(condition, a, b))


TRAINING, PREDICTING = "training_is_the_definition", "predicting_is_the_definition"
DEFECTS = {
    "TF32 for float32": (TF32(), TRAINING, {"name": "five hidden layers"}),
    "bfloat16 for TF32": (BF16(), TRAINING, {"name": "five hidden layers"}),
    "a product that is off": (
        Namespace(matmul=lambda a, b: np.matmul(a, b) * np.float32(1.00005)),
        TRAINING,
        {"name": "relu-sse"},
    ),
    "an approximate root": (
        Namespace(sqrt=lambda a: np.sqrt(a) * np.float32(1.05)),
        TRAINING,
        {"name": "adam"},
    ),
    "an infinite result": (Namespace(tanh=lambda a: np.tanh(a) * np.inf), TRAINING, {"name": "tanh-sse"}),
    "the ragged batch": (Wrong(drops_the_ragged_batch), TRAINING, {"name": "relu-sse"}),
    "the order": (Wrong(ignores_the_order), TRAINING, {"name": "relu-sse"}),
    "repeated rows": (Wrong(ignores_the_order), "rows_are_taken_in_the_order_given", {}),
    "the rates": (Wrong(uses_one_rate), TRAINING, {"name": "relu-sse"}),
    "the step count, used": (Wrong(starts_counting_again), TRAINING, {"name": "adam"}),
    "the step count, returned": (Wrong(does_not_count), "what_run_returns", {}),
    "NumPy scalars": (Wrong(returns_numpy_scalars), "what_run_returns", {}),
    "an unasked norm": (Wrong(returns_a_norm_unasked), "what_run_returns", {}),
    "inputs written to": (Wrong(scales_its_inputs), "inputs_are_not_modified", {}),
    "strides, by columns": (
        Wrong(takes_memory_as_it_lies),
        "inputs_in_any_memory_order",
        {"arrange": np.asfortranarray},
    ),
    "strides, with gaps": (
        Wrong(takes_memory_as_it_lies),
        "inputs_in_any_memory_order",
        {"arrange": with_gaps},
    ),
    "mixed slots": (Wrong(mixes_its_slots), TRAINING, {"name": "momentum"}),
    "noise": (Wrong(is_noisy), "the_same_run_gives_the_same_bits", {}),
    "runs that do not continue": (Wrong(starts_counting_again), "two_runs_are_one_run_continued", {}),
    "NaN in the loss": (Wrong(hides_nan), "what_is_not_finite_is_seen", {}),
    "NaN on the way": (Namespace(where=relu_that_swallows_nan), "what_is_not_finite_is_seen", {}),
    "output in float64": (
        Wrong(predict=lambda predict, *args: predict(*args).astype(np.float64)),
        PREDICTING,
        {"name": "relu-sse", "trains": True},
    ),
    "output of the linear part": (
        Wrong(predict=lambda predict, *args: np.log(predict(*args))),
        PREDICTING,
        {"name": "softmax-mse", "trains": False},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_suite_catches(defect):
    backend, test, arguments = DEFECTS[defect]
    with pytest.raises(AssertionError):
        getattr(BackendConformance(), f"test_{test}")(backend, "cpu", **arguments)


def test_the_suite_catches_formulas_of_their_own(monkeypatch):
    with pytest.raises(AssertionError, match="is off by"):
        BackendConformance().test_a_changed_definition_is_followed(ItsOwnUpdate(), "cpu", "update", monkeypatch)


class ByPosition(NumPyBackend):
    def asarray(self, x, dtype, device):
        return super().asarray(x, dtype=dtype, device=device)


class Renamed(NumPyBackend):
    def memory(self, where):
        return None


class Asking(NumPyBackend):
    def synchronize(self, device, stream):
        return None


@pytest.mark.parametrize("backend", [ByPosition(), Renamed(), Asking()], ids=lambda b: type(b).__name__)
def test_the_suite_catches_other_signatures(backend):
    with pytest.raises(AssertionError):
        BackendConformance().test_signatures(backend)


def test_a_failure_says_what_is_off_and_by_how_much():
    backend = Namespace(sqrt=lambda a: np.sqrt(a) * np.float32(1.05))
    with pytest.raises(AssertionError, match=r"in float64, after one step, \w+ is off by \d\.\de-\d\d; at most 1"):
        BackendConformance().test_training_is_the_definition(backend, "cpu", "adam")


def test_few_cases_hold_each_activation_each_loss_and_all_the_others():
    assert {name.split("-")[0] for name in FEW} == set(activations.BY_NAME)
    assert {name.split("-")[1] for name in FEW} == set(losses.BY_NAME)
    assert cases.CASES.keys() >= PAIRS
    assert {name for name in FEW_CASES if isinstance(name, str)} == cases.CASES.keys() - (PAIRS - FEW)


def test_fused_cases_hold_all_but_pairs_that_no_loop_computes():
    left = cases.CASES.keys() - {name for name in FUSED_CASES if isinstance(name, str)}
    assert PAIRS - left >= FEW | FUSED
    assert len(left) > 20
    for name in left:  # the activation is in hidden layers alone: the last one's is the loss's own link
        *_, last = layers_in(cases.CASES[name].program.block)
        assert last.activation is activations.identity


def test_the_suite_for_groups_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import gdkernels.testing.groups"
    subprocess.run([sys.executable, "-c", code], check=True)
