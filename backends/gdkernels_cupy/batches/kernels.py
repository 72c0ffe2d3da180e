"""The kernels of a step over many models: those of one model, with the model as the third coordinate of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import KernelCall, jobs_of
from gdkernels_cupy.graphs.grouping import Launch, OperationGroup
from gdkernels_cupy.graphs.jobs import KernelJob, group_kernel
from gdkernels_cupy.graphs.source import fixed_text, loop_job, preamble

__all__ = ["bound_for_models", "models_text"]

_PREFIX = "models_"


@cache
def _models_text() -> str:
    return files("gdkernels_cupy.batches").joinpath("models.cu").read_text("utf-8")


def models_text(lists: Iterable[Iterable[Launch]]) -> str:
    """Return a module with the kernels of some lists of launches, each once, for many models."""
    launches = [launch for one in lists for launch in one if not isinstance(launch, ops.MatrixProduct)]
    groups = [launch if isinstance(launch, OperationGroup) else OperationGroup((launch,)) for launch in launches]
    loops = {loop_job(m.kernel) for group in groups for m in group.members if isinstance(m, ops.LoopPass)}
    kernels = {_kernel_of(jobs_of(group)) for group in groups}
    return "".join([preamble(), fixed_text(), _models_text(), *sorted(loops), *sorted(kernels)])


def _kernel_of(jobs: tuple[KernelJob, ...]) -> str:
    """Return the text of the kernel of some jobs, whose addresses are those of the first model's memory."""
    # Each member of a group moves its own: all at once would take registers that none has.
    address = "of_model({}, apart)"
    body = jobs[0].kernel(address) if len(jobs) == 1 else group_kernel(jobs, address)
    return replace(body, name=_PREFIX + body.name, parameters=(*body.parameters, "long long apart")).text


def bound_for_models(call: KernelCall, module: Any, models: int, apart: int) -> Callable[[], None]:
    """Return the launch of a kernel of this module for so many models, whose memory lies so many bytes apart."""
    kernel = module.get_function(_PREFIX + call.name)
    grid, arguments = (*call.shape.grid, models), (*call.arguments, np.int64(apart))
    return lambda: kernel(grid, call.shape.block, arguments)
