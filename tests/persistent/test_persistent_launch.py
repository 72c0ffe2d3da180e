"""The persistent kernel is started on a GPU: by a stand-in for CuPy that takes notes."""

import re
import sys
import types
from functools import partial
from itertools import count

import numpy as np
import pytest
from gdkernels_cupy.persistent import PersistentExecutable
from gdkernels_cupy.persistent.cuda import CudaLaunchDevice
from gdkernels_cupy.persistent.trials import first_in_registers
from persistent_runs import Run, program

from gdkernels.backend import Plan, verification
from gdkernels.definition import activations
from gdkernels.errors import BackendError, ScheduleError

relu = activations.relu


class Array:
    """A device array as far as an argument of a kernel is one."""

    def __init__(self, values, device=0):
        self.values = values
        self.data = types.SimpleNamespace(ptr=values.ctypes.data)
        self.shape = values.shape
        self.device = types.SimpleNamespace(id=device)

    def __getitem__(self, key):
        return Array(self.values[key])

    def reshape(self, *shape):
        return Array(self.values.reshape(*shape))

    def copy(self):
        return Array(self.values.copy(), self.device.id)


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """Return a stand-in that notes every launch, on a device with 4 processors, each with room for one CTA."""
    cupy = types.ModuleType("cupy")
    cupy.launched, cupy.modules, cupy.asked = [], [], {}

    class Device:
        compute_capability = "90"

        def __init__(self, number):
            self.number = number

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    class Kernel:
        def __init__(self, name, spilled):
            self.name, self.local_size_bytes = name, spilled
            self.kernel = self
            self.ptr = name

        def __setattr__(self, name, value):
            if name == "max_dynamic_shared_size_bytes":
                cupy.asked[self.name] = value
            object.__setattr__(self, name, value)

        def __call__(self, grid, block, arguments, shared_mem, *, enable_cooperative_groups):
            assert grid[0] <= 4 or not enable_cooperative_groups, "CuPy would start fewer"
            barrier = arguments[12].values.copy() if self.name == "train" else None
            cupy.launched.append((self.name, grid, block, arguments, shared_mem, enable_cooperative_groups, barrier))

    cupy.spills = lambda code: 0

    class RawModule:
        def __init__(self, code, options):
            cupy.modules.append((code, options))

        def get_function(self, name):
            return Kernel(name, cupy.spills(cupy.modules[-1][0]))

    cupy.RawModule, cupy.ndarray = RawModule, Array
    cupy.asarray = lambda a: Array(np.array(a))
    cupy.ascontiguousarray = lambda a, dtype: a if isinstance(a, Array) else Array(np.ascontiguousarray(a, dtype))
    cupy.zeros = lambda count, dtype: Array(np.zeros(count, dtype))
    cupy.asnumpy = lambda a: a.values
    runtime = types.SimpleNamespace(deviceGetAttribute=lambda what, device: {16: 4, 97: 232448}[what])
    driver = types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda kernel, threads, shared: 1)
    cupy.cuda = types.ModuleType("cupy.cuda")
    cupy.cuda.Device, cupy.cuda.runtime, cupy.cuda.driver = Device, runtime, driver
    monkeypatch.setattr("gdkernels_cupy.persistent.cuda.describe", lambda number: {"device": "a stand-in"})
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    return cupy


def test_a_launch_on_a_gpu(cupy):
    run = Run(program(relu, relu, relu), (64,) * 5, 1000, 1000)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), CudaLaunchDevice(0))
    state = verification.start(run.program, run.parameters, lambda a: Array(np.array(a)))
    executable.run(state, Array(run.x), Array(run.y), run.order, 1000, run.rates)

    ((code, options),) = cupy.modules
    assert "KERNEL train(" in code
    assert options == ("-std=c++17",)
    assert [launch[0] for launch in cupy.launched] == ["round_weights", "round_inputs", "train"]
    _, grid, block, arguments, shared, cooperative, barrier = cupy.launched[-1]
    assert cooperative, "all CTAs have to be resident: the driver refuses the launch otherwise"
    assert grid == (4,), "no more CTAs than fit at once, however many tiles there are"
    assert block == (256,)
    assert cupy.asked == {"train": shared, "predict": shared}, "above 48 KiB it has to be asked for"
    assert shared > 48 << 10
    assert barrier.tolist() == [0], "the barrier counts from zero"
    assert [type(a) for a in arguments[-3:]] == [np.int32] * 3
    assert arguments[5] == 0, "no weights of records: a null pointer"
    assert arguments[0].values.tolist()[:2] == [state.parameters[name].data.ptr for name in ("W0", "b0")]
    assert arguments[6].values.dtype == np.int32
    assert len(cupy.launched[1][3]) == 3
    assert type(cupy.launched[1][3][2]) is np.int64


