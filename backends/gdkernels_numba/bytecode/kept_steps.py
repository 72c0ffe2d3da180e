"""The bound steps of an executable, and small ones that wait for the next executable of the same program."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import ClassVar

from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.plan import StepChoices

__all__ = ["KeptSteps"]

_MOST_IDLE = 8
_MOST_BYTES = 1 << 20  # of one that waits


class KeptSteps:
    """Bound steps by what they are for.

    To write the streams of a small step takes as long as to train it for some epochs. So when nobody has it any more, a
    step of one thread waits for another executable that needs the same: the next model of a loop, or the next search.
    """

    _idle: ClassVar[OrderedDict[Hashable, BoundStep]] = OrderedDict()

    def __init__(self) -> None:
        self.by_use: dict[tuple[Hashable, ...], BoundStep] = {}

    @classmethod
    def bound(cls, task: ScheduledTask, kernels: Kernels, sizes: Mapping[str, int], choices: StepChoices) -> BoundStep:
        """Return a bound step that nobody else has."""
        found = cls._idle.pop(_key(task, kernels, sizes, choices), None)
        return BoundStep(task, kernels, sizes, choices) if found is None else found

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be about to end
            for bound in self.by_use.values():
                if bound.is_of_one_thread and bound.memory.nbytes <= _MOST_BYTES:
                    bound.let_go()
                    self._idle[_key(bound.task, bound.kernels, bound.sizes, bound.choices)] = bound
            while len(self._idle) > _MOST_IDLE:
                self._idle.popitem(last=False)


def _key(task: ScheduledTask, kernels: Kernels, sizes: Mapping[str, int], choices: StepChoices) -> Hashable:
    return id(task), kernels.format, *sorted(kernels.loops.items()), *sorted(sizes.items()), choices
