"""Forward, gradient, update and epoch of each backend that can run here, on three sizes of network.

``python -m pytest benchmarks``; add ``--benchmark-json FILE`` to keep every sample.
"""

import pytest

from gdkernels import registry
from gdkernels.bench.workloads import PIECES, Problem, Workload

PROBLEMS = [
    Problem((8, 32, 32, 1), 32, 4096),
    Problem((64, 128, 128, 10), 128, 8192),
    Problem((784, 512, 512, 10), 256, 4096),
]


@pytest.fixture(scope="module", params=list(registry.find()))
def backend(request):
    found = registry.find()[request.param]
    if found.problem is not None:
        pytest.skip(found.problem)
    return found.name


@pytest.fixture(scope="module", params=PROBLEMS, ids=str)
def measured(request, backend):
    workload = Workload(request.param, backend)
    return workload, workload.error()


@pytest.mark.parametrize("piece", PIECES)
def test_throughput(benchmark, measured, piece):
    workload, error = measured
    assert error < 1e-4  # no figure without the proof that the work was done
    run = workload.piece(piece)
    benchmark.group = f"{workload.problem} {piece}"
    benchmark.extra_info |= {
        "backend": workload.binding.backend.name,
        "device": workload.binding.device,
        "precision": workload.binding.precision,
        "origin": workload.executable.origin,
        "error_against_float64": error,
    }
    benchmark(run)
    if benchmark.stats is not None:
        benchmark.extra_info["samples_per_second"] = workload.samples(piece) / benchmark.stats.stats.median
