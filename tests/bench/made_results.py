"""Results that nobody measured, with figures that are easy to check."""

from dataclasses import replace

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.checking import Proof
from gdkernels.bench.results.rows import Case, Ceiling, FirstCall, Repeat, Results, Row, Run, Target

CASE = Case((8, 32, 1), 32, 1024)
OURS, THEIRS = Contender("numba", False, threads=2), Contender("torch", True, threads=2)
ENVIRONMENT = {
    "processor": "P",
    "cores": 2,
    "gpus": [],
    "system": "Linux x86_64",
    "python": "CPython 3",
    "versions": {},
}


def repeat(*seconds, error=1e-6):
    return Repeat(seconds, seconds, (1,) * len(seconds), Proof(error / 2, 1e-4, "W0"), Proof(error, 1e-4, "b1"))


def results(**changes):
    row = Row(CASE, "epoch", "resident", OURS, "measured", origin="compiled", plan={"backend": "numba"}, records=1024)
    row = replace(row, flops=10**9, bytes_least=10**6, repeats=(repeat(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),))
    slower = replace(row, contender=THEIRS, origin=None, plan=None, repeats=(repeat(0.5, 0.5), repeat(0.7, 0.7)))
    known = Results(
        command="gdkernels bench",
        date="2026-11-21T00:00:00+00:00",
        seconds=12.0,
        settings={},
        environment=ENVIRONMENT,
        rows=(
            row,
            slower,
            replace(row, piece="forward", status="refused", reason="it computes something else", repeats=()),
            Row(CASE, "epoch", "resident", Contender("cupy", False, "none"), "skipped", "there is no driver"),
        ),
        ceilings=(Ceiling(OURS, "product", 64, 5e9), Ceiling(OURS, "layer", 64, 1e10), Ceiling(OURS, "copy", 64, 2e9)),
        first_calls=(FirstCall(CASE, THEIRS, 1.0, None, None, 0.5, 0.25),),
        targets=(
            Target(CASE, OURS, {"loss": 0.5}, (Run(0, (1.0, 2.0), True, 0.5), Run(1, (4.0,), True, 0.4))),
            Target(CASE, THEIRS, {"loss": 0.5}, (Run(0, (1.0,), False, None),)),
            Target(CASE, THEIRS, {"loss": 0.5}, reason="torch is not installed"),
        ),
    )
    return replace(known, **changes)