def test_arrays_on_another_device_are_an_error_that_names_both(cupy):
    run = Run(program(relu), (5, 7, 3), 23, 8)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), CudaLaunchDevice(0))
    state = verification.start(run.program, run.parameters, lambda a: Array(np.array(a)))
    with pytest.raises(BackendError, match="an array is on cuda:1, but the work is on cuda:0"):
        executable.run(state, Array(run.x, device=1), Array(run.y), run.order, 8, run.rates)
    assert cupy.launched == []


# Of two gradients: how many leave the registers, the warps, the steps that may be unrolled, and whether left operands
# are loaded step by step. There is one step only, so that another number of them makes the same code.
VARIANTS = [
    (spilled, warps, 4 if (spilled, warps, reloads) == (0, 8, False) else 1, reloads)
    for spilled in (0, 1, 2)
    for warps in (8, 4)
    for reloads in (False, True)
]


def variant(code):
    warps, at_once = map(int, re.search(r"WARPS = (\d+), AT_ONCE = (\d+)", code).groups())
    return code.count("if (tile == cta()) d"), warps, at_once, bool(re.search(r"product_of_rows<\d", code))


@pytest.mark.parametrize("bad", range(len(VARIANTS) + 1))
def test_a_kernel_that_spills_is_made_otherwise_or_declined(cupy, bad):
    cupy.spills = lambda code: 300 - bad if variant(code) in VARIANTS[:bad] else 256
    run = Run(program(relu), (5, 7, 3), 23, 8)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), CudaLaunchDevice(0))
    if bad < len(VARIANTS):
        source, kernels = executable.bind((5, 7, 3))
        assert (source.spilled_gradients, source.warps, source.at_once, source.reloads) == VARIANTS[bad]
        assert kernels.local_bytes() == 256
    else:
        with pytest.raises(ScheduleError, match="however it was compiled, a thread spills 288 bytes or more"):
            executable.bind((5, 7, 3))
    assert [variant(code) for code, _ in cupy.modules] == VARIANTS[: bad + 1]


def test_what_a_compiler_made_of_a_variant_is_known_to_the_next_process(cupy):
    cupy.spills = lambda code: 300 if variant(code) in VARIANTS[:2] else 32  # as of a sine
    for compiled in (VARIANTS[:3], VARIANTS[2:3]):
        cupy.modules.clear()
        executable = PersistentExecutable(program(relu), Plan("cupy", "cuda:0", "bfloat16"), CudaLaunchDevice(0))
        executable.bind((5, 7, 3))
        assert [variant(code) for code, _ in cupy.modules] == compiled


def test_trials_end_in_time_and_the_next_process_decides_alike(cupy, monkeypatch):
    cupy.spills = lambda code: 0 if variant(code) == VARIANTS[-1] else 300
    clock = partial(next, count(0, 3))
    monkeypatch.setattr(
        "gdkernels_cupy.persistent.executable.first_in_registers", partial(first_in_registers, clock=clock)
    )
    for compiled in (VARIANTS[:3], []):
        cupy.modules.clear()
        executable = PersistentExecutable(program(relu), Plan("cupy", "cuda:0", "bfloat16"), CudaLaunchDevice(0))
        with pytest.raises(ScheduleError, match="spills 300 bytes or more of its registers, at most 256 are used"):
            executable.bind((5, 7, 3))
        assert [variant(code) for code, _ in cupy.modules] == compiled


def test_a_plan_of_a_larger_gpu_starts_what_is_resident_and_says_so(cupy, caplog):
    run = Run(program(relu), (5, 7, 3), 2000, 2000)
    plan = Plan("cupy", "cuda:0", "bfloat16", {"ctas": 132})
    executable = PersistentExecutable(run.program, plan, CudaLaunchDevice(0))
    state = verification.start(run.program, run.parameters, lambda a: Array(np.array(a)))
    with caplog.at_level("WARNING", "gdkernels"):
        executable.run(state, Array(run.x), Array(run.y), run.order, 2000, run.rates)
    assert cupy.launched[-1][1] == (4,)
    assert executable.plan.choices["ctas"] == 4
    assert "132 CTAs are not resident on cuda:0 at the same time, only 4 are" in caplog.text


def test_what_is_asked_of_cupy_exists():
    cupy = pytest.importorskip("cupy")
    from cupy.cuda import driver, function

    assert hasattr(driver, "occupancyMaxActiveBlocksPerMultiprocessor")
    assert hasattr(function.Function, "ptr")
    assert hasattr(cupy.RawKernel, "max_dynamic_shared_size_bytes")
    assert hasattr(cupy.RawKernel, "local_size_bytes")
    assert hasattr(cupy.cuda.runtime, "deviceGetAttribute")
    assert cupy.cuda.runtime.cudaDevAttrMultiProcessorCount == 16
    assert cupy.cuda.runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin == 97
