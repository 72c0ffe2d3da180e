"""The first minutes on a GPU: a step against the twin and against float64, then the same bits a thousand times."""

import math

import numpy as np
import pytest
from gdkernels_cupy.many.executable import OwnCtaExecutable
from gdkernels_cupy.persistent import PersistentExecutable
from gdkernels_cupy.persistent.trials import FRAME
from persistent_runs import Run, bits, errors, program
from persistent_twin import TwinDevice

from gdkernels.backend import Job, Plan, verification
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


@pytest.mark.parametrize("precision", ["bfloat16", "tf32", "float32"])
@pytest.mark.parametrize("models", [3, 600])
def test_many_models_are_each_one_alone_and_what_the_twin_makes_of_them(made, device, precision, models):
    """With more of them than are resident at a time, whatever is trained beside one."""
    import cupy

    run_program = program(gelu, optimizer=Adam())
    runs = [Run(run_program, (13, 30, 3), 90, 32, precision, seed=k) for k in range(models)]
    x, y = cupy.asarray(runs[0].x), cupy.asarray(runs[0].y)
    executable = OwnCtaExecutable(runs[0].program, Plan("cupy", "cuda:0", precision), device, None)

    def job(k, there, put, x, y):
        orders, rates = np.stack([runs[k].order] * 2), np.stack([runs[k].rates] * 2)
        return Job(there, verification.start(there.program, runs[k].parameters, put), x, y, orders, 32, rates)

    jobs = [job(k, executable, cupy.asarray, x, y) for k in range(models)]
    executable.together([(executable, one) for one in jobs])
    for k in {0, 1, models - 1}:
        alone = job(k, executable, cupy.asarray, x, y)
        alone.run()
        found, wanted = (dict(verification.named_arrays(j.state, cupy.asnumpy)) for j in (jobs[k], alone))
        assert bits(found) == bits(wanted)
        twin = OwnCtaExecutable(executable.program, Plan("cupy", "cuda:0", precision), TwinDevice(made), None)
        on_twin = job(k, twin, np.array, runs[0].x, runs[0].y)
        on_twin.run()
        exact = {name: np.asarray(a, np.float64) for name, a in verification.named_arrays(on_twin.state)}
        assert max(errors(found, exact).values()) <= BOUND
