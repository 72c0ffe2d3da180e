"""The charts of a report, drawn by matplotlib: its SVG stands in a page without a script, and weighs little."""

from __future__ import annotations

import io
import itertools
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gdkernels.bench.comparing.ratios import Ratio, crossovers, ratios
from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import Participant, labels
from gdkernels.bench.report.text import si
from gdkernels.bench.results.model import BenchResults, BenchRow
from gdkernels.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart", "charts", "colours"]

Key = TypeVar("Key")

# Those of all pictures, and some more: a comparison may have many participants.
_COLOURS = (*style.COLOURS, "#5B4A9E", "#8C6D31", "#000000")
_MARKERS = f"{style.MARKERS}X<>"

# At phone width a page shows a chart at about its own size, so that its text stays readable.
_WIDTH, _HEIGHT = 4.3, 3.1
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gdkernels",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Chart:
    """A picture with its heading, and its content in words."""

    title: str
    text: str
    svg: str


def colours(results: BenchResults) -> dict[Participant, tuple[str, str]]:
    """Return the colour and the marker of each participant with a measurement, in the order of the rows."""
    seen = dict.fromkeys(row.participant for row in results.rows if row.repeats)
    return {c: (_COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]) for k, c in enumerate(seen)}


def charts(results: BenchResults) -> list[Chart]:
    """Return every chart for which there is something to show.

    Raises
    ------
    InputError
        If matplotlib is not installed; it says how to install it.
    """
    style.require()
    import matplotlib as mpl

    # A report looks the same whatever the user's own settings are.
    settings: Any = {**mpl.rcParamsDefault, "backend": "svg", **_STYLE}
    with mpl.rc_context(settings):
        kinds = (_throughput, _roofline, _ratios, _first_calls, _targets)
        return [chart for draw in kinds for chart in draw(results)]


# ---- throughput


def _throughput(results: BenchResults) -> list[Chart]:
    drawn = []
    for rows in _by(results, lambda r: r.kind).values():
        title = f"Throughput: {rows[0].done}"
        crossed, names = crossovers(rows), labels(colours(results))[0]

        def draw(axes: Axes, rows: Sequence[BenchRow] = rows, crossed: Any = crossed) -> None:
            for (participant, (colour, marker)), joined in itertools.product(colours(results).items(), (True, False)):
                alike = (r for r in rows if r.participant == participant and (r.case.network == CHAIN) == joined)
                mine = sorted(alike, key=_step_flops)
                if not mine:
                    continue
                look: dict[str, Any] = {"ls": "-", "mfc": colour} if joined else {"ls": "none", "mfc": "white"}
                rates = [r.samples_per_second for r in mine]
                low, high = zip(*(_rate_interval(r) for r in mine), strict=True)
                below = [v - a for v, a in zip(rates, low, strict=True)]
                above = [b - v for v, b in zip(rates, high, strict=True)]
                work = [_step_flops(r) for r in mine]
                axes.errorbar(work, rates, [below, above], color=colour, marker=marker, ms=5, lw=1.4, capsize=2, **look)
            for crossing in crossed:
                axes.axvline(crossing.flops, color="#888888", lw=0.8, ls=":")
            axes.set(xscale="log", yscale="log", xlabel="FLOPs of a batch", ylabel="records a second")

        words = "Records a second against the work in a batch; bars are 95 % intervals of the median."
        if any(r.case.network != CHAIN for r in rows):
            words += " Chains of dense layers are joined by lines, other networks are hollow."
        for crossing in crossed:
            before, after = names[crossing.before], names[crossing.after]
            words += f" Up to {si(crossing.flops, 'FLOP')} a batch {before} is ahead, then {after}."
        drawn.append(_chart(title, words, draw))
    return drawn


def _step_flops(row: BenchRow) -> float:
    """Return the FLOPs that a batch takes in this stage."""
    return row.flops * min(row.case.batch, row.records) / row.records


def _rate_interval(row: BenchRow) -> tuple[float, float]:
    low, high = row.interval
    middle = row.samples_per_second
    if low <= 0:  # too few samples to say
        return middle, middle
    return min(row.records / high, middle), max(row.records / low, middle)


# ---- roofline


def _roofline(results: BenchResults) -> list[Chart]:
    drawn = []
    found = _by(results, lambda r: (r.participant.device, r.participant.precision, r.busy))
    for (device, precision, busy), rows in found.items():
        product = results.ceiling(("product", "layer"), device, precision)
        copy = results.ceiling(("copy",), device, precision)
        if busy or not product or not copy:
            continue

        def draw(axes: Axes, rows: Sequence[BenchRow] = rows, product: float = product, copy: float = copy) -> None:
            intensity = [r.flops / r.bytes_least for r in rows]
            ridge = product / copy
            ends = min([*intensity, ridge / 4]) / 2, max([*intensity, ridge * 4]) * 2
            line = [ends[0], ridge, ends[1]]
            axes.plot(line, [min(product, i * copy) for i in line], color="#444444", lw=1.4)
            for row in rows:
                colour, marker = colours(results)[row.participant]
                filled = {"epoch": colour, "forward": "white"}.get(row.stage, "#cccccc")
                axes.plot(
                    row.flops / row.bytes_least, row.flops_per_second, marker, color=colour, mfc=filled, ms=5, mew=1.2
                )
            axes.set(xscale="log", yscale="log", xlabel="FLOPs a byte that must be moved", ylabel="FLOP/s")

        words = (
            f"Under the ceilings measured in the same run: a product of large matrices ({product / 1e9:,.0f} GFLOP/s, "
            f"by the best library or network of one layer) and a copy ({copy / 1e9:,.0f} GB/s). Points above the slope "
            "work in the caches. Filled: epoch; hollow: forward; grey: gradient, update."
        )
        drawn.append(_chart(f"Roofline: {device}, {precision}", words, draw))
    return drawn


