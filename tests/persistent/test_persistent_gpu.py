"""The first minutes on a GPU: one step against the twin and against float64, then the same bits a thousand times."""

import math

import numpy as np
import pytest
from gdkernels_cupy.persistent import PersistentExecutable
from gdkernels_cupy.persistent.trials import FRAME
from persistent_runs import Run, bits, errors, program
from persistent_twin import TwinDevice

from gdkernels.backend import Plan, verification
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import Adam

pytestmark = pytest.mark.gpu

# As in the tests of the twin: numbers that round the other way.
BOUNDS = {"bfloat16": 1e-3, "tf32": 1e-3, "float32": 1e-5}

relu, gelu = activations.relu, activations.gelu
RUNS = {
    "64 wide": (program(relu, relu, relu), (64,) * 5, "bfloat16"),
    "64 wide in tf32": (program(relu, relu), (64,) * 4, "tf32"),
    "classes": (program(gelu, relu, loss=losses.cross_entropy, optimizer=Adam()), (20, 64, 48, 10), "bfloat16"),
    "64 wide in float32": (program(relu, relu), (64,) * 4, "float32"),
    "a norm": (program(gelu, gradient_norm=True, clip_norm=0.5), (13, 30, 3), "tf32"),
}


@pytest.fixture
def device():
    from gdkernels_cupy.persistent.cuda import CudaLaunchDevice

    return CudaLaunchDevice(0)


def on_gpu(run, device, repeats=1):
    """Yield the results of the same run, from the same start."""
    import cupy

    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", run.precision), device)
    x, y = cupy.asarray(run.x), cupy.asarray(run.y)
    for _ in range(repeats):
        state = verification.start(run.program, run.parameters, cupy.asarray)
        loss, norm = executable.run(state, x, y, run.order, run.batch_size, run.rates)
        found = {"the loss": math.fsum([loss])} | ({} if norm is None else {"the norm": norm})
        found |= dict(verification.named_arrays(state, cupy.asnumpy))
        yield found | {"the prediction": cupy.asnumpy(executable.predict(state.parameters, x))}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("records", "batch_size"), [(300, 300), (1000, 128), (5, 1), (40_000, 40_000)])
def test_it_agrees_with_float64_and_with_the_twin(made, device, name, records, batch_size):
    run_program, widths, precision = RUNS[name]
    run = Run(run_program, widths, records, batch_size, precision)
    (found,) = on_gpu(run, device)
    assert max(errors(found, run.reference()).values()) <= BOUNDS[precision]
    if records <= 300:
        twin = run.on_twin(TwinDevice(made, ctas=2))
        assert max(errors(found, {k: np.asarray(a, np.float64) for k, a in twin.items()}).values()) <= BOUNDS[precision]


@pytest.mark.parametrize("name", RUNS)
def test_a_thousand_runs_give_the_same_bits(device, name):
    run_program, widths, precision = RUNS[name]
    results = on_gpu(Run(run_program, widths, 2000, 700, precision), device, repeats=1000)
    first = bits(next(results))
    assert all(bits(found) == first for found in results)


@pytest.mark.parametrize("name", RUNS)
def test_the_driver_sees_a_small_frame_at_most(device, name):
    run_program, widths, precision = RUNS[name]
    executable = PersistentExecutable(run_program, Plan("cupy", "cuda:0", precision), device)
    _, kernels = executable.bind(widths)
    assert kernels.local_bytes() <= FRAME
    assert kernels.resident() >= 1
