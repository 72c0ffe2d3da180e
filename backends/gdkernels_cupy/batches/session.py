"""Memory for a number of models, and the launches and products of their steps, captured as CUDA graphs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.lowering.task import DATA
from gdkernels.system.kept import keep, kept
from gdkernels_cupy.batches.kernels import bound_for_models, models_text
from gdkernels_cupy.batches.layout import BatchLayout, PlannedStep
from gdkernels_cupy.cuda.device import CudaDevice, DeviceMemory, describe
from gdkernels_cupy.graphs.bound_steps import do
from gdkernels_cupy.graphs.calls import CONTROL, calls_of
from gdkernels_cupy.graphs.captured_graphs import CapturedGraphs
from gdkernels_cupy.graphs.launch_shapes import THREADS
from gdkernels_cupy.graphs.operations import BYTES, MatrixProduct
from gdkernels_cupy.graphs.products import Matmul, ProductBatch, UnsupportedProductError, shape_key
from gdkernels_cupy.graphs.session_memory import SUMS, SessionAddresses

__all__ = ["MOST_TOLD", "BatchSession", "ModelRun", "product_key"]

_log = logging.getLogger("gdkernels")

# Algorithms are asked for as for so many models, however many there are: a model's bits do not depend on the others.
_NOMINAL = 64

_BLOCKS = 64  # that move a matrix of a model
MOST_TOLD = 64 << 20  # bytes of orders and numbers that are on the device at a time


@dataclass(frozen=True)
class ModelRun:
    """Epochs of a model.

    Attributes
    ----------
    given, taken
        The addresses of parameters and slots by name: before the run, and where they go.
    sources
        The addresses of the data by name.
    records
        The rows of the data.
    orders
        The rows to use [epochs, records of an epoch].
    table
        The numbers of each step that the host knows, after zero and one [steps of all epochs, numbers].
    """

    given: Mapping[str, int]
    taken: Mapping[str, int]
    sources: Mapping[str, int]
    records: int
    orders: npt.NDArray[np.int64]
    table: npt.NDArray[np.float64]


def product_key(product: MatrixProduct) -> str:
    """Return what the algorithm of a batch of products is chosen for: not how many there are."""
    return f"{shape_key(product)} of models"


class BatchSession:
    """Runs the epochs of at most so many models at once; one run at a time.

    Parameters
    ----------
    algorithms
        Those of products, by what they were chosen for; others are added.

    Raises
    ------
    UnsupportedProductError
        Where cuBLAS has no algorithm for a product.
    """

    def __init__(
        self, device: CudaDevice, layout: BatchLayout, precision: str, models: int, algorithms: dict[str, str]
    ) -> None:
        self._device, self.layout, self.models = device, layout, models
        self._precision, self._algorithms, self._here = precision, algorithms, describe(device.number)
        self._memory = device.allocate(layout.apart * models)
        self._module = device.kernels(models_text(layout.lists))
        self._calls = {step.rows: self._bound(step) for step in layout.steps}
        self._copies = [call for cast in layout.casts for call in self._kernels(cast, layout.full)]
        self._graphs = CapturedGraphs()

    @property
    def bytes(self) -> int:
        """The bytes that it holds."""
        return self._memory.size

    # ---- binding

    def _at(self, step: PlannedStep) -> SessionAddresses:
        return self.layout.addresses(self._memory.address, step)

    def _bound(self, step: PlannedStep) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        for launch in step.launches:
            if isinstance(launch, MatrixProduct):
                found.append(self._product(launch, self._at(step)))
            else:
                found += self._kernels(launch, step)
        return found

    def _kernels(self, launch: Any, step: PlannedStep) -> list[Callable[[], None]]:
        calls = calls_of(launch, step.op_list, self.layout.full.rows, self._at(step))
        return [bound_for_models(call, self._module, self.models, self.layout.apart) for call in calls]

    def _product(self, product: MatrixProduct, at: SessionAddresses) -> Callable[[], None]:
        key, device = product_key(product), self._device
        handle, workspace, stream = device.handle, device.workspace.address, device.stream
        kept_as = json.dumps([self._here, self._precision, key])
        planned = known = self._algorithms.get(key)
        if known is None and isinstance(before := kept("algorithms", kept_as), str):
            known = before
        asked = Matmul(product, self._precision, at, ProductBatch(_NOMINAL, self.layout.apart))
        if not asked.choose(handle, known):
            raise UnsupportedProductError(product, key)
        assert asked.algorithm is not None
        matmul = Matmul(product, self._precision, at, ProductBatch(self.models, self.layout.apart))
        # It runs once, on memory in which nothing is yet: what cublasLt refuses to run must show before training.
        if not matmul.settle(handle, asked.algorithm.hex(), workspace, stream.ptr):
            raise UnsupportedProductError(product, key)
        assert matmul.algorithm is not None
        found = self._algorithms[key] = matmul.algorithm.hex()
        if found != asked.algorithm.hex() or planned not in (None, found):
            _log.warning(
                "the algorithm for the product %s is none for %d models on cuda:%d: bits may differ",
                key, self.models, device.number,
            )  # fmt: skip
        elif found != known:
            keep("algorithms", kept_as, found)
        return lambda: matmul(handle, workspace, stream.ptr)

    # ---- runs

    def run(self, runs: Sequence[ModelRun]) -> npt.NDArray[np.float64]:
        """Do epochs of models, as many for each, and return the sums of E and of the norm [models, epochs, 2].

        Where there is room for more models, the last one is computed several times, and taken once. Nothing of the
        callers' changes if it fails.
        """
        device, models = self._device, len(runs)
        assert 0 < models <= self.models
        filled = [*runs, *[runs[-1]] * (self.models - models)]
        epochs, records = runs[0].orders.shape
        counts = self._counts(records)
        results = np.empty((epochs, self.models, SUMS))
        with device.working():
            there = device.allocate(results.nbytes)
            told = [device.put(np.array([[one.given[n] for n in self._names] for one in filled], np.uint64))]
            moved = device.put(self._moved())
            at_once = self._epochs_at_once(runs[0])
            for first in range(0, epochs, at_once):
                part = slice(first, min(first + at_once, epochs))
                controls, kept = self._put(filled, part)
                self._prepare(controls, counts)
                self._begin(controls)
                if not first:
                    self._move(moved, told[0], self.models, out=False)
                    do(self._copies)
                for epoch in range(part.start, part.stop):
                    self._epoch(counts, there.address + epoch * self.models * SUMS * 8)
                device.stream.synchronize()  # orders and numbers are freed
                del controls, kept
            told.append(device.put(np.array([[one.taken[n] for n in self._names] for one in runs], np.uint64)))
            self._move(moved, told[1], models, out=True)
            device.download(results, there.address)
        return results[:, :models].transpose(1, 0, 2)

    @property
    def _names(self) -> list[str]:
        return list(self.layout.full.op_list.parameters)

    def _counts(self, records: int) -> dict[int, int]:
        """Return the steps of an epoch by their rows."""
        full, *rest = (step.rows for step in self.layout.steps)
        return {full: records // full, **dict.fromkeys(rest, 1)}

    def _epochs_at_once(self, run: ModelRun) -> int:
        steps = len(run.table) // len(run.orders)
        told = 8 * steps * (self.layout.full.rows + run.table.shape[1])
        return max(1, int(MOST_TOLD // (told * self.models)))

    def _put(self, runs: Sequence[ModelRun], part: slice) -> tuple[DeviceMemory, list[DeviceMemory]]:
        """Bring the orders and numbers of some epochs to the device; return the controls, and what they point to."""
        batch, records = self.layout.full.rows, runs[0].orders.shape[1]
        steps, epochs = -(-records // batch), part.stop - part.start
        # Each epoch begins where its first step's batch does.
        orders = np.zeros((len(runs), epochs, steps * batch), np.int64)
        orders[:, :, :records] = [run.orders[part] for run in runs]
        tables = np.stack([run.table[part.start * steps : part.stop * steps] for run in runs])
        there = [self._device.put(orders), self._device.put(tables)]
        controls = []
        for k, run in enumerate(runs):
            order, table = (memory.address + k * memory.size // len(runs) for memory in there)
            sources = [run.sources.get(name, 0) for name in DATA]
            controls.append([0, 0, order, table, run.records, *sources])
        return self._device.put(np.array(controls, np.int64)), there

    def _begin(self, controls: DeviceMemory) -> None:
        at, apart = self._at(self.layout.full), np.int64(self.layout.apart)
        arguments = _p(controls.address), np.int32(len(CONTROL)), _p(at.control), _p(at.sums_at), np.int32(SUMS), apart
        self._launch("begin_run", (1, 1, self.models), arguments)

    def _move(self, moved: DeviceMemory, addresses: DeviceMemory, models: int, *, out: bool) -> None:
        grid = (_BLOCKS, len(self._names), models)
        places = _p(moved.address), _p(addresses.address), _p(self._memory.address)
        self._launch("move", grid, (*places, np.int64(self.layout.apart), np.int32(out)))

    def _moved(self) -> npt.NDArray[np.int64]:
        """Return where parameters and slots lie in a model's memory: their words, and those from row to row."""
        full, found = self.layout.full, []
        for name, buffer in full.op_list.parameters.items():
            words = BYTES[buffer.storage] // 4
            found.append([full.offsets[name], buffer.rows, buffer.columns * words, buffer.pitch * words])
        return np.array(found, np.int64)

    def _epoch(self, counts: Mapping[int, int], results: int) -> None:
        for rows, count in counts.items():
            for size, times in self._graphs.parts(count, len(self._calls[rows])):
                for _ in range(times):
                    self._graphs[rows, size].launch(self._device.stream)
        at = self._at(self.layout.full)
        arguments = _p(at.sums_at), np.int32(SUMS), _p(results), np.int64(self.layout.apart)
        self._launch("end_epoch", (1, 1, self.models), arguments)

    def _launch(self, name: str, grid: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
        self._module.get_function(f"models_{name}")(grid, (THREADS, 1), arguments)

    def _prepare(self, controls: DeviceMemory, counts: Mapping[int, int]) -> None:
        """Capture what is not captured yet; each list runs once before, so that all its kernels are loaded."""

        def once(missing: list[int]) -> None:
            for rows in missing:
                self._begin(controls)
                do(self._calls[rows])
            self._device.stream.synchronize()

        def capture(rows: int, count: int) -> Any:
            return self._device.captured([partial(do, self._calls[rows])] * count)

        nodes = {rows: len(calls) for rows, calls in self._calls.items()}
        self._graphs.prepare(counts, nodes, once, capture)


def _p(address: int) -> np.uint64:
    return np.uint64(address)
