"""What a trainer holds to run its epochs: steps of an optimizer over batches, or iterations of a solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gdkernels.backend import Executable, State
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.groups.sharding import Sharding
from gdkernels.network import BoundNetwork
from gdkernels.training.checkpointing import Middle
from gdkernels.training.epoch_values import EpochTotals, Pace, Segments
from gdkernels.training.settings import Settings

__all__ = ["Order", "Runner"]

Order = Callable[[int, int], Any]


class Runner(Protocol):
    """Runs the epochs of a network; `EpochRunner` and `SolverRunner` are the two."""

    network: BoundNetwork
    settings: Settings
    epochs_done: int
    order: Order | None
    order_stream: int
    each_step: Callable[[float], None] | None

    @property
    def executable(self) -> Executable:
        """The executable of the steps, once one was prepared."""

    @property
    def sharding(self) -> Sharding:
        """The shards of each batch, and the ranks that have them."""

    def share(self, sharding: Sharding) -> None:
        """Split each batch into these shards from now on."""

    @property
    def slots(self) -> int:
        """The number of arrays that it carries for each parameter."""

    @property
    def workspace(self) -> int:
        """The bytes that an epoch takes beyond data and state, where the runner knows; 0 leaves it to an estimate."""

    def workload(
        self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False
    ) -> Workload:
        """Return the workload of training on so many records, by which a backend is chosen."""

    def prepare(
        self, workload: Workload, choices: Mapping[str, Any] | None = None, *, sparse: bool = False
    ) -> Executable:
        """Return the executable of the steps, with the `choices` of a plan if there is one to repeat."""

    def take(self, executable: Executable, workload: Workload) -> None:
        """Run the steps of this workload by an executable that somebody else has made, until `give_back`."""

    def give_back(self) -> None:
        """Let go of the executable that was taken, so that the next epoch has one of its own."""

    def rest(self) -> None:
        """Let other fits have the memory that the next one of this runner can fill anew."""

    def place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records | Windows:
        """Return the records on the device, or windows of them if they are in files and too many."""

    def place_records(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        """Return the user's arrays as records on the device, checked."""

    def follow(self, binding: Binding) -> None:
        """Move what is carried from step to step to this place."""

    def state(self) -> State:
        """Return the state at the end of the last epoch."""

    def restore(self, state: State) -> None:
        """Go to another state of this network."""

    def run(
        self,
        data: Records | Windows | Batches,
        pace: Pace,
        *,
        gradient_norm: bool = False,
        middle: Middle | None = None,
        segments: Segments | None = None,
    ) -> EpochTotals:
        """Do one pass over the data, as `EpochRunner.run` says."""

    def run_epochs(self, data: Records, pace: Pace, epochs: int, *, gradient_norm: bool = False) -> list[EpochTotals]:
        """Do what `run` does so many times; what is returned ends before an epoch that diverges."""
