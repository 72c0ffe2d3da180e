"""The narrow kernel in float32: three products of tf32 parts, by a matrix unit that cuts its sums off."""

import numpy as np
import pytest
from persistent_runs import MOMENTUM, NARROW, Run, bits, errors, program, run_of_case
from persistent_twin import SCHEDULES, TwinDevice

from gdkernels.backend import verification
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import AdamW
from gdkernels.testing.cases import chained

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu
ALL = tuple(activations.BY_NAME.values())

# name: program, widths, records, batch size, and what the plan says
RUNS = {
    "every activation": (program(*ALL), (5, *range(7, 7 + len(ALL)), 3), 23, 8, {}),
    "64 wide, gradients that leave the registers": (program(relu), (64,) * 3, 150, 150, {"warps": 8, "parked": 1}),
    "classes, a norm, decay": (
        program(gelu, loss=losses.cross_entropy, optimizer=AdamW(), clip_norm=0.5, gradient_norm=True, weighted=True),
        (33, 64, 10), 100, 70, {"recomputed": True},
    ),
    "one unit everywhere": (program(tanh), (1, 1, 1), 5, 1, {}),
}  # fmt: skip


def in_float32(run):
    """Return what NumPy makes of the same run in float32."""
    state = verification.start(run.program, run.parameters, np.array)
    found = {}
    for _ in range(run.epochs):
        data = run.x, run.y, run.order, run.batch_size, run.rates, "float32", run.sample_weight
        with np.errstate(all="ignore"):
            found["the loss"], norm = verification.continue_on_numpy(run.program, state, *data)
    found |= {} if norm is None else {"the norm": norm}
    found |= dict(verification.named_arrays(state))
    with np.errstate(all="ignore"):
        return found | {"the prediction": verification.predict_on_numpy(run.program, state.parameters, run.x)}


def too_far(found, run):
    """Return the arrays that are further from float64 than float32 explains."""
    wanted = run.reference()
    own = errors(in_float32(run), wanted)
    off = errors(found, wanted)
    return {name: e for name, e in off.items() if not e <= verification.bound(own[name], "float32", 1)}


# The others take seconds to compile.
QUICK = "classes, a norm, decay"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == QUICK else [pytest.mark.slow]) for n in RUNS])
def test_training_is_as_exact_as_float32(made, name):
    run_program, widths, records, batch_size, choices = RUNS[name]
    run = Run(run_program, widths, records, batch_size, "float32")
    assert too_far(run.on_twin(TwinDevice(made, ctas=2), **{"warps": 4} | choices), run) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_every_case_of_the_conformance_suite_in_float32(made, name):
    run = run_of_case(name, "float32")
    found = [run.on_twin(TwinDevice(made, schedule=s), warps=4) for s in SCHEDULES]
    assert bits(found[0]) == bits(found[1]) == bits(found[2])
    assert too_far(found[0], run) == {}


# ---- a product of 64 terms, and a sum over many records

LINEAR = chained((activations.identity,), (64, 64), objective=Objective(losses.sse), optimizer=MOMENTUM)


@pytest.mark.parametrize("records", [64, 300])
def test_a_product_and_a_long_sum_are_as_exact_as_those_of_float32(made, records):
    """No matrix unit sums more than 8 terms before an ordinary addition: its cutting off does not add up."""
    run = Run(LINEAR, (64, 64), records, records, "float32")
    wanted = run.reference()
    own, off = errors(in_float32(run), wanted), errors(run.on_twin(TwinDevice(made), warps=4), wanted)
    for name in ("W0.0", "the prediction"):
        assert off[name] <= own[name]


def scaled(inputs, weights, run):
    run.x *= np.float32(inputs)
    run.y *= np.float32(inputs * weights)
    run.parameters = {name: a * np.float32(weights if name == "W0" else 0.0) for name, a in run.parameters.items()}


def planted(value, run):
    run.x[run.order[3], 1] = value


def planted_weight(value, run):
    run.parameters["W0"][2, 3] = value


# What is beyond the range of tf32, in which low parts would be no numbers, or have a range of their own.
BEYOND = {
    "tiny inputs": lambda run: scaled(2.0**-110, 1.0, run),
    "tiny inputs, large weights": lambda run: scaled(2.0**-112, 2.0**40, run),
    "tiny products": lambda run: scaled(2.0**-60, 2.0**-55, run),
    "near the largest number": lambda run: scaled(2.0**30, 2.0**56, run),
    "an infinite input": lambda run: planted(np.inf, run),
    "an input that is no number": lambda run: planted(np.nan, run),
    "an infinite weight": lambda run: planted_weight(-np.inf, run),
    "the largest number": lambda run: planted(np.finfo(np.float32).max, run),
}


@pytest.mark.parametrize("name", BEYOND)
def test_beyond_the_range_of_tf32_it_is_float32(made, name):
    run = Run(LINEAR, (64, 64), 70, 70, "float32")
    BEYOND[name](run)
    wanted, found = in_float32(run), run.on_twin(TwinDevice(made), warps=4)
    for key, a in wanted.items():
        a, b = np.asarray(a, np.float64), np.asarray(found[key], np.float64)
        assert (np.isnan(a) == np.isnan(b)).all(), key
        assert (np.where(np.isinf(a), a, 0) == np.where(np.isinf(b), b, 0)).all(), key
        finite = np.isfinite(a)
        assert verification.relative_error(b[finite], a[finite]) <= 1e-5, key


def test_the_order_of_warps_changes_no_bit_in_float32(made):
    run = Run(LINEAR, (64, 64), 70, 70, "float32")
    BEYOND["an infinite input"](run)  # and only one warp has it
    found = [bits(run.on_twin(TwinDevice(made, schedule=s), warps=4)) for s in SCHEDULES]
    assert found[0] == found[1] == found[2]
