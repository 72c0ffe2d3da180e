"""The steps of a training as an executable: made when an epoch needs it, and kept for the epochs after it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from gdkernels.backend import Executable
from gdkernels.backend.program import Program
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.data.taking_sparse import TakingSparse, taking
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.sharded import sharded_executable
from gdkernels.dispatch.workload import Workload
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.network import BoundNetwork, Structure
from gdkernels.training.settings import Settings

__all__ = ["PreparedSteps"]


class PreparedSteps:
    """The executable of the steps, with the programs that it is made for.

    Parameters
    ----------
    network
        The network whose parameters the steps change.
    settings
        The settings of training.

    Attributes
    ----------
    sharding
        The shards of each batch, and the ranks that have them.
    """

    def __init__(self, network: BoundNetwork, settings: Settings) -> None:
        self._network, self._settings = network, settings
        self.sharding = ALONE
        self._programs: dict[tuple[Structure, bool, bool], Program] = {}
        self._for: tuple[Structure, bool, bool, int] | None = None
        self._sparse = False
        self._executable: Executable | None = None
        self._on_sparse: tuple[Executable, Executable] | None = None

    @property
    def executable(self) -> Executable:
        """The executable that was prepared last."""
        assert self._executable is not None
        return self._executable

    def workload(self, records: int, epochs: int, *, gradient_norm: bool, weighted: bool) -> Workload:
        """Return the workload of training on so many records; its program is made once."""
        structure, settings = self._network.structure, self._settings
        key = structure, gradient_norm, weighted
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = structure.program(
                settings.objective, settings.optimizer, gradient_norm=gradient_norm, weighted=weighted
            )
        return Workload(program, settings.batch_size, records, epochs)

    def prepare(
        self, binding: Binding, workload: Workload, choices: Mapping[str, Any] | None = None, *, sparse: bool = False
    ) -> Executable:
        """Return the executable of a workload, and make it unless the last one was the same."""
        program = workload.program
        wanted = self._network.structure, program.gradient_norm, program.weighted, workload.batch
        if self._executable is None or (self._for, self._sparse) != (wanted, sparse) or choices is not None:
            if self.sharding.splits:
                made = partial(TakingSparse, binding=binding) if sparse else None
                self._executable = sharded_executable(binding, program, workload, choices, self.sharding, made)
            else:
                self._executable = binding.executable(program, workload, choices, by_pieces=sparse)
            self._for, self._sparse = wanted, sparse
        return self._executable

    def take(self, executable: Executable, workload: Workload) -> None:
        """Use an executable that somebody else has made for this workload."""
        program = workload.program
        self._for = self._network.structure, program.gradient_norm, program.weighted, workload.batch
        self._executable, self._sparse = executable, False

    def be_ready(
        self, binding: Binding, records: int, data: Records | Windows | Batches, *, gradient_norm: bool
    ) -> None:
        """Prepare for an epoch of so many records; a workload is described only if this is not done already."""
        batch, sparse = min(self._settings.batch_size, records), data.sparse
        wanted = self._network.structure, gradient_norm, data.weighted, batch
        if self._executable is None or (self._for, self._sparse) != (wanted, sparse):
            workload = self.workload(records, 1, gradient_norm=gradient_norm, weighted=data.weighted)
            self.prepare(binding, workload, sparse=sparse)

    def on(self, records: Records) -> Executable:
        """Return what runs the steps on these records: the executable that was prepared, unless they are sparse."""
        if not self._sparse or self.sharding.splits:
            return self.executable
        if self._on_sparse is None or self._on_sparse[0] is not self.executable:
            assert self._for is not None
            _, norm, weighted, batch = self._for
            program = self.workload(batch, 1, gradient_norm=norm, weighted=weighted).program
            self._on_sparse = self.executable, taking(records.x, self.executable, program, records.binding)
        return self._on_sparse[1]

    def share(self, sharding: Sharding) -> None:
        """Compute in these shards from now on."""
        if sharding != self.sharding:
            self.sharding = sharding
            self.forget()

    def forget(self) -> None:
        """Let go of the executable, because the network computes elsewhere now."""
        self._for = self._executable = None
