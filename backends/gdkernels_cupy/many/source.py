"""The source of the kernel in which each CTA trains a model of its own, and the records that its models come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels.errors import ScheduleError
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.persistent.fitting import variants
from gdkernels_cupy.persistent.grid import OwnModel
from gdkernels_cupy.persistent.kernel import KernelText
from gdkernels_cupy.persistent.memory import KernelMemory, Offsets, bias_word
from gdkernels_cupy.persistent.shape import OperandFormat, most_sums, padded
from gdkernels_cupy.persistent.source import kernel_parts
from gdkernels_cupy.persistent.text import indented

__all__ = ["FEW_RECORDS", "JOB", "ManySource", "many_sources"]

# What a CTA is told of its model: a struct of the kernel, as NumPy fills it.
_FIELDS = (
    ("before", "float* const*", "u8"),  # parameters and slots before the run, by their place in the order
    ("state", "float* const*", "u8"),  # and where they go
    ("image", "const Element*", "u8"),
    ("x", "const float*", "u8"),
    ("y", "const float*", "u8"),
    ("sample_weight", "const float*", "u8"),
    ("order", "const int*", "u8"),
    ("scalars", "const float*", "u8"),
    ("results", "float*", "u8"),
    ("scratch", "float*", "u8"),
    ("records", "int", "i4"),  # of an epoch
    ("batch", "int", "i4"),
    ("steps", "int", "i4"),
    ("unused", "int", "i4"),
)
JOB = np.dtype([(name, kind) for name, _, kind in _FIELDS])

FEW_RECORDS = 64  # of a batch, which four warps take as one tile
_SIGNATURES = {
    "train_many": "const Job* jobs, int start, int count",
    "round_inputs": "const float* x, Element* image, long long records",
}


@dataclass(frozen=True)
class ManySource:
    """The text that is compiled, and the facts about it that the host needs.

    Attributes
    ----------
    order
        The names of parameters and slots, as the kernel takes their addresses.
    sizes
        How many numbers each of them has.
    on_chip
        What of a model's numbers stays on the chip from step to step, besides rounded weights and biases.
    shared_bytes
        What a CTA has of shared memory.
    scratch
        Floats that a model needs off the chip.
    """

    text: str
    warps: int
    at_once: int
    spilled_gradients: int
    recomputes: bool
    reloads: bool
    step: KernelMemory
    order: tuple[str, ...]
    sizes: tuple[int, ...]
    on_chip: tuple[str, ...]
    shared_bytes: int
    scratch: int

    main = "train_many"
    signatures = _SIGNATURES


def many_sources(
    step: ScheduledTask, precision: str, shared_bytes: int, wished: Mapping[str, Any], *, few: bool
) -> Iterator[ManySource]:
    """Yield the sources that fit a CTA, best ones first, as `gdkernels_cupy.persistent.fitting.fitting` does.

    Parameters
    ----------
    few
        Whether batches have at most `FEW_RECORDS`: then four warps are tried first, as more would have nothing to do.

    Raises
    ------
    ScheduleError
        Where none fits.
    """

    def make(form: OperandFormat, warps: int, **how: Any) -> ManySource:
        return _source(step, form, warps, shared_bytes, **how)

    yield from variants(step, precision, wished, make, (4, 8) if few else (8, 4))


def _source(step: ScheduledTask, form: OperandFormat, warps: int, shared_bytes: int, **how: Any) -> ManySource:
    order, sizes = tuple(step.parameters), step.sizes
    memory = KernelMemory(step, sizes, form, warps, order, tight=False, **how)
    if memory.shared.size > shared_bytes:
        memory = KernelMemory(step, sizes, form, warps, order, tight=True, **how)
    if memory.sums_per_thread > most_sums(form, warps):
        raise ScheduleError(
            f"with {warps} warps its gradients take {memory.sums_per_thread} registers of a thread, "
            f"at most {most_sums(form, warps)} are free"
        )
    if memory.shared.size > shared_bytes:
        raise ScheduleError(f"with {warps} warps it takes {memory.shared.size} of {shared_bytes} bytes on the chip")
    text = _ManyText(memory, shared_bytes)
    whole = "\n".join([*kernel_parts(form, warps), text.text()])
    return ManySource(
        whole, warps, form.at_once[warps], how["spilled_gradients"], how["recomputes"], how["reloads"], memory, order,
        text.sizes, text.on_chip, text.chip.size, text.scratch.size,
    )  # fmt: skip


class _ManyText:
    """Writes the kernel, and decides what stays on the chip: gradients between tiles and update, then parameters."""

    def __init__(self, memory: KernelMemory, shared_bytes: int) -> None:
        self.memory = memory
        self.sizes = tuple(self._size(name) for name in memory.order)
        self.chip, self.scratch = Offsets(), Offsets()
        self.chip.take("tiles", memory.shared.size)
        on_chip = []
        for name, floats in (("partial", memory.partial.size), ("gradients", memory.gradients)):
            if self.chip.size + 4 * floats <= shared_bytes:
                self.chip.take(name, 4 * floats)
                on_chip.append(name)
            else:
                self.scratch.take(name, floats)
        arrays: list[int] = []
        if self.chip.size + 4 * sum(self.sizes) <= shared_bytes:
            for name, size in zip(memory.order, self.sizes, strict=True):
                self.chip.take(f"array {name}", 4 * size)
                arrays.append(self.chip.offsets[f"array {name}"])
            on_chip.append("parameters")
        self.on_chip = tuple(on_chip)
        self._sharing = OwnModel(arrays)
        self._kernel = KernelText(memory, self._sharing)

    def _size(self, name: str) -> int:
        node = self.memory.task.parameters[name]
        return int(np.prod([self.memory.size(node, axis) for axis in range(len(node.shape))]))

    def text(self) -> str:
        """Return the record of a model and the kernels."""
        fields = "".join(f"    {kind} {name};\n" for name, kind, _ in _FIELDS)
        work = [*self._kernel.addresses(), *self._begin(), *self._steps(), *self._end()]
        body = indented([*self._model("\n".join(work)), *work])
        return (
            f"struct Job {{\n{fields}}};\n"
            f"{self._kernel.rounding_text()}"
            f"KERNEL train_many({_SIGNATURES['train_many']}) {{\n{body}}}\n"
        )

    def _model(self, work: str) -> list[str]:
        """Return what of its model a CTA has names for: compilers warn of those that nothing reads."""
        lines = ["const Job& job = jobs[cta()];"]
        read = [(name, kind) for name, kind, _ in _FIELDS if re.search(rf"\b{name}\b", work)]
        lines += [f"{kind} const {name} = job.{name};" for name, kind in read]
        for name in ("partial", "gradients"):
            at = self.scratch.offsets.get(name)
            place = f"(float*)(shared() + {self.chip.offsets[name]})" if at is None else f"job.scratch + {at}"
            if re.search(rf"\b{name}\b", work):
                lines.append(f"float* const {name} = {place};")
        return lines

    def _begin(self) -> list[str]:
        """Return how a model arrives: from where it was at first, later from where the launch before left it."""
        lines = []
        for k, size in enumerate(self.sizes):
            if self._sharing.on_chip:
                source = f"(start ? state[{k}] : before[{k}])[c]"
                lines.append(
                    f"for (int c = thread(); c < {size}; c += THREADS) {self._sharing.array(k)}[c] = {source};"
                )
            else:
                lines.append(
                    f"if (start == 0) for (int c = thread(); c < {size}; c += THREADS) state[{k}][c] = before[{k}][c];"
                )
        lines.append("cta_sync();")
        for name, node in self.memory.multiplied():
            rows, columns = self.memory.size(node, 0), self.memory.size(node, 1)
            down, across, source = padded(rows), padded(columns), self._array(name)
            lines += [
                f"for (int c = thread(); c < {down * across}; c += THREADS) {{",
                f"    const int i = c / {across}, j = c % {across};",
                f"    const float value = i < {rows} && j < {columns} ? {source}[i * {columns} + j] : 0.f;",
                f"    {self._sharing.new_weight(name, 0, across, 'value')}",
                "}",
            ]
        for node in self.memory.biases:
            width, source = self.memory.size(node, 0), self._array(node.attribute)
            lines.append(
                f"for (int c = thread(); c < {padded(width)}; c += THREADS) {bias_word(node.attribute)}[c] = "
                f"c < {width} ? {source}[c] : 0.f;"
            )
        return lines

    def _array(self, name: str) -> str:
        return self._sharing.array(self.memory.order.index(name))

    def _steps(self) -> Sequence[str]:
        return [
            "const int of_epoch = (records + batch - 1) / batch, end = count < steps - start ? start + count : steps;",
            "for (int step = start; step < end; step++) {",
            "    const int within = step % of_epoch * batch;",
            "    const long long first = (long long)(step / of_epoch) * records + within;",
            "    const int rows = batch < records - within ? batch : records - within;",
            *(f"    {line}" for line in self._kernel.step((), "partial")),
            "}",
        ]

    def _end(self) -> list[str]:
        return [
            f"for (int c = thread(); c < {size}; c += THREADS) state[{k}][c] = {self._sharing.array(k)}[c];"
            for k, size in enumerate(self.sizes)
            if self._sharing.on_chip
        ]
