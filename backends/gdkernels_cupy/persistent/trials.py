"""Trying what a compiler makes of a kernel's variants: the first that keeps to registers, and what was found before."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from time import thread_time
from typing import Protocol, TypeVar

from gdkernels.errors import ScheduleError
from gdkernels.system.hashing import sha256
from gdkernels.system.kept import keep, kept
from gdkernels_cupy.persistent.launch_device import CompiledText, LaunchDevice, LoadedKernels
from gdkernels_cupy.persistent.memory import KernelMemory

__all__ = ["FRAME", "first_in_registers"]

# Bytes of its own memory that a thread may have: the sine of a large number takes 32, and a few registers that wait
# there during a tile are in the first-level cache. Compilers differ in that by more than it costs.
FRAME = 256

_SECONDS = 5.0  # after which no third variant is compiled: networks that take longer run as CUDA graphs


class Variant(CompiledText, Protocol):
    """A source among others for the same work."""

    @property
    def at_once(self) -> int: ...

    @property
    def spilled_gradients(self) -> int: ...

    @property
    def recomputes(self) -> bool: ...

    @property
    def reloads(self) -> bool: ...

    @property
    def step(self) -> KernelMemory | None: ...


Source = TypeVar("Source", bound=Variant)


def first_in_registers(
    sources: Iterable[Source], device: LaunchDevice, clock: Callable[[], float] = thread_time
) -> tuple[Source, LoadedKernels]:
    """Return the first of some sources whose main kernel takes at most `FRAME` bytes a thread, compiled.

    What a compiler made of a source is kept, and so is that nothing was found: the next process decides alike, and
    compiles nothing that will not be used.

    Parameters
    ----------
    clock
        Tells the seconds that trials take: of this thread, in which compilers run, so that a busy machine decides as a
        quiet one does.

    Raises
    ------
    ScheduleError
        Where each takes more, or `_SECONDS` are over.
    """
    began, seen = clock(), set[tuple[int | None, ...]]()
    least, tried, whole = math.inf, 0, ""
    for source in sources:
        # Where no loop is as long as more of it may be unrolled, the code is the same.
        products = None if source.step is None else source.step.matrix_instructions
        same = source.warps, source.spilled_gradients, source.recomputes, source.reloads, products
        if same in seen:
            continue
        seen.add(same)
        key = json.dumps([device.describe(), sha256(source.text.encode()).hexdigest()])
        whole = whole or key
        if not tried and isinstance(reason := kept("declined kernels", whole), str):
            raise ScheduleError(reason)
        frame = kept("frames of kernels", key)
        if isinstance(frame, int) and frame > FRAME:
            least = min(least, frame)
            continue
        if tried > 1 and clock() - began > _SECONDS:
            break
        kernels = device.compile(source)
        tried, frame = tried + 1, kernels.local_bytes()
        keep("frames of kernels", key, frame)
        if frame <= FRAME:
            return source, kernels
        least = min(least, frame)
    reason = (
        f"however it was compiled, a thread spills {least} bytes or more of its registers, at most {FRAME} are used"
    )
    keep("declined kernels", whole, reason)
    raise ScheduleError(reason)
