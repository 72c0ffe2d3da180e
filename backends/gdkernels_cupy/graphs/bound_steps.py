"""A list of operations as calls: each kernel and product with its addresses, ready to launch or to capture."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

from gdkernels.system.cached_property import cached_property
from gdkernels.system.kept import keep, kept
from gdkernels_cupy.cuda.device import CudaDevice, describe
from gdkernels_cupy.cuda.nccl import NcclRanks
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import KernelCall, address_of, calls_of, next_batch
from gdkernels_cupy.graphs.grouping import Launch, grouped
from gdkernels_cupy.graphs.memory_plan import NEXT
from gdkernels_cupy.graphs.operations import OperationList
from gdkernels_cupy.graphs.products import Matmul, UnsupportedProductError, shape_key
from gdkernels_cupy.graphs.session_memory import SessionAddresses

__all__ = ["BoundSteps", "StepBinder", "bound_call", "do"]

_log = logging.getLogger("gdkernels")

_REPEATS, _RUNS, _TIMED_SECONDS = (
    4,
    20,
    5e-4,
)  # of a product that is timed: the first repeat only says how long it takes


@dataclass(frozen=True)
class BoundSteps:
    """The calls of a step, for even and odd steps: those that gather ahead of it, and the rest."""

    gathers: tuple[list[Callable[[], None]], ...]
    rest: tuple[list[Callable[[], None]], ...]


class StepBinder:
    """Binds lists of operations to a device.

    Parameters
    ----------
    batch
        The records of a full batch.
    algorithms
        Those of products, by what they were chosen for; others are added.
    streamed
        Whether each step gathers the batch of the next.
    timed
        Whether the fastest of several algorithms is taken, rather than the first that cublasLt names, which is the same
        for all ranks.
    carrier
        What carries the sums of a step between ranks.

    Attributes
    ----------
    products
        What the algorithms of the products so far are kept under.
    """

    def __init__(
        self,
        device: CudaDevice,
        precision: str,
        batch: int,
        algorithms: dict[str, str],
        *,
        streamed: bool,
        timed: bool = True,
        carrier: NcclRanks | None = None,
    ) -> None:
        self._device, self._precision, self._batch = device, precision, batch
        self._algorithms, self._streamed = algorithms, streamed
        self._timed, self._carrier = timed, carrier
        self.products: set[str] = set()

    def bound(self, op_list: OperationList, at: SessionAddresses, module: Any) -> BoundSteps:
        """Return the calls of a step.

        Raises
        ------
        UnsupportedProductError
            Where cuBLAS has no algorithm for a product.
        """
        launches = grouped(op_list, streamed=self._streamed)
        if not self._streamed:
            return BoundSteps(([],), (self._bound_list(op_list, launches, at, module),))
        gathers, rest = [], []
        for suffix in ("", NEXT):
            here = replace(at, suffix=suffix)
            ahead = replace(here, ahead=True)
            first = bound_call(next_batch(self._batch, ahead), module)
            fetched = [op for op in launches if isinstance(op, ops.GatherRows)]
            gathers.append([first, *self._bound_list(op_list, fetched, ahead, module)])
            others = [op for op in launches if not isinstance(op, ops.GatherRows)]
            rest.append(self._bound_list(op_list, others, here, module))
        return BoundSteps(tuple(gathers), tuple(rest))

    def _bound_list(
        self, op_list: OperationList, launches: Iterable[Launch], at: SessionAddresses, module: Any
    ) -> list[Callable[[], None]]:
        bound: list[Callable[[], None]] = []
        for launch in launches:
            if isinstance(launch, ops.MatrixProduct):
                bound.append(self._bound_product(launch, at))
            elif isinstance(launch, ops.ExchangeSpans | ops.GatherSpans):
                bound.append(self._carried(launch, at))
            else:
                bound += [bound_call(call, module) for call in calls_of(launch, op_list, self._batch, at)]
        return bound

    def _carried(self, operation: ops.ExchangeSpans | ops.GatherSpans, at: SessionAddresses) -> Callable[[], None]:
        carrier = self._carrier
        assert carrier is not None, "one rank exchanges nothing"
        if isinstance(operation, ops.GatherSpans):
            mine, whole = (address_of(span, at) for span in (operation.mine, operation.target))
            return partial(carrier.gather, mine, operation.mine.bytes, whole)
        sent, received = (
            [(rank, address_of(span, at), span.bytes) for rank, span in spans]
            for spans in (operation.sent, operation.received)
        )
        return partial(carrier.exchange, sent, received)

    def _bound_product(self, product: ops.MatrixProduct, at: SessionAddresses) -> Callable[[], None]:
        key = shape_key(product)
        self.products.add(key)
        matmul, known = Matmul(product, self._precision, at), self._algorithms.get(key)
        kept_as = json.dumps([self._described, self._precision, key])
        if known is None and self._timed and isinstance(before := kept("algorithms", kept_as), str):
            known = before
        handle, workspace, stream = self._device.handle, self._device.workspace.address, self._device.stream
        # It runs once, on memory in which nothing is yet: what cublasLt refuses to run must show before training.
        if not matmul.settle(handle, known, workspace, stream.ptr):
            raise UnsupportedProductError(product, key)
        if known is None and self._timed:
            matmul.take_fastest(lambda: matmul(handle, workspace, stream.ptr), self._seconds)
        assert matmul.algorithm is not None
        if known is None and self._timed:
            keep("algorithms", kept_as, matmul.algorithm.hex())
        self._algorithms[key] = matmul.algorithm.hex()
        if known not in (None, self._algorithms[key]):
            _log.warning(
                "the plan's algorithm for the product %s is none of cuda:%d: another is taken, and bits may differ",
                key,
                self._device.number,
            )
        return lambda: matmul(handle, workspace, stream.ptr)

    @cached_property
    def _described(self) -> dict[str, Any]:
        return describe(self._device.number)

    def _seconds(self, run: Callable[[], None]) -> float:
        """Return what a product takes: the median of a few repeats, of several runs each if it takes little."""
        self._device.stream.synchronize()
        count, found = 1, []
        for _ in range(_REPEATS):
            began = perf_counter()
            for _ in range(count):
                run()
            self._device.stream.synchronize()
            found.append((perf_counter() - began) / count)
            count = max(1, min(_RUNS, int(_TIMED_SECONDS / max(found[-1], 1e-9))))
        return statistics.median(found[1:])


def bound_call(call: KernelCall, module: Any) -> Callable[[], None]:
    """Return the launch of a kernel of this module."""
    kernel = module.get_function(call.name)
    grid, block, arguments = call.shape.grid, call.shape.block, call.arguments
    return lambda: kernel(grid, block, arguments)


def do(calls: Iterable[Callable[[], None]]) -> None:
    """Call each."""
    for call in calls:
        call()
