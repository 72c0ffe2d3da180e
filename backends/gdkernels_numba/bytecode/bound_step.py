"""A task with memory of its own, ready to run for some sizes."""

import threading
import weakref
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.scalars import ScalarTable
from gdkernels.lowering.schedule import PREDICTION
from gdkernels.lowering.task import ScheduledTask
from gdkernels_numba.bytecode.arena import Arena, Matrix, allocate, panels_of
from gdkernels_numba.bytecode.contexts import context_of
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.step_streams import write_streams
from gdkernels_numba.bytecode.turn_state import TurnState
from gdkernels_numba.bytecode.workspace import Workspace
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.cpu.addresses import address_of
from gdkernels_numba.plan import StepChoices
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import TOTALS
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["BoundStep"]

# The words of a context that differ between runs, in the order in which a run tells them.
_DIFFERS = [CONTEXT.order, CONTEXT.records, CONTEXT.steps, CONTEXT.scalars, CONTEXT.epochs, CONTEXT.results]

_MOST_WORKSPACES = 64  # that wait for threads

Array = npt.NDArray[Any]


class BoundStep:
    """A task with its memory and instruction streams; it runs once at a time.

    Parameters
    ----------
    sizes
        The value of each dimension, by its name; "B" is that of a full batch.
    whole_gradients
        Whether every gradient has a place of its own, for a caller that changes them before the update.
    """

    def __init__(
        self,
        task: ScheduledTask,
        kernels: Kernels,
        sizes: Mapping[str, int],
        choices: StepChoices,
        *,
        whole_gradients: bool = False,
    ) -> None:
        self.task, self.kernels, self.sizes, self.choices = task, kernels, sizes, choices
        whole = whole_gradients
        self._memory, self._base = allocate(self.measure(task, kernels, sizes, choices, whole_gradients=whole))
        arena = Arena(kernels.format, self._base)
        self.layout = StepLayout(task, sizes, choices, kernels.format, arena, whole_gradients=whole)
        self._scalars = ScalarTable(self.layout.numbers.scalars)
        self._sizes: dict[str, npt.NDArray[np.float64] | float] = {name: float(n) for name, n in sizes.items()}
        self.writers = [InstructionWriter(self.layout, kernels, k) for k in range(self.layout.contexts)]
        self._kept_bounds = write_streams(self.writers, self.choices)
        self._streams = [
            {id(stream): self._in_bank(bank, stream.array()) for writer in self.writers for stream in writer.streams}
            for bank in range(2 if self.layout.shift else 1)
        ]
        self._totals = np.frombuffer(self._memory, np.float64, TOTALS, self.layout.results - self._memory.ctypes.data)
        words = self.layout.turn_bytes // WORD
        turns = np.frombuffer(self._memory, np.int64, words, self.layout.turns - self._memory.ctypes.data)
        self._turns = TurnState(turns, self.layout.claims)
        self._of_one_epoch = np.empty((1, TOTALS))  # addresses take a while to ask for
        self._address_of_one = self._of_one_epoch.ctypes.data
        banks = range(len(self._streams))
        cleared = self.layout.gradients.cleared
        self._cleared = [self._bytes(matrix, self.layout.shift * k) for matrix in cleared for k in banks]
        self._addresses = np.zeros(self.layout.contexts * len(banks), np.int64)
        self._contexts = np.array([self._context(k, bank) for bank in banks for k in range(self.layout.contexts)])
        self._addresses[:] = self._contexts.ctypes.data + self._contexts.strides[0] * np.arange(len(self._contexts))
        self._told: tuple[int, ...] = ()
        self._rows: tuple[Array, Array] | None = None
        self._jobs = [partial(kernels.interpreter, int(address)) for address in self._addresses[: choices.threads]]
        self._patches: dict[str, list[tuple[Array, int, int]]] = {}
        for streams, writer in product(self._streams, self.writers):
            for stream, word, name, offset in writer.patches:
                self._patches.setdefault(name, []).append((streams[id(stream)], word, offset))
        self._last: dict[str, weakref.ref[Array]] = {}
        self._lock = threading.Lock()
        self._workspaces: list[Workspace] = []

    def _bytes(self, matrix: Matrix, shift: int) -> Array:
        count = panels_of(matrix.columns, self.kernels.format) * matrix.panel
        return np.frombuffer(self._memory, np.uint8, count, matrix.address + shift - self._memory.ctypes.data)

    def _in_bank(self, bank: int, stream: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a stream whose addresses are those of a bank: they alone are numbers as large."""
        first, stop = self.layout.bank
        return stream + bank * self.layout.shift * ((first <= stream) & (stream < stop))

    @staticmethod
    def measure(
        task: ScheduledTask,
        kernels: Kernels,
        sizes: Mapping[str, int],
        choices: StepChoices,
        *,
        whole_gradients: bool = False,
    ) -> int:
        """Return how many bytes it needs."""
        arena = Arena(kernels.format)
        StepLayout(task, sizes, choices, kernels.format, arena, whole_gradients=whole_gradients)
        return arena.size

    def _context(self, number: int, bank: int) -> npt.NDArray[np.int64]:
        streams = self._streams[bank]
        return context_of(
            self.writers[number],
            self.choices,
            lambda stream: streams[id(stream)].ctypes.data,
            contexts=self._addresses.ctypes.data,
            bank=bank,
            banks=len(self._streams),
            barriers=self.writers[0].barriers,
        )

    # ---- for threads that each run it on their own

    @property
    def is_of_one_thread(self) -> bool:
        """Whether one thread does it, and `workspace` makes copies for others."""
        return self.choices.threads == 1

    def arrays_in_order(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return those of the caller's arrays that streams use, in the order that a workspace numbers them."""
        return [arrays[name] for name in self._patches]

    def let_go(self) -> None:
        """Forget what the last run was about."""
        self._last.clear()

    def take_workspace(self) -> Workspace:
        """Return a copy with memory of its own, for `give_workspace`."""
        try:
            return self._workspaces.pop()
        except IndexError:
            return self._workspace()

    def give_workspace(self, workspace: Workspace) -> None:
        """Take a workspace back, for the next who needs one."""
        if len(self._workspaces) < _MOST_WORKSPACES:
            self._workspaces.append(workspace)

    def _workspace(self) -> Workspace:
        assert self.is_of_one_thread
        (streams,) = self._streams
        patches = [(*one, k) for k, places in enumerate(self._patches.values()) for one in places]
        size = self._memory.ctypes.data + self._memory.size - self._base
        told = ((stream, word, k, offset) for stream, word, offset, k in patches)
        return Workspace(self._base, size, self._contexts, list(streams.values()), told)

    # ---- for a caller that runs its own streams in this memory

    @property
    def memory(self) -> Array:
        """The bytes of everything that it has."""
        return self._memory

    @property
    def context(self) -> npt.NDArray[np.int64]:
        """A copy of what the first thread's interpreter is given."""
        copied: npt.NDArray[np.int64] = self._contexts[0].copy()
        return copied

    def patch(self, arrays: Mapping[str, Array], places: Mapping[str, int] | None = None) -> None:
        """Have the streams read the caller's arrays, or what begins so many bytes further on in them."""
        self._patch(arrays)
        for name, further in (places or {}).items():
            address = address_of(arrays[name]) + further
            for stream, word, offset in self._patches.get(name, ()):
                stream[word] = address + offset

    def numbers(self, scalars: dict[str, npt.NDArray[np.float64] | float], steps: int) -> Array | None:
        """Return the numbers that differ between steps, [steps, numbers]; None if there are none."""
        return self._numbers(scalars, steps)

    # ---- runs

    def _patch(self, arrays: Mapping[str, Array]) -> None:
        """Write the addresses of the caller's arrays into the streams, unless they are those of the last run.

        The caller's records are not kept alive. An array that is gone is none of the new ones, even if one of them has
        its address.
        """
        last = self._last
        for name, array in arrays.items():
            if name in last and last[name]() is array:
                continue
            address, last[name] = address_of(array), weakref.ref(array)
            for stream, word, offset in self._patches.get(name, ()):
                stream[word] = address + offset

    def run(
        self,
        arrays: Mapping[str, Array],
        order: npt.NDArray[np.int64] | None,
        records: int,
        times: tuple[int, int],
        scalars: dict[str, npt.NDArray[np.float64] | float],
    ) -> npt.NDArray[np.float64]:
        """Run on the arrays of the caller, C-contiguous and of this precision, by the names of the inputs.

        Parameters
        ----------
        order
            The rows to use, epoch after epoch; None uses all, from the first to the last.
        records
            The number of rows that an epoch uses.
        times
            The numbers of epochs, and of the steps of each.
        scalars
            The numbers that differ between steps, for each step.

        Returns
        -------
        array
            The sums over the steps of each epoch of E and of the gradient's norm: [epochs, 2].
        """
        epochs, steps = times
        with self._lock:
            self._patch(arrays)
            numbers = self._numbers(scalars, epochs * steps)
            results = self._of_one_epoch if epochs == 1 else np.empty((epochs, TOTALS))
            address = self._address_of_one if epochs == 1 else address_of(results)
            results[:] = self._totals[:] = 0.0
            rows = 0 if order is None else address_of(order)
            self._tell(rows, records, steps, 0 if numbers is None else address_of(numbers), epochs, address)
            for gradient in self._cleared:  # a run that was given up may have left something
                gradient[:] = 0
            self._turns.run(self._jobs)
            return results.copy() if epochs == 1 else results

    def predict(self, parameters: Mapping[str, Array], x: Array) -> Array:
        """Return the predictions of a few rows, which go through arrays of its own: to find addresses takes longer."""
        rows = len(x)
        with self._lock:
            own_x, own_y = self._own(x.shape[1])
            own_x[:rows] = x
            self._patch({**parameters, "x": own_x, PREDICTION: own_y})
            numbers = self._numbers({"B": float(rows)}, 1)
            self._tell(0, rows, 1, 0 if numbers is None else address_of(numbers), 1, self._address_of_one)
            self._turns.run(self._jobs)
            return own_y[:rows].copy()

    def _own(self, columns: int) -> tuple[Array, Array]:
        """Return rows of its own, as many as it is bound to, and their predictions."""
        if self._rows is None:
            output, rows, dtype = self.task.output, self.sizes["B"], self.kernels.format.dtype
            assert output is not None, "a training has no predictions"
            self._rows = np.empty((rows, columns), dtype), np.empty((rows, self.layout.forms.size(output, 1)), dtype)
        return self._rows

    def _tell(self, *told: int) -> None:
        """Write what differs between runs into the contexts, in the order of `_DIFFERS`."""
        if told != self._told:
            self._contexts[:, _DIFFERS] = self._told = told

    def _numbers(
        self, scalars: dict[str, npt.NDArray[np.float64] | float], steps: int
    ) -> npt.NDArray[np.float64] | None:
        """Return the numbers that differ between steps, for each step; predictions have none."""
        if not self.layout.numbers.scalars:
            return None
        return self._scalars.values(self._sizes | scalars, steps)
