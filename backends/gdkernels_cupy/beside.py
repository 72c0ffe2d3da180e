"""The ways in which a model trains beside others: on a CTA of its own, or as one of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gdkernels.backend import Executable, Plan
from gdkernels.backend.program import Program
from gdkernels.checking.ways import Way
from gdkernels.errors import BackendError, ScheduleError, TraceError
from gdkernels_cupy.batches.checked import BetweenOthers
from gdkernels_cupy.batches.executable import PLAN_BATCHES, BatchedExecutable
from gdkernels_cupy.cuda.errors import DeviceFailedError, DeviceMemoryError, as_backend_errors
from gdkernels_cupy.many.executable import OwnCtaExecutable
from gdkernels_cupy.many.groups import PLAN_MANY
from gdkernels_cupy.persistent.executable import PLAN_KERNEL
from gdkernels_cupy.persistent.launch_device import LaunchDevice
from gdkernels_cupy.persistent.proof import unproven

__all__ = ["BATCHED", "BesideOthers", "SharedBeside", "is_beside_others"]

_OWN_WAY = "a CTA for each model"
BATCHED = ("batches of models", "batches of models without epilogues")


_ALONE = (
    "no other differs from it in numbers alone, such as rates, and has its batch size and as many records to train on"
)


@dataclass
class SharedBeside:
    """What models share whose programs differ in numbers alone.

    Attributes
    ----------
    own
        What trains each of them on a CTA of its own, or why none does; None before anybody has asked.
    batched
        What trains them as a batch, with and without epilogues of products, once somebody has asked.
    """

    own: OwnCtaExecutable | str | None = None
    batched: dict[bool, BatchedExecutable] = field(default_factory=dict)


class BesideOthers:
    """The ways for one program, where its plan is that of a model beside others.

    Parameters
    ----------
    predictor
        Predicts; these ways only train.
    open_device
        Returns the device of the persistent kernel.
    """

    def __init__(
        self,
        program: Program,
        plan: Plan,
        number: int,
        predictor: Executable,
        open_device: Callable[[], LaunchDevice],
        shared: SharedBeside,
    ) -> None:
        self._program, self._wished, self._number = program, plan, number
        self._predictor, self._open_device, self._shared = predictor, open_device, shared
        self._batched: dict[bool, BatchedExecutable] = {}  # of this program

    @property
    def wanted(self) -> bool:
        """Whether the plan is that of a model beside others."""
        return bool(self._wished.choices.get(PLAN_MANY))

    @property
    def is_there(self) -> bool:
        """Whether there is a way at all, unless it turns out wrong."""
        return self.wanted and (self._batches or self._own is not None)

    def ways(self, batch_size: int) -> Iterator[Way]:
        """Yield the ways for batches of this size, the fastest first."""
        if not self.wanted:
            return
        yield from self._own_way(batch_size)
        if self._batches:
            for name, plain in zip(self._batched_names, (False, True), strict=False):
                yield self._batched_way(name, plain=plain)

    def why(self, passed_over: Mapping[str, str], last: Executable, otherwise: Callable[[], str]) -> str:
        """Return in words how the model trains, and why.

        Parameters
        ----------
        passed_over
            The reasons against ways, by their names.
        last
            What has run; before the first run, anything else.
        otherwise
            Returns what runs where there is no way beside others.
        """
        no_cta = passed_over.get(_OWN_WAY) if self._own is not None else self._shared.own
        if no_cta is None:
            return "each model has a CTA of its own"
        kernel = self._wished.choices.get("kernel")
        told = "the plan asks for it" if kernel == PLAN_BATCHES else f"no CTA has one of its own ({no_cta})"
        problem = self._no_batch(passed_over)
        if problem is not None:
            return f"one model after the other, as {told}, and there are no batches ({problem}): {otherwise()}"
        beside = last.beside if isinstance(last, BatchedExecutable) else 0
        if beside == 1:
            return f"a batch of one model, as {told}: {_ALONE}"
        return f"{beside or 'the'} models of one structure are a batch, as {told}"

    def _no_batch(self, passed_over: Mapping[str, str]) -> str | None:
        """Return why there are no batches; None if there are."""
        if not self._batches:
            return f"the plan asks for {self._wished.choices.get('kernel')}"
        left = [name for name in self._batched_names if name not in passed_over]
        return None if left else passed_over[self._batched_names[0]]

    # ---- a CTA

    @property
    def _own(self) -> OwnCtaExecutable | None:
        if self._shared.own is None:
            self._shared.own = self._made_own()
        found = self._shared.own
        return None if isinstance(found, str) else found.with_program(self._program)

    def _own_way(self, batch_size: int) -> Iterator[Way]:
        own = self._own
        if own is None:
            return
        try:
            checked, batch = own.to_check(batch_size)
        except ScheduleError as reason:  # whatever is tried, the compiler spills registers
            self._shared.own = str(reason)
        else:
            yield Way(_OWN_WAY, own, checked, batch, checked[0].identity)

    def _made_own(self) -> OwnCtaExecutable | str:
        """Return what trains a model on a CTA of its own, or why none does."""
        wished = self._wished.choices.get("kernel", PLAN_KERNEL)
        if wished != PLAN_KERNEL:
            return f"the plan asks for {wished}"
        reason = unproven(self._wished.precision, self._number)
        if reason is not None:
            return reason
        try:
            with as_backend_errors(f"cuda:{self._number}"):
                return OwnCtaExecutable(self._program, self._wished, self._open_device(), self._predictor)
        except (DeviceFailedError, DeviceMemoryError):
            raise
        except (TraceError, ScheduleError, BackendError) as reason:
            return str(reason)

    # ---- a batch

    @property
    def _batches(self) -> bool:
        """Whether the plan leaves batches open; what CUDA graphs run, they can."""
        return self.wanted and self._wished.choices.get("kernel", PLAN_BATCHES) == PLAN_BATCHES

    @property
    def _batched_names(self) -> tuple[str, ...]:
        return BATCHED[:1] if self._wished.choices.get("epilogues") == () else BATCHED

    def _batched_way(self, name: str, *, plain: bool) -> Way:
        if plain not in self._shared.batched:
            plan = replace(self._wished, choices={**self._wished.choices, "epilogues": ()}) if plain else self._wished
            self._shared.batched[plain] = BatchedExecutable(self._program, plan, self._number, self._predictor)
        if plain not in self._batched:
            found = self._shared.batched[plain].with_program(self._program)
            assert found is not None, "they differ in numbers alone"
            self._batched[plain] = found
        found = self._batched[plain]
        checked = tuple(BetweenOthers(found, place) for place in (0, 2))
        return Way(name, found, checked, identity=found.identity)


def is_beside_others(executable: Executable) -> bool:
    """Return whether an executable does its jobs beside those of other models."""
    return isinstance(executable, (OwnCtaExecutable, BatchedExecutable))
