"""The participants on a GPU: gdkernels by several of its executables, PyTorch eager and compiled, and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdkernels.backend import Backend, Plan, State, storage_dtype
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.verification import start
from gdkernels.bench.participants.adapter import Adapter, Order
from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.system.machine import cores

__all__ = ["NAMES", "REFERENCE", "ExecutableAdapter", "gpu_adapter_of", "participant_of"]

_DEVICE = "cuda:0"

# The names in the results, and those of the participants.
NAMES = {
    "gdkernels": "cupy",
    "gdkernels, CUDA graphs": "cupy-graphs",
    "gdkernels, definition on CuPy": "cupy-definition",
    "torch eager": "torch",
    "torch.compile": "torch-compile",
    "torch.compile, whole step": "torch-compile-step",
    "jax jit + scan": "jax",
}
REFERENCE = "definition-float64"


def participant_of(name: str, precision: str) -> Participant:
    """Return a participant, by one of `NAMES` or as `REFERENCE`, with all cores for its host."""
    internal = NAMES.get(name, name)
    external = internal.startswith(("torch", "jax"))
    return Participant(internal, external, _DEVICE, precision, threads=cores())


def gpu_adapter_of(participant: Participant) -> Adapter:
    """Return what runs `participant` in this process."""
    return adapter_of(participant) if participant.external else ExecutableAdapter(participant)


class ExecutableAdapter(Adapter):
    """gdkernels on CuPy, compiled, by one of its kernels if that is named; or its definition."""

    def ready(self) -> None:
        """Do nothing: `load` opens the device."""

    def load(self, task: TrainingTask) -> None:
        name, precision = self.participant.name, self.participant.precision
        defined = name in ("cupy-definition", REFERENCE)
        if defined and precision != storage_dtype(precision):
            raise UnsuitableError(f"CuPy's own products know no {precision}")
        backend, device = _backend(or_host=name == REFERENCE)
        plan = Plan(backend.name, device, precision, {"kernel": "graphs"} if name == "cupy-graphs" else {})
        program = task.program()
        executable = None if defined else backend.compile(program, plan)
        self._executable = executable or DefinitionExecutable(backend, program, plan)

        def put(a: Any) -> Any:
            return backend.asarray(np.array(a), dtype=storage_dtype(precision), device=device)

        self._state: State = start(program, task.parameters(), put)
        self._x, self._y = map(put, task.data())
        self._backend, self._device, self.task = backend, device, task

    def train_on(self, order: Order) -> None:
        rates = np.full(-(-len(order) // self.task.batch), self.task.learning_rate)
        self._executable.run(self._state, self._x, self._y, order, self.task.batch, rates)
        self._backend.synchronize(self._device)

    def epoch(self) -> None:
        self.train_on(np.random.default_rng(0).permutation(self.task.records))

    def parameters(self) -> Arrays:
        return {name: np.array(self._backend.to_numpy(a)) for name, a in self._state.parameters.items()}

    def described(self, stage: str) -> dict[str, Any]:
        return {"origin": self._executable.origin, "plan": dict(self._executable.plan.choices)}


def _backend(*, or_host: bool) -> tuple[Backend, str]:
    """Return CuPy and its device; with `or_host`, NumPy where there is no GPU."""
    from gdkernels_cupy import CuPyBackend

    if or_host and CuPyBackend().unavailable() is not None:
        from gdkernels_numpy import NumPyBackend

        return NumPyBackend(), "cpu"
    return CuPyBackend(), _DEVICE
