"""The best that the device can do, and the costs of the parts of a step: medians of repeats."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu.cases import GPUCase

__all__ = ["copy_bandwidth", "epilogues", "graph_nodes", "product_rate"]

_REPEATS = 9


def seconds_of(work: Callable[[], Any], synchronize: Callable[[], Any], repeats: int = _REPEATS) -> float:
    """Return the median of the seconds that `work` takes, the device's included; the first time is left out."""
    times = []
    for _ in range(repeats + 1):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def copy_bandwidth(size: int = 1 << 30) -> dict[str, float]:
    """Return the bytes read and written in a second by a copy on the device."""
    from gdkernels_cupy.cuda.device import device

    gpu = device(0)
    source, target = gpu.allocate(size), gpu.allocate(size)
    row = 1 << 16
    passed = seconds_of(
        lambda: gpu.copy_rows(target.address, row, source.address, row, row, size // row), gpu.stream.synchronize
    )
    return {"bytes a second": 2 * size / passed}


def product_rate(precision: str, size: int = 8192) -> dict[str, float]:
    """Return the FLOP/s of the product of two square matrices: what a step is measured against."""
    from gdkernels_cupy.graphs.operations import MatrixProduct, matrix

    storage = {"float64": "float64", "bfloat16": "bfloat16"}.get(precision, "float32")
    result = "float32" if storage == "bfloat16" else storage
    a, b, c = (matrix(n, size, size, s) for n, s in (("a", storage), ("b", storage), ("c", result)))
    passed = _launched([MatrixProduct(a, b, c)], precision)
    return {"flops a second": 2 * size**3 / passed}


def graph_nodes(counts: tuple[int, ...] = (1, 10, 100, 1000), launches: int = 20) -> dict[str, Any]:
    """Return the seconds of a graph with so many nodes: of the smallest kernel, and of a small product."""
    from gdkernels_cupy.graphs.operations import MatrixProduct, RecordNumbers, matrix

    a, b, c = (matrix(name, 64, 64, "float32") for name in "abc")
    return {
        kind: {str(n): _launched([operation] * n, "float32", launches) for n in counts}
        for kind, operation in (("kernel", RecordNumbers((0, 1))), ("product of 64", MatrixProduct(a, b, c)))
    }


def epilogues(case: GPUCase) -> dict[str, float]:
    """Return the seconds of a step with all epilogues that are believed, with all but one, and with none."""
    from gdkernels_cupy import CuPyBackend
    from gdkernels_cupy.graphs.probe import trusted_epilogues

    from gdkernels.backend import Plan, storage_dtype
    from gdkernels.backend.verification import start

    backend, task, found = CuPyBackend(), case.task, {}
    trusted = trusted_epilogues(0, case.precision)
    pairs = [("all", trusted), ("none", ())]
    matter = [kind for kind in trusted if "gelu" not in kind]  # the rows of the grid take relu
    pairs += [(f"all but {kind}", tuple(e for e in trusted if e != kind)) for kind in matter]

    def put(a: Any) -> Any:
        return backend.asarray(np.asarray(a), dtype=storage_dtype(case.precision), device="cuda:0")

    x, y = map(put, task.data())
    steps = 10 * (task.records // task.batch)
    order = np.tile(np.arange(task.records), 10)
    for name, wished in pairs:
        choices = {"kernel": "graphs", "epilogues": wished}
        executable = backend.compile(task.program(), Plan("cupy", "cuda:0", case.precision, choices))
        assert executable is not None
        state = start(task.program(), task.parameters(), put)

        def run(executable: Any = executable, state: Any = state) -> None:
            executable.run(state, x, y, order, task.batch, np.full(steps, 1e-6))

        found[name] = seconds_of(run, lambda: backend.synchronize("cuda:0"), 5) / steps
    return found


def _launched(operations: list[Any], precision: str, launches: int = 1) -> float:
    """Return the seconds of a graph that is this list."""
    from gdkernels_cupy.cuda.device import device
    from gdkernels_cupy.graphs import operations as ops
    from gdkernels_cupy.graphs.calls import calls_of
    from gdkernels_cupy.graphs.interpret import to_bfloat16
    from gdkernels_cupy.graphs.jobs import fixed_source
    from gdkernels_cupy.graphs.operations import OperationList
    from gdkernels_cupy.graphs.products import Matmul
    from gdkernels_cupy.graphs.session_memory import SessionAddresses
    from gdkernels_cupy.graphs.source import preamble

    gpu = device(0)
    buffers = {b.name: b for op in operations if isinstance(op, ops.MatrixProduct) for b in (op.left, op.right, op.out)}
    offsets, size = {}, 0
    for name, buffer in buffers.items():
        offsets[name], size = size, size + -(-buffer.bytes // 256) * 256
    memory, numbers = gpu.allocate(size), gpu.allocate(SessionAddresses.bytes(2))
    gpu.upload(numbers.address, np.zeros(SessionAddresses.bytes(2), np.uint8))
    at = SessionAddresses(memory.address, offsets, numbers.address, 2)
    random = np.random.default_rng(0)
    for buffer in buffers.values():  # of zeros, products take less power and less time
        drawn = random.standard_normal(buffer.rows * buffer.pitch, np.float32)
        gpu.upload(at.of(buffer), to_bfloat16(drawn) if buffer.storage == "bfloat16" else drawn.astype(buffer.storage))
    op_list = OperationList((), tuple(buffers.values()), {}, {}, (), 2)
    module = gpu.kernels(preamble() + fixed_source())
    work: list[Callable[[], None]] = []
    with gpu.stream:
        for op in operations:
            if isinstance(op, ops.MatrixProduct):
                matmul = Matmul(op, precision, at)
                assert matmul.choose(gpu.handle, None), "cuBLAS has no such product"
                work.append(lambda m=matmul: m(gpu.handle, gpu.workspace.address, gpu.stream.ptr))  # type: ignore[misc]
            else:
                for call in calls_of(op, op_list, 1, at):
                    kernel, shape = module.get_function(call.name), call.shape
                    work.append(lambda k=kernel, s=shape, a=call.arguments: k(s.grid, s.block, a))  # type: ignore[misc]
        for one in work:  # what has never run may not be captured
            one()
        gpu.stream.synchronize()
        graph = gpu.captured(work)

        def launch() -> None:
            for _ in range(launches):
                graph.launch(gpu.stream)

        return seconds_of(launch, gpu.stream.synchronize) / launches
