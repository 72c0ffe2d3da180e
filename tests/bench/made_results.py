"""BenchResults that nobody measured, with figures that are easy to check."""

from dataclasses import replace

from gdkernels.bench.checking import DefinitionCheck
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.results.model import (
    BenchCase,
    BenchResults,
    BenchRow,
    Ceiling,
    FirstCall,
    ProcessSamples,
    SeedRun,
    TargetTraining,
)

CASE = BenchCase((8, 32, 1), 32, 1024)
OURS, THEIRS = Participant("numba", False, threads=2), Participant("torch", True, threads=2)
ENVIRONMENT = {
    "processor": "P",
    "cores": 2,
    "gpus": [],
    "system": "Linux x86_64",
    "python": "CPython 3",
    "versions": {},
}


def repeat(*seconds, error=1e-6):
    before, after = DefinitionCheck(error / 2, 1e-4, "W0"), DefinitionCheck(error, 1e-4, "b1")
    return ProcessSamples(seconds, seconds, (1,) * len(seconds), before, after)


def results(**changes):
    row = BenchRow(
        CASE, "epoch", "resident", OURS, "measured", origin="compiled", plan={"backend": "numba"}, records=1024
    )
    row = replace(row, flops=10**9, bytes_least=10**6, repeats=(repeat(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),))
    slower = replace(row, participant=THEIRS, origin=None, plan=None, repeats=(repeat(0.5, 0.5), repeat(0.7, 0.7)))
    reached = SeedRun(0, (1.0, 2.0), True, 0.5), SeedRun(1, (4.0,), True, 0.4)
    known = BenchResults(
        command="gdkernels bench",
        date="2026-11-21T00:00:00+00:00",
        seconds=12.0,
        settings={},
        environment=ENVIRONMENT,
        rows=(
            row,
            slower,
            replace(row, stage="forward", status="refused", reason="it computes something else", repeats=()),
            BenchRow(CASE, "epoch", "resident", Participant("cupy", False, "none"), "skipped", "there is no driver"),
        ),
        ceilings=(Ceiling(OURS, "product", 64, 5e9), Ceiling(OURS, "layer", 64, 1e10), Ceiling(OURS, "copy", 64, 2e9)),
        first_calls=(FirstCall(CASE, THEIRS, 1.0, None, None, 0.5, 0.25),),
        targets=(
            TargetTraining(CASE, OURS, {"loss": 0.5}, reached),
            TargetTraining(CASE, THEIRS, {"loss": 0.5}, (SeedRun(0, (1.0,), False, None),)),
            TargetTraining(CASE, THEIRS, {"loss": 0.5}, reason="torch is not installed"),
        ),
    )
    return replace(known, **changes)
