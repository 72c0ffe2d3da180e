"""Forward, gradient, update and epoch of each backend, device and precision that can run here, on several networks.

``python -m pytest benchmarks --quick``; add ``--benchmark-json FILE`` to keep every sample.
"""

from functools import cache
from typing import Any

import pytest

from gdkernels.backend import PRECISIONS
from gdkernels.bench.checking import Checker
from gdkernels.bench.measuring.planning import SWEEP, case_of
from gdkernels.bench.participants.costs import cost_of
from gdkernels.bench.participants.stages import STAGES, BackendStages, PlacedStage
from gdkernels.dispatch import registry

QUICK = SWEEP[1], SWEEP[3]

Where = tuple[str, str, str]  # backend, device, precision
Shape = tuple[tuple[int, ...], int, str]  # the sizes of the layers, the batch, and what is made of them


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "where" not in metafunc.fixturenames:
        return
    quick = metafunc.config.getoption("--quick")
    where = [
        (found.name, device, precision)
        for found in registry.find().values()
        for device in found.devices or ("none",)
        for precision in (("float32",) if quick else PRECISIONS)
    ]
    metafunc.parametrize("where", where, ids=" ".join, scope="module")
    metafunc.parametrize("shape", QUICK if quick else SWEEP, ids=lambda s: str(case_of(*s).case), scope="module")


@cache
def checker_of(shape: Shape) -> Checker:
    return Checker(case_of(*shape).task)


@pytest.fixture(scope="module")
def stages(where: Where, shape: Shape) -> BackendStages:
    backend, device, precision = where
    found = registry.find()[backend]
    if found.backend is None or found.problem is not None:
        pytest.skip(str(found.problem))
    if precision not in found.backend.precisions:
        pytest.skip(f"{backend} cannot do {precision}")
    made = BackendStages(case_of(*shape).task, backend, device=device, precision=precision)
    made.bind()
    return made


@pytest.mark.parametrize("stage", STAGES)
def test_throughput(benchmark: Any, stages: BackendStages, where: Where, shape: Shape, stage: str) -> None:
    timed = stages.stage(PlacedStage(stage))
    start = timed.start()
    timed.launch()
    timed.wait()
    check = checker_of(shape).check(stage, where[2], start, timed.results())
    assert check.holds, check  # no figure without the check that the work was done

    def run() -> None:
        timed.launch()
        timed.wait()

    made = case_of(*shape)
    case, task = made.case, made.task
    benchmark.group = f"{case} {stage} {where[2]}"
    benchmark.extra_info |= {
        "backend": where[0],
        "device": where[1],
        "precision": where[2],
        "origin": stages.origin_of(stage),
        "error_against_float64": check.error,
    }
    benchmark(run)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        records = task.records if stage == "epoch" else task.batch
        benchmark.extra_info["samples_per_second"] = records / seconds
        benchmark.extra_info["flops_per_second"] = cost_of(task, stage, where[2]).flops / seconds
