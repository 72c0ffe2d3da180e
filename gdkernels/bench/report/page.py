"""The page of a report: the template filled with charts, tables, the environment and the command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from gdkernels.bench.participants.participant import labels
from gdkernels.bench.report.charts import charts, colours
from gdkernels.bench.report.text import joules, si
from gdkernels.bench.results.model import BenchResults, BenchRow
from gdkernels.system.atomic_files import write_atomically

__all__ = ["as_html", "write"]


def write(results: BenchResults, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write a self-contained page that opens without network.

    Raises
    ------
    InputError
        If matplotlib, which draws the charts, is not installed.
    FileError
        If the file exists already and `overwrite` is false, or cannot be written.
    """
    content = as_html(results).encode()
    write_atomically(path, lambda file: file.write(content), overwrite=overwrite)


def as_html(results: BenchResults) -> str:
    """Return the page."""
    found = results.environment
    measured = [row for row in results.rows if row.repeats]
    _, common = labels(row.participant for row in measured)
    template = Template(resources.files("gdkernels.bench.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"gdkernels bench: {found.get('processor', 'unknown processor')}"),
        subtitle=escape(
            f"{results.date[:16].replace('T', ' ')} UTC, {len(measured)} rows in {results.seconds:.0f} s; all: {common}"
        ),
        legend=_legend(results),
        charts="\n".join(
            f"<figure><h3>{escape(c.title)}</h3>{c.svg}<figcaption>{escape(c.text)}</figcaption></figure>"
            for c in charts(results)
        ),
        times=_times(results, measured),
        first_calls=_first_calls(results),
        targets=_targets(results),
        left_out=_left_out(results),
        environment=_environment(results),
        command=escape(results.command),
        method=escape(
            "Each participant lives in a process of its own and waits while another is timed; all start from the same "
            "bits. Sampling ended when half the 95 % interval of every median was at most "
            f"{results.settings.get('width', 0):.1%} of it, or with the time limit of "
            f"{results.settings.get('time_limit_seconds', 0):g} s. Repeats in new processes: "
            f"{results.settings.get('repeats', 1)}."
        ),
    )


# ---- tables


_NAME = 48  # characters: what is shorter stays on one line


@dataclass(frozen=True)
class _Cell:
    """Text, and the number by which it is sorted; `share` draws a bar behind it."""

    text: str
    value: float | None = None
    share: float | None = None

    def as_html(self) -> str:
        if self.value is None:
            return f"<td{' class=name' * (len(self.text) < _NAME)}>{escape(self.text)}</td>"
        bar = "" if self.share is None else f' style="--share: {self.share:.1%}"'
        kind = "number" if self.share is None else "number bar"
        return f'<td class="{kind}" data-value="{self.value!r}"{bar}>{escape(self.text)}</td>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[_Cell]], *, empty: str) -> str:
    lines = [list(row) for row in rows]
    if not lines:
        return f'<table><tr><td class="faint">{escape(empty)}</td></tr></table>'
    numbers = [cell.value is not None for cell in lines[0]]
    head = "".join(
        f'<th{" class=number" * number}><button type="button">{escape(h)}</button></th>'
        for h, number in zip(heads, numbers, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(cell.as_html() for cell in line)}</tr>" for line in lines)
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


def _times(results: BenchResults, rows: Sequence[BenchRow]) -> str:
    names, _ = labels(row.participant for row in rows)
    best: dict[tuple[object, ...], float] = {}
    for row in rows:
        best[row.group] = max(best.get(row.group, 0.0), row.samples_per_second)

    def cells(row: BenchRow) -> list[_Cell]:
        ceiling = results.ceiling(("product", "layer"), row.participant.device, row.participant.precision)
        share = row.flops_per_second / ceiling if ceiling else 0.0
        relative = row.samples_per_second / best[row.group]
        kept = results.kept(row)
        return [
            _Cell(str(row.case)),
            _Cell(row.done),
            _Cell(names[row.participant]),
            _Cell(f"{row.samples_per_second:,.0f}", row.samples_per_second, relative),
            _Cell(f"{row.spread:.1%}" if row.spread < 10 else "?", min(row.spread, 1e9)),
            _Cell("–" if kept is None else f"{kept:.0%}", kept or 0.0),
            _Cell(_seconds(row.seconds), row.seconds),
            _Cell("–" if row.joules is None else joules(row.joules), -1.0 if row.joules is None else row.joules),
            _Cell(f"{row.host_seconds / row.seconds:.0%}", row.host_seconds / row.seconds),
            _Cell(si(row.flops_per_second, "FLOP/s"), row.flops_per_second),
            _Cell(f"{share:.0%}" if ceiling else "–", share),
            _Cell("–" if row.communication is None else f"{row.communication:.0%}", row.communication or 0.0),
            _Cell(f"{row.error.error:.1e}", row.error.error),
            _Cell(f"{row.error.allowed:.1e}", row.error.allowed),
            _Cell(row.origin or "–"),
        ]

    heads = (
        "network × batch",
        "stage",
        "participant",
        "records/s",
        "±",
        "of quiet",
        "a call",
        "energy",
        "host",
        "rate",
        "of ceiling",
        "exchange",
        "error",
    )
    return _table((*heads, "allowed", "origin"), map(cells, rows), empty="nothing was measured")


def _first_calls(results: BenchResults) -> str:
    names, _ = labels(call.participant for call in results.first_calls)
    heads = ("participant", "import", "compile", "cached load", "first step", "first step, cached")
    rows = (
        [
            _Cell(names[call.participant]),
            *(
                _Cell("–" if s is None else _seconds(s), -1.0 if s is None else s)
                for s in (
                    call.import_seconds,
                    call.compile_seconds,
                    call.load_seconds,
                    call.first_step_seconds,
                    call.cached_first_step_seconds,
                )
            ),
        ]
        for call in results.first_calls
    )
    return _table(heads, rows, empty="not measured")


def _targets(results: BenchResults) -> str:
    if not results.targets:
        return ""
    goal = " ".join(f"{name} {value:g}" for name, value in results.targets[0].goal.items())
    names, _ = labels(target.participant for target in results.targets)
    rows = []
    for target in results.targets:
        seconds, runs = target.seconds, target.runs
        ends = ", ".join("diverged" if run.value is None else f"{run.value:.4g}" for run in runs)
        rows.append(
            [
                _Cell(names[target.participant]),
                _Cell(target.reason or "not reached" if seconds is None else _seconds(seconds), seconds or 1e9),
                _Cell(f"{target.epochs:g}" if runs else "–", target.epochs if runs else 1e9),
                _Cell(ends or "–"),
            ]
        )
    table = _table(("participant", "training", "epochs", "ended at, for each seed"), rows, empty="")
    return f'<h2>{escape(f"To {goal}: {results.targets[0].case}")}</h2>\n<div class="scroll">\n{table}\n</div>'


def _left_out(results: BenchResults) -> str:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in results.rows:
        if not row.repeats:
            reasons.setdefault((row.status, str(row.participant), row.reason or ""), []).append(
                f"{row.case}: {row.done}"
            )
        elif row.no_energy is not None:
            reasons.setdefault(("no energy", str(row.participant), row.no_energy), []).append(f"{row.case}: {row.done}")
    rows = (
        [_Cell(status), _Cell(who), _Cell(why), _Cell("; ".join(dict.fromkeys(where)))]
        for (status, who, why), where in reasons.items()
    )
    return _table(("status", "participant", "why", "where"), rows, empty="nothing: all rows were measured")


# ---- the rest


def _legend(results: BenchResults) -> str:
    shapes = {
        "o": '<circle cx="7" cy="7" r="5"/>',
        "s": '<rect x="2" y="2" width="10" height="10"/>',
        "^": '<path d="M7 1 13 12H1z"/>',
        "D": '<path d="M7 1 13 7 7 13 1 7z"/>',
        "v": '<path d="M7 13 1 2h12z"/>',
        "P": '<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4z"/>',
        "X": '<path d="M4 1 7 4l3-3 3 3-3 3 3 3-3 3-3-3-3 3-3-3 3-3-3-3z"/>',
        "<": '<path d="M1 7 12 1v12z"/>',
        ">": '<path d="M13 7 2 13V1z"/>',
    }
    known = colours(results)
    names, _ = labels(known)
    items = []
    for who, (colour, marker) in known.items():
        picture = f'<svg viewBox="0 0 14 14" fill="{colour}" aria-hidden="true">{shapes[marker]}</svg>'
        items.append(f"<li>{picture}{escape(names[who])}</li>")
    return "".join(items)


def _environment(results: BenchResults) -> str:
    shown = []
    for name, value in results.environment.items():
        text = ", ".join(_flat(value)) or "none"
        shown.append(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>")
    return "".join(shown)


def _flat(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key} {', '.join(_flat(inner)) or 'unknown'}" for key, inner in value.items()]
    if isinstance(value, list):
        return [text for inner in value for text in _flat(inner)]
    return [] if value is None else [str(value)]


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"
