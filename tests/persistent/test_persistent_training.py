"""The narrow kernel trains as the definition does: on its twin, against float64 that rounds where the kernel rounds."""

import re

import numpy as np
import pytest
from gdkernels_cupy.persistent.fitting import fitting, tasks_of
from persistent_runs import MOMENTUM, NARROW, Run, bits, errors, normed, program, run_of_case
from persistent_twin import HEADERS, SCHEDULES, TwinDevice, digest

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW, RMSprop
from gdkernels.randomness import KeyedOrder
from gdkernels.testing.cases import Adagrad, chained, log_cosh, mish

# A number close to a tie rounds the other way in float32, and is off by one unit of its last place: 2^-8 or 2^-11.
BOUND = 1e-3

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu
sigmoid, softmax, exp = activations.sigmoid, activations.softmax, activations.exp

# name: program, widths, records, batch size, precision, and what else the plan or the run says
RUNS = {
    "three matrices": (program(relu, tanh), (5, 7, 6, 3), 23, 8, "bfloat16", {}),
    "three matrices in tf32": (program(relu, tanh), (5, 7, 6, 3), 23, 8, "tf32", {}),
    "64 wide": (program(relu, relu, relu), (64,) * 5, 300, 300, "bfloat16", {"warps": 8}),
    "64 wide in tf32": (program(relu, relu), (64,) * 4, 150, 100, "tf32", {}),
    "six hidden layers, memory used again": (program(*[relu] * 6), (64,) * 8, 140, 140, "bfloat16", {"warps": 8}),
    "odd widths, no bias": (program(tanh, tanh, bias=False), (33, 17, 49, 64), 260, 64, "bfloat16", {}),
    "48 wide, blocks that do not divide": (program(gelu, gelu), (48,) * 4, 100, 64, "bfloat16", {"warps": 8}),
    "gradients that leave the registers": (
        program(relu, tanh, clip_norm=1.0), (64, 33, 64, 5), 300, 150, "bfloat16", {"parked": 2},
    ),
    "all gradients leave them, in tf32": (program(relu, tanh), (20, 33, 17, 5), 230, 150, "tf32", {"parked": 3}),
    "no hidden layer": (program(), (4, 3), 23, 8, "tf32", {}),
    "one unit everywhere": (program(tanh, tanh), (1, 1, 1, 1), 23, 8, "bfloat16", {}),
    "batches of one": (program(relu), (9, 20, 2), 5, 1, "bfloat16", {}),
    "f(0) is 1": (program(exp, sigmoid), (5, 7, 6, 3), 23, 8, "bfloat16", {}),
    "classes": (
        program(gelu, relu, loss=losses.cross_entropy, optimizer=Adam()),
        (20, 64, 48, 10), 100, 70, "bfloat16", {},
    ),
    "softmax within": (
        chained((softmax, tanh, softmax), (5, 20, 6, 3), objective=Objective(losses.sse), optimizer=MOMENTUM),
        (5, 20, 6, 3), 40, 30, "tf32", {},
    ),
    "a norm, clipped, with decay": (
        program(tanh, optimizer=AdamW(), clip_norm=0.5, gradient_norm=True, l2=0.05),
        (10, 33, 5), 150, 64, "bfloat16", {},
    ),
    "weights of the records": (
        program(relu, weighted=True, optimizer=Adam()), (6, 20, 4), 150, 64, "bfloat16", {},
    ),
    "the penalty in the loss": (
        program(relu, weighted=True, l2=0.1, l2_in_loss=True), (6, 20, 4), 90, 64, "tf32", {},
    ),
    "functions of the user's": (
        program(mish, mish, loss=log_cosh, optimizer=Adagrad()), (5, 7, 6, 3), 23, 8, "bfloat16", {},
    ),
    "counts, summed": (
        program(sigmoid, loss=losses.poisson, optimizer=RMSprop(), reduction="sum"), (6, 40, 2), 90, 64, "tf32", {},
    ),
    "layer norms in residuals": (normed(19, gradient_norm=True), normed(19).widths, 150, 140, "tf32", {}),
    "layer norms in residuals, rounded": (normed(33), normed(33).widths, 150, 140, "bfloat16", {}),
    "yes or no, Nesterov": (
        program(tanh, loss=losses.binary_cross_entropy, optimizer=SGD(momentum=0.9, nesterov=True)),
        (6, 18, 2), 90, 64, "bfloat16", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_training_agrees_with_float64_that_rounds_alike(made, name):
    run_program, widths, records, batch_size, precision, choices = RUNS[name]
    run = Run(run_program, widths, records, batch_size, precision)
    found = run.on_twin(TwinDevice(made, ctas=2), **{"warps": 4} | choices)
    wrong = {k: e for k, e in errors(found, run.reference()).items() if not e <= BOUND}
    assert not wrong


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_the_order_of_warps_changes_no_bit(made, precision):
    run = Run(program(tanh, relu, gradient_norm=True), (20, 33, 17, 5), 200, 150, precision)
    found = [bits(run.on_twin(TwinDevice(made, ctas=3, schedule=s), warps=4)) for s in SCHEDULES]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("ctas", [1, 2, 5])
def test_any_grid_gives_the_result_and_the_same_one_again(made, ctas):
    run = Run(program(relu, relu), (12, 32, 16, 4), 330, 300, epochs=2)
    device = TwinDevice(made, ctas=ctas)
    found = run.on_twin(device, warps=4, ctas=ctas)
    assert max(errors(found, run.reference()).values()) <= BOUND
    assert bits(found) == bits(run.on_twin(device, warps=4, ctas=ctas))


def test_fibers_switch_alike_in_assembly_and_in_ucontext(made):
    run = Run(program(relu), (5, 7, 3), 23, 8)
    found = [bits(run.on_twin(TwinDevice(made, ucontext=u), warps=4)) for u in (False, True)]
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_no_two_lanes_meet_in_a_bank(made, precision):
    """With operands of every width, on either side of a product."""
    device = TwinDevice(made, banks=True)
    Run(program(relu, relu, relu, relu), (16, 32, 48, 64, 16, 48), 20, 20, precision).on_twin(device, warps=4)
    assert device.mma > 0
    assert device.conflicts == 0


def test_a_keyed_order_is_computed_by_the_kernel(made):
    run = Run(*RUNS["three matrices"][:4], precision="bfloat16")
    order = KeyedOrder.of(5, 1, len(run.x))[3:]  # not from the beginning, as after a checkpoint
    run.rates = run.rates[: -(-len(order) // run.batch_size)]
    found = []
    for run.order in (np.asarray(order), order):
        found.append(bits(run.on_twin(TwinDevice(made), warps=4)))
    assert found[0] == found[1]


ONCE_MORE = {
    "gelu and classes": (
        program(gelu, gelu, loss=losses.cross_entropy, optimizer=Adam()), (20, 64, 48, 10), 70, "bfloat16",
    ),
    "a function of the user's, a norm": (
        program(mish, tanh, loss=log_cosh, weighted=True, clip_norm=1.0), (40, 33, 17, 5), 70, "tf32",
    ),
    "no bias": (program(gelu, bias=False), (7, 20, 3), 70, "bfloat16"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONCE_MORE)
def test_what_is_computed_again_or_loaded_again_has_the_bits_of_what_is_kept(made, name):
    run_program, widths, records, precision = ONCE_MORE[name]
    run = Run(run_program, widths, records, records, precision)
    source = next(fitting(*tasks_of(run.program), precision, 1 << 20, {"warps": 4, "recomputed": True}))
    assert source.step.layout.again
    assert not source.step.layout.kept
    assert "product_of_rows<32" in source.text, "left operands come from tiles as well"
    ways = [(False, False), (True, True), *([(False, True), (True, False)] if name == "no bias" else [])]
    found = [
        bits(run.on_twin(TwinDevice(made, schedule=7), warps=4, recomputed=again, reloaded=loads))
        for again, loads in ways
    ]
    assert all(a == found[0] for a in found)


def test_what_is_not_finite_is_seen(made):
    run = Run(program(relu), (5, 7, 3), 23, 8)
    run.x[run.order[3], 1] = np.nan
    assert np.isnan(run.on_twin(TwinDevice(made), warps=4)["the loss"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
@pytest.mark.parametrize("name", NARROW)
def test_every_case_of_the_conformance_suite(made, name, precision):
    run = run_of_case(name, precision)
    found = [run.on_twin(TwinDevice(made, schedule=s), warps=4) for s in SCHEDULES]
    assert bits(found[0]) == bits(found[1]) == bits(found[2])
    assert any(max(errors(found[0], near).values()) <= BOUND for near in run.references())


def test_a_twin_is_built_anew_for_other_headers(tmp_path):
    changed = tmp_path / "twin.h"
    changed.write_text(HEADERS[1].read_text() + "\n")
    assert len({digest("text"), digest("text", (HEADERS[0], changed, HEADERS[2])), digest("other text")}) == 3
    included = {name for h in HEADERS for name in re.findall(r'#include "(.+)"', h.read_text())}
    assert included <= {h.name for h in HEADERS}
