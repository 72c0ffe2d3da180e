"""A case bound to the GPU executor on the host, run as it would be on a device."""

from dataclasses import replace
from functools import cached_property, partial

import numpy as np
from gdkernels_cupy import CuPyBackend
from host_arrays import Array

from gdkernels.backend import Plan, verification
from gdkernels.testing.cases import CASES, data_of


class HostNamespace:
    """NumPy's namespace as CuPy's is: it takes a device, and what it makes is there."""

    def __getattr__(self, name):
        import array_api_compat.numpy as xp

        found = getattr(xp, name)
        return partial(_made, found) if name in ("full", "zeros", "ones", "asarray") else found


def _made(make, *given, device=None, **options):
    made = make(*given, **options).view(Array)
    if isinstance(given[0], Array):  # a copy stays where that is
        made.move(given[0].device.id)
    else:
        import cupy

        made.move(cupy.cuda.Device().id)
    return made


class OnHost(CuPyBackend):
    precisions = ("float32",)  # the others are tested below, a few times: they differ in the list, not in here

    @cached_property
    def xp(self):
        return HostNamespace()

    def unavailable(self):
        return None

    def owns(self, x):
        return isinstance(x, Array)

    def to_numpy(self, x):
        return np.asarray(x).copy()

    def compile(self, program, plan):
        executable = super().compile(program, plan)
        assert executable is not None, f"{program} was not compiled"
        return executable


class Run:
    """A case bound to the host's device, with its data there."""

    def __init__(self, name="wide", precision="float32", device="cuda:0", program=None, **choices):
        self.case, self.backend, self.device = CASES[name], OnHost(), device
        self.case = self.case if program is None else replace(self.case, program=program)
        self.data, self.precision = data_of(self.case), precision
        plan = Plan("cupy", device, precision, choices)
        self.executable = self.backend.compile(self.case.program, plan)
        self.x, self.y = self.put(self.data.x), self.put(self.data.y)
        self.state = self.start()

    def put(self, a):
        return self.backend.asarray(
            a, dtype="float64" if self.precision == "float64" else "float32", device=self.device
        )

    def start(self):
        return verification.start(self.case.program, self.data.parameters, self.put)

    def epoch(self, records=None, **options):
        order = np.arange(len(self.x))[::-1][:records]
        steps = -(-len(order) // self.case.batch_size)
        rates = np.linspace(0.01, 0.005, steps)
        return self.executable.run(self.state, self.x, self.y, order, self.case.batch_size, rates, **options)

    @property
    def bits(self):
        return {name: a.tobytes() for name, a in verification.named_arrays(self.state)}


def in_pinned_memory(host, monkeypatch, name="adam", precision="float32"):
    """Return a run whose data does not fit on the device."""
    monkeypatch.setattr("gdkernels_cupy._SMALL", 0)
    monkeypatch.setattr("gdkernels_cupy.cuda.pinned._SHARE", 0.0)
    run = Run(name, precision)
    monkeypatch.setattr("gdkernels_cupy.cuda.pinned._SHARE", 0.6)
    run.state = run.start()
    assert len(host.pinned) >= 2
    return run
