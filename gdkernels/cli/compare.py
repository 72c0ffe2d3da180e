"""``gdkernels compare``: a verdict on each row of two benchmarks; a gate for your CI, which fails closed."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gdkernels.cli.streams import say
from gdkernels.errors import GdkernelsError, InputError

if TYPE_CHECKING:
    from gdkernels.bench.comparing.verdicts import Comparison

__all__ = ["add_to"]

_FAILURE = 70  # where the command itself fails: 1 would be a verdict


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "compare",
        help="find the rows that became slower between two benchmarks",
        description="Give a verdict on each row that two result files of `gdkernels bench --repeats 5` share: SAME "
        "where the 95 % bootstrap interval of the ratio lies within ±5 %; SLOWER or "
        "FASTER where it excludes 1 and the ratio is beyond 5 %; else UNDECIDED, as with fewer than five processes. "
        "The time of a side is the lower quartile over its processes of the lower quartiles of their samples, because "
        "other work on the machine can only add to times. "
        "On a CPU, times are in units of a fixed number of clock cycles, timed beside each sample, because clocks "
        "drift. Where the clocks of the files differ, the interval is widened by the difference, so that a verdict "
        "holds in seconds too. Samples are left out if another process used part of a core meanwhile.",
        epilog="Exit codes: 0, no row is SLOWER; 1, a row is; 2, the files cannot be compared; 3, cannot tell: a row "
        "of A is refused, missing or has fewer than five processes in B, or the machines differ; any other, the "
        "command itself failed. A row that is UNDECIDED through noise alone is 0, and 3 with --strict. Rows that both "
        "skip, or that A lacks, do not count.",
    )
    parser.add_argument("a", metavar="A.json", help="the results before")
    parser.add_argument("b", metavar="B.json", help="the results after, which get the verdicts")
    parser.add_argument(
        "--strict", action="store_true", help="end with exit code 3 also if a row is UNDECIDED through noise alone"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, failure_code=_FAILURE)


def run(args: Namespace) -> None:
    """Print the verdicts; a row that became slower is a failure, and so is one about which nothing can be said."""
    from gdkernels.bench.comparing.verdicts import compare
    from gdkernels.bench.results import read

    found = compare(read(args.a), read(args.b))
    if not found.rows:
        raise InputError(f"there is nothing to compare: no row was measured in both {args.a} and {args.b}")
    # The reader may be gone; the exit code then says everything.
    say(json.dumps(_as_dict(found), indent=1) if args.json else _as_text(found))
    slower = [compared.row for compared in found.rows if compared.verdict.verdict == "SLOWER"]
    if slower:
        first = slower[0]
        raise SlowerError(
            f"{len(slower)} of {len(found.rows)} rows became slower; the first, {first.participant} at {first.case} "
            f"{first.done}" + ("; but the machines differ" if found.machines else "")
        )
    unknown = [*found.unknown, *(_undecided(found) if args.strict else ())]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise CannotTellError(f"cannot tell whether anything became slower: {unknown[0]}{more}")


def _undecided(found: Comparison) -> list[str]:
    """Return the rows that are UNDECIDED through noise alone."""
    return [
        f"{c.row.participant} at {c.row.case} {c.row.done} is UNDECIDED: {c.verdict.reason}"
        for c in found.rows
        if c.verdict.verdict == "UNDECIDED" and c.row.status != "skipped"
    ]


class SlowerError(GdkernelsError):
    """Something became slower."""


class CannotTellError(GdkernelsError):
    """Something may have become slower: it was not measured, or elsewhere."""

    exit_code = 3


def _as_dict(found: Comparison) -> dict[str, Any]:
    from gdkernels.bench.results.file import NAMES
    from gdkernels.bench.results.records import encode

    return {
        "different_machines": list(found.machines),
        "changes": list(found.changes),
        "counts": found.counts,
        "rows": [
            {
                "case": asdict(compared.row.case),
                "piece": compared.row.stage,
                "placement": compared.row.placement,
                "busy": compared.row.busy,
                "contender": encode(compared.row.participant, NAMES),
                **asdict(compared.verdict),
            }
            for compared in found.rows
        ],
        "missing": list(found.missing),
        "unknown": list(found.unknown),
    }


def _as_text(found: Comparison) -> str:
    from gdkernels.bench.comparing.verdicts import VERDICTS
    from gdkernels.bench.report.text import table

    lines = []
    for compared in sorted(found.rows, key=lambda compared: VERDICTS.index(compared.verdict.verdict)):
        row, verdict = compared.row, compared.verdict
        known = verdict.ratio is not None
        lines.append(
            (
                verdict.verdict,
                f"{verdict.ratio:.3f}" if known else "",
                f"{verdict.low:.3f} … {verdict.high:.3f}" if known else "",
                f"{row.case}: {row.done}",
                str(row.participant),
                verdict.reason or "",
            )
        )
    parts = []
    if found.machines:
        parts.append("DIFFERENT MACHINES, so that times say nothing about the code: " + "; ".join(found.machines))
    parts += found.changes
    clocks = [c.verdict.clock - 1 for c in found.rows if c.verdict.clock is not None]
    if any(clocks):
        difference = f"{min(clocks):+.1%} … {max(clocks):+.1%}"
        parts.append(f"length of clock cycles, B against A: {difference}; intervals hold the ratio in seconds too")
    if lines:
        parts.append(table(("", "B / A", "95 % interval", "", "", ""), lines, "lrrlll"))
    parts += found.missing
    parts.append(", ".join(f"{count} {name}" for name, count in found.counts.items()))
    return "\n".join(parts)
