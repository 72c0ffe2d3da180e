"""The cases of the grid: four square layers, plain gradient descent on SSE, relu, data on the device."""

from __future__ import annotations

from dataclasses import dataclass

from gdkernels.bench.participants.task import TrainingTask

__all__ = ["GRID", "GPUCase"]

_RATE = 1e-3
_BATCHES = 4  # of an epoch: no cache of the device holds its data


@dataclass(frozen=True)
class GPUCase:
    """A network and its batches; `precision` is that of the products."""

    width: int
    batch: int
    precision: str
    layers: int = 4

    def __str__(self) -> str:
        return f"{self.width} wide, batches of {self.batch}, {self.precision}"

    @property
    def task(self) -> TrainingTask:
        sizes = (self.width,) * (self.layers + 1)
        return TrainingTask(sizes, self.batch, _BATCHES * self.batch, learning_rate=_RATE)

    @property
    def flops(self) -> int:
        """FLOPs of the products of a step: forward, gradient, and the way back above the inputs."""
        return self.task.flops_per_record() * self.batch


_ALL = ("float32", "tf32", "bfloat16")

GRID = (
    GPUCase(64, 1 << 10, "bfloat16"),
    GPUCase(64, 1 << 14, "bfloat16"),
    GPUCase(64, 1 << 18, "bfloat16"),
    GPUCase(128, 1 << 18, "bfloat16"),
    GPUCase(64, 1 << 10, "float32"),
    GPUCase(64, 1 << 14, "float32"),
    GPUCase(64, 1 << 18, "float32"),
    *(GPUCase(256, 1 << 14, p) for p in _ALL),
    *(GPUCase(1024, 1 << 14, p) for p in _ALL),
    *(GPUCase(4096, 1 << 14, p) for p in _ALL),
)
