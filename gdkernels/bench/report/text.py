"""Results as text: a table with bars for each stage of each network, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gdkernels.bench.participants.participant import labels
from gdkernels.bench.results.model import BenchResults, BenchRow

__all__ = ["as_text", "joules", "si", "table"]

_BAR = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def as_text(results: BenchResults) -> str:
    """Return the results for a terminal."""
    parts = [
        _environment(results),
        *_groups(results),
        *_first_calls(results),
        *_targets(results),
        *_no_energy(results),
        *_left_out(results),
    ]
    return "\n\n".join(part for part in parts if part)


def si(value: float, unit: str = "") -> str:
    """Return a number with three digits and a prefix: 12.3 M."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g}{f' {unit}' if unit else ''}"


def joules(value: float) -> str:
    """Return an energy in the unit in which it is best read."""
    for factor, unit in ((1.0, "J"), (1e-3, "mJ")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µJ"


def _environment(results: BenchResults) -> str:
    found = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    _, common = labels(row.participant for row in results.rows if row.repeats)
    lines = [
        f"{found['processor']}, {found['cores']} cores; {'; '.join(found['gpus']) or 'no GPU'}; {found['system']}",
        f"{found['python']}, {versions}",
        f"measured on {results.date} in {results.seconds:.0f} s" + (f"; all: {common}" if common else ""),
    ]
    ceilings = {(c.participant.device, c.participant.precision) for c in results.ceilings}
    for device, precision in sorted(ceilings):
        product = results.ceiling(("product", "layer"), device, precision)
        copy = results.ceiling(("copy",), device, precision)
        moved = f", copies {si(copy, 'B/s')}" if copy else ""
        lines.append(f"ceilings on {device} in {precision}: products {si(product, 'FLOP/s')}{moved}")
    return "\n".join(lines)


def _groups(results: BenchResults) -> Iterator[str]:
    names, _ = labels(row.participant for row in results.rows if row.repeats)
    groups: dict[tuple[Any, ...], list[BenchRow]] = {}
    for row in results.rows:
        if row.repeats:
            groups.setdefault(row.group, []).append(row)
    for group in groups.values():
        members = sorted(group, key=lambda r: r.seconds)
        first, best = members[0], members[0].samples_per_second
        title = f"{first.case}: {first.done}"
        lines = [
            (
                names[row.participant],
                _bar(row.samples_per_second / best),
                f"{row.samples_per_second:,.0f}",
                f"± {row.spread:.1%}" if row.spread < 10 else "± ?",
                "" if (kept := results.kept(row)) is None else f"{kept:.0%}",
                si(row.flops_per_second, "FLOP/s"),
                "" if row.joules is None else joules(row.joules),
                _share(results, row),
                "" if row.communication is None else f"{row.communication:.0%}",
                f"{row.error.error:.1e}",
                row.origin or "",
            )
            for row in members
        ]
        each = "" if all(row.joules is None for row in members) else f"a{'n' * (first.stage == 'epoch')} {first.stage}"
        shared = "" if all(row.communication is None for row in members) else "exchange"
        heads = (
            "",
            "",
            "samples/s",
            "",
            "of quiet" * bool(first.busy),
            "",
            each,
            "of ceiling",
            shared,
            "error",
            "origin",
        )
        yield title + "\n" + table(heads, lines, "llrrrrrrrrl")


def _first_calls(results: BenchResults) -> Iterator[str]:
    names, _ = labels(call.participant for call in results.first_calls)
    lines = [
        (
            names[call.participant],
            *(_seconds(s) for s in (call.import_seconds, call.compile_seconds, call.load_seconds)),
            *(_seconds(s) for s in (call.first_step_seconds, call.cached_first_step_seconds)),
        )
        for call in results.first_calls
    ]
    if lines:
        heads = ("", "import", "compile", "cached load", "first step", "then cached")
        yield "before the first result, seconds\n" + table(heads, lines, "lrrrrr")


def _targets(results: BenchResults) -> Iterator[str]:
    reached = sorted(results.targets, key=lambda t: (t.seconds is None, t.seconds or 0.0))
    if not reached:
        return
    goal = " ".join(f"{name} {value:g}" for name, value in reached[0].goal.items())
    names, _ = labels(target.participant for target in reached)
    lines = []
    for target in reached:
        if target.reason is not None:
            lines.append((names[target.participant], "skipped", target.reason))
        elif target.seconds is None:
            ends = ", ".join("diverged" if run.value is None else f"{run.value:.4g}" for run in target.runs)
            lines.append((names[target.participant], "not reached", f"ended at {ends}"))
        else:
            lines.append((names[target.participant], _seconds(target.seconds), f"{target.epochs:g} epochs"))
    seeds = max(len(t.runs) for t in reached)
    yield f"{reached[0].case} to {goal}, seconds, the median of {seeds} seeds\n" + table(("", "", ""), lines, "lrl")


def _no_energy(results: BenchResults) -> Iterator[str]:
    reasons: dict[str, None] = {}
    for row in results.rows:
        if row.no_energy is not None:
            reasons[f"  {row.participant.device}: {row.no_energy}"] = None
    if reasons:
        yield "energy that could not be measured\n" + "\n".join(reasons)


def _left_out(results: BenchResults) -> Iterator[str]:
    for status in ("refused", "skipped"):
        reasons: dict[tuple[str, str], list[str]] = {}
        for row in results.rows:
            if row.status == status:
                where = f"{row.case} {row.done}" if status == "refused" else row.done
                reasons.setdefault((str(row.participant), row.reason or ""), []).append(where)
        if reasons:
            yield (
                status
                + "\n"
                + "\n".join(
                    f"  {who} ({', '.join(dict.fromkeys(where))}): {why}" for (who, why), where in reasons.items()
                )
            )


def _share(results: BenchResults, row: BenchRow) -> str:
    ceiling = results.ceiling(("product", "layer"), row.participant.device, row.participant.precision)
    return f"{row.flops_per_second / ceiling:.0%}" if ceiling else ""


def _bar(share: float) -> str:
    eighths = round(share * _BAR * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(_BAR)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], sides: str) -> str:
    """Return aligned columns, each to its side: "l" or "r"."""
    rows = [heads, *lines]
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    place: dict[str, Callable[[str, int], str]] = {"l": str.ljust, "r": str.rjust}
    return "\n".join(
        "  "
        + "  ".join(place[side](cell, width) for cell, width, side in zip(row, widths, sides, strict=True)).rstrip()
        for row in rows
        if any(row)
    )