# ---- ratios


def _ratios(results: BenchResults) -> list[Chart]:
    drawn = []
    for rows in _by(results, lambda r: r.kind).values():
        found = ratios(rows)
        if not found:
            continue
        groups: dict[str, list[Ratio]] = {}
        for ratio in found:
            groups.setdefault(str(ratio.row.case), []).append(ratio)

        base = labels(colours(results))[0][found[0].base]

        def draw(axes: Axes, groups: dict[str, list[Ratio]] = groups, base: str = base) -> None:
            place, ticks = 0.0, []
            for members in groups.values():
                first = place
                for ratio in members:
                    colour, marker = colours(results)[ratio.row.participant]
                    axes.plot([ratio.low, ratio.high], [place, place], color=colour, lw=2)
                    axes.plot(ratio.value, place, marker, color=colour, ms=5)
                    place += 1
                ticks.append((first + place - 1) / 2)
                place += 1
            axes.axvline(1.0, color="#444444", lw=0.8)
            axes.set_yticks(ticks, [name.replace(" ×", "\n×") for name in groups])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set(xscale="log", xlabel=f"times the seconds of {base}")
            _plain_ticks(axes)

        rows_shown = len(found) + len(groups)
        words = (
            f"How many times as long as {base} each takes, with the 95 % interval of the median over the "
            "rounds in which they took turns: beyond 1 it is slower."
        )
        title = f"Ratios: {rows[0].done}"
        drawn.append(_chart(title, words, draw, height=max(1.6, 0.9 + 0.16 * rows_shown)))
    return drawn


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


# ---- first calls, targets


def _first_calls(results: BenchResults) -> list[Chart]:
    calls = results.first_calls
    if not calls:
        return []
    parts = {"import": "#bbbbbb", "compile or load": "#E69F00", "first step": "#0072B2"}

    def draw(axes: Axes) -> None:
        for place, call in enumerate(calls):
            ways = (
                (place - 0.2, (call.import_seconds, call.compile_seconds, call.first_step_seconds), ""),
                (place + 0.2, (call.import_seconds, call.load_seconds, call.cached_first_step_seconds), "////"),
            )
            for height, seconds, hatch in ways:
                left = 0.0
                for part, colour in zip(seconds, parts.values(), strict=True):
                    axes.barh(height, part or 0.0, 0.36, left=left, color=colour, hatch=hatch, edgecolor="white", lw=0)
                    left += part or 0.0
        axes.set_yticks(range(len(calls)), [labels(c.participant for c in calls)[0][c.participant] for c in calls])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="seconds")
        from matplotlib.patches import Patch

        handles = [Patch(color=colour, label=part) for part, colour in parts.items()]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, frameon=False, fontsize=7.5)

    words = (
        f"What comes before the first result, in fresh processes, {calls[0].case}: from the start of Python to the end "
        "of a training step. Upper bar: empty cache of compiled code; lower, hatched: with what that left."
    )
    return [_chart("First calls", words, draw, height=1.1 + 0.36 * len(calls))]


def _targets(results: BenchResults) -> list[Chart]:
    reached = [t for t in results.targets if t.seconds is not None]
    if not reached:
        return []
    goal = " ".join(f"{name} {value:g}" for name, value in reached[0].goal.items())

    def draw(axes: Axes) -> None:
        for place, target in enumerate(reached):
            colour, marker = colours(results).get(target.participant, ("#000000", "o"))
            seconds = [sum(run.epoch_seconds) for run in target.runs]
            axes.plot([min(seconds), max(seconds)], [place, place], color=colour, lw=2)
            axes.plot(seconds, [place] * len(seconds), marker, color=colour, ms=3.5, mfc="white")
            axes.plot(statistics.median(seconds), place, marker, color=colour, ms=6)
        axes.set_yticks(
            range(len(reached)), [labels(t.participant for t in reached)[0][t.participant] for t in reached]
        )
        axes.set_ylim(len(reached) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set(xscale="log", xlabel="seconds of training")
        _plain_ticks(axes)

    words = (
        f"Seconds of training until {goal} on the records trained on, {reached[0].case}, plain descent at the rate "
        f"{reached[0].case.learning_rate:g}, {len(reached[0].runs)} seeds; evaluated after each epoch, off the clock. "
        "First epochs include compiling where a library does that then."
    )
    return [_chart("Time to a target", words, draw, height=1.0 + 0.3 * len(reached))]


# ---- drawing


def _chart(title: str, text: str, draw: Callable[[Axes], None], *, height: float = _HEIGHT) -> Chart:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    draw(figure.add_subplot())
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Several stand in one page: their ids must differ.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", svg)
    return Chart(title, text, svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))


def _by(results: BenchResults, key: Callable[[BenchRow], Key]) -> dict[Key, list[BenchRow]]:
    groups: dict[Key, list[BenchRow]] = {}
    for row in results.rows:
        if row.repeats:
            groups.setdefault(key(row), []).append(row)
    return groups
