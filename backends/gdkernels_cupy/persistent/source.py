"""The whole source for a program at given widths: primitives, the work of a tile, and the kernels made for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gdkernels.errors import ScheduleError
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.cuda.keyed_order import order_text
from gdkernels_cupy.persistent.kernel import SIGNATURES, KernelText
from gdkernels_cupy.persistent.memory import KernelMemory
from gdkernels_cupy.persistent.shape import OperandFormat, most_sums

__all__ = ["BARRIER_SECONDS", "KernelSource", "kernel_parts", "write_source"]

BARRIER_SECONDS = 5  # after which CTAs that wait for each other give up

# compute-sanitizer slows a kernel down by orders of magnitude: the GPU script sets this, and they wait for ever.
_PATIENT = "GDKERNELS_PATIENT_BARRIERS"


@dataclass(frozen=True)
class KernelSource:
    """The text that is compiled, and the facts about it that the host needs.

    Attributes
    ----------
    step
        None for a program that only predicts.
    order
        The names of parameters and slots, as the kernels take their addresses.
    """

    text: str
    warps: int
    at_once: int
    spilled_gradients: int
    recomputes: bool
    reloads: bool
    predict: KernelMemory
    step: KernelMemory | None
    order: tuple[str, ...]

    @property
    def main(self) -> str:
        """The kernel whose registers and CTAs matter."""
        return "predict" if self.step is None else "train"

    @property
    def signatures(self) -> dict[str, str]:
        """The parameters of each kernel."""
        return {name: words for name, words in SIGNATURES.items() if name != "train" or self.step is not None}

    @property
    def shared_bytes(self) -> int:
        return max(self.predict.shared.size, self.step.shared.size if self.step else 0)


def write_source(
    step: ScheduledTask | None,
    prediction: ScheduledTask,
    sizes: Mapping[str, int],
    form: OperandFormat,
    warps: int,
    shared_bytes: int,
    *,
    spilled_gradients: int = 0,
    recomputes: bool = False,
    reloads: bool = False,
) -> KernelSource:
    """Return the source for networks of these widths.

    Parameters
    ----------
    sizes
        The value of each width, by the name of its dimension.
    warps
        Of a CTA; a tile has 16 rows for each.
    shared_bytes
        What a CTA can have of shared memory.
    spilled_gradients
        How many gradients leave the registers between tiles.
    recomputes
        Whether what the way back needs is computed again, in place of being kept.
    reloads
        Whether the left operand of each product comes from its tile step by step, in place of being in registers.

    Raises
    ------
    ScheduleError
        Where the network does not fit on the chip.
    """
    order = tuple((step or prediction).parameters)
    predict = KernelMemory(prediction, sizes, form, warps, order, tight=False)
    training = None
    if step is not None:
        how: dict[str, Any] = {"recomputes": recomputes, "reloads": reloads, "spilled_gradients": spilled_gradients}
        training = KernelMemory(step, sizes, form, warps, order, tight=False, **how)
        if training.shared.size > shared_bytes:
            training = KernelMemory(step, sizes, form, warps, order, tight=True, **how)
        if training.sums_per_thread > most_sums(form, warps):
            raise ScheduleError(
                f"with {warps} warps its gradients take {training.sums_per_thread} registers of a thread, "
                f"at most {most_sums(form, warps)} are free"
            )
    text = _text(form, warps, predict, training)
    at_once = form.at_once[warps]
    source = KernelSource(text, warps, at_once, spilled_gradients, recomputes, reloads, predict, training, order)
    if source.shared_bytes > shared_bytes:
        raise ScheduleError(f"with {warps} warps it takes {source.shared_bytes} of {shared_bytes} bytes on the chip")
    return source


def _text(form: OperandFormat, warps: int, predict: KernelMemory, step: KernelMemory | None) -> str:
    parts = [*kernel_parts(form, warps), "#define ORDER_FN FN", order_text()]
    parts += [KernelText(step or predict).preparing_text()]
    parts += [KernelText(memory).text() for memory in (predict, step) if memory is not None]
    return "\n".join(parts)


def kernel_parts(form: OperandFormat, warps: int) -> list[str]:
    """Return the texts that every kernel begins with."""
    nanoseconds = 0 if os.environ.get(_PATIENT) else BARRIER_SECONDS * 1_000_000_000
    parts = "true" if form.in_parts else "false"
    return [
        f"constexpr int WARPS = {warps}, AT_ONCE = {form.at_once[warps]};",
        f"constexpr unsigned long long BARRIER_NANOSECONDS = {nanoseconds}ull;  // 0: for ever",
        *([f"constexpr bool IN_PARTS = {parts};  // operands, as products take them"] if form.size == 4 else []),
        *map(_header, ("primitives.cuh", form.header, "tile.cuh", *(["float32.cuh"] if form.in_parts else []))),
    ]


@cache
def _header(name: str) -> str:
    return (files("gdkernels_cupy.persistent") / name).read_text("utf-8")
