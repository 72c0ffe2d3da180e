"""A table's preparation in ONNX's operations: raw cells in, predictions in the target's own terms out.

Each column of the table is an input [records, 1]. Numbers are float64, a gap NaN or what the user said is one. Text is
text as it stands in a cell, with spaces around it or without, a gap "" or what else stands for nothing. Dates are whole
seconds since 1970-01-01 UTC, a gap the smallest 64-bit integer, as ``datetime64[s]`` seen as integers has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np

from gdkernels.interchange.onnx.builder import Builder
from gdkernels.tables import Preparation
from gdkernels.tables.column.reading import Reading
from gdkernels.tables.features.columns import Category, Date, Number
from gdkernels.tables.preparation.outcomes import Classes, Numbers
from gdkernels.tables.preparation.preparation import REACH

__all__ = ["add_inputs", "add_predictions"]

_GAP = np.iinfo(np.int64).min
_DAY = 86_400
# What Python's str.strip takes away.
_SPACES = "".join(rf"\x{{{code:x}}}" for code in range(sys.maxunicode) if chr(code).isspace())


def add_inputs(b: Builder, preparation: Preparation) -> str:
    """Add the columns as inputs, and return the network's [records, features] in float64."""
    encoded = b.columns([_ENCODERS[kind.kind](b, kind) for kind in preparation.columns if kind.features])
    if preparation.borders is not None:  # what is unknown, NaN, stays so in Where; Min and Max do not say
        low, high = (b.constant(border) for border in preparation.borders)
        encoded = b.op("Where", b.op("Less", encoded, low), low, encoded)
        encoded = b.op("Where", b.op("Greater", encoded, high), high, encoded)
    z = b.op("Sub", encoded, b.constant(preparation.scaling.mean))
    z = b.op("Div", z, b.constant(preparation.scaling.scale))
    z = b.op("Where", b.op("IsNaN", z), b.constant(0.0), z)
    z = b.op("Min", b.op("Max", z, b.constant(-1e100)), b.constant(1e100))  # whose squares are still numbers
    drawn_in = b.op("Div", z, b.constant(REACH))
    return b.op("Div", z, b.op("Sqrt", b.op("Add", b.constant(1.0), b.op("Mul", drawn_in, drawn_in))))


def add_predictions(b: Builder, outcome: Classes | Numbers, output: str, units: int) -> None:
    """Add the outputs: ``prediction`` [records, targets]; or ``label`` [records], ``probabilities`` [records, classes].

    Parameters
    ----------
    output
        The network's own [records, units].
    """
    if isinstance(outcome, Numbers):
        b.output("prediction", _restored(b, outcome, b.cast(output, np.float64)), np.float64, len(outcome.targets))
        return
    if units == 1:
        output = b.columns([b.op("Sub", b.constant(1.0, np.float32), b.cast(output, np.float32)), output])
    kind = {type(label) for label in outcome.labels}
    dtype = object if str in kind else np.float64 if float in kind else np.int64
    labels = b.constant(np.array(outcome.labels, dtype))
    b.output("label", b.op("Gather", labels, b.op("ArgMax", output, axis=1, keepdims=0)), dtype)
    b.output("probabilities", b.cast(output, np.float32), np.float32, len(outcome.labels))


def _number(b: Builder, kind: Number) -> str:
    value = b.input(kind.name, np.float64, 1)
    gap = b.op("IsNaN", value)
    for sentinel in kind.reading.sentinels:
        gap = b.op("Or", gap, b.op("Equal", value, b.constant(sentinel)))
    filled = b.op("Where", gap, b.constant(kind.median), value)
    if kind.log is not None:
        least = 0.0 if kind.log else np.finfo(np.float64).tiny
        filled = b.op("Log", b.op("Add", b.op("Max", filled, b.constant(least)), b.constant(kind.log)))
    return b.columns([filled, b.cast(gap, np.float64)]) if kind.indicator else filled


def _category(b: Builder, kind: Category) -> str:
    """Look up the features of each cell's text, around which spaces do not count.

    ONNX cannot strip text. Regular expressions match it with spaces around, one for each binary figure of the row that
    a text takes, and one for whether any does.
    """
    reading = kind.reading
    rows = kind.rows | dict.fromkeys(reading.gaps, kind.missing)
    cell = b.input(kind.name, object, 1)
    row = b.constant(0, np.int64)
    for place in range(max(1, max(rows.values()).bit_length())):
        chosen = [text for text, k in rows.items() if k >> place & 1]
        if chosen:
            figure = b.cast(b.matches(cell, _pattern(chosen, reading)), np.int64)
            row = b.op("Add", row, b.op("Mul", figure, b.constant(1 << place, np.int64)))
    known = b.matches(cell, _pattern(list(rows), reading))
    row = b.op("Where", known, row, b.constant(kind.unseen, np.int64))
    return b.op("Gather", b.constant(kind.encodings), b.op("Squeeze", row, b.constant([1], np.int64)))


def _pattern(texts: Sequence[str], reading: Reading) -> str:
    """Return the regular expression of some texts with spaces around, truth values in any capitals."""
    capitals = "(?i)" if reading.kind == "boolean" else ""
    return f"{capitals}[{_SPACES}]*(?:{'|'.join(map(_escaped, texts))})[{_SPACES}]*"


def _escaped(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else rf"\x{{{ord(c):x}}}" for c in text)


def _date(b: Builder, kind: Date) -> str:
    """Split seconds into the parts; the civil calendar by Hinnant's days_from_civil inverted, in whole numbers."""

    def whole(value: int) -> str:
        return b.constant(value, np.int64)

    def floor(value: str, by: int) -> str:
        return b.op("Div", b.op("Sub", value, b.op("Mod", value, whole(by))), whole(by))

    def time() -> str:
        return b.op("Div", b.cast(b.op("Mod", seconds, whole(_DAY)), np.float64), b.constant(float(_DAY)))

    def turned(times: int) -> str:
        return b.op("Mul", time(), b.constant(2 * np.pi * times))

    given = b.input(kind.name, np.int64, 1)
    gap = b.op("Equal", given, whole(_GAP))
    seconds = b.op("Where", gap, whole(0), given)
    days = floor(seconds, _DAY)
    shifted = b.op("Add", days, whole(719_468))  # days since 0000-03-01
    of_era = b.op("Mod", shifted, whole(146_097))
    leaps = b.op("Sub", floor(of_era, 1_460), floor(of_era, 36_524))
    leaps = b.op("Add", leaps, floor(of_era, 146_096))
    year = floor(b.op("Sub", of_era, leaps), 365)
    of_year = b.op("Add", b.op("Sub", of_era, b.op("Mul", whole(365), year)), floor(year, 100))
    of_year = b.op("Sub", of_year, floor(year, 4))
    march = floor(b.op("Add", b.op("Mul", whole(5), of_year), whole(2)), 153)
    before = floor(b.op("Add", b.op("Mul", whole(153), march), whole(2)), 5)
    parts: dict[str, Callable[[], str]] = {
        "day number": lambda: b.op("Div", b.cast(seconds, np.float64), b.constant(float(_DAY))),
        "month": lambda: b.op("Add", b.op("Mod", b.op("Add", march, whole(2)), whole(12)), whole(1)),
        "day": lambda: b.op("Add", b.op("Sub", of_year, before), whole(1)),
        "weekday": lambda: b.op("Mod", b.op("Add", days, whole(3)), whole(7)),
        "hour": lambda: floor(b.op("Mod", seconds, whole(_DAY)), 3_600),
        "time of day": time,
        "day sine": lambda: b.op("Sin", turned(1)),
        "day cosine": lambda: b.op("Cos", turned(1)),
        "half-day sine": lambda: b.op("Sin", turned(2)),
        "half-day cosine": lambda: b.op("Cos", turned(2)),
    }
    values = [
        b.op("Where", gap, b.constant(fill), b.cast(parts[part](), np.float64))
        for part, fill in zip(kind.parts, kind.fill, strict=True)
    ]
    return b.columns([*values, *([b.cast(gap, np.float64)] * kind.indicator)])


_ENCODERS: dict[str, Callable[..., str]] = {"number": _number, "category": _category, "date": _date}


def _restored(b: Builder, outcome: Numbers, values: str) -> str:
    if outcome.scaling is not None:
        values = b.op("Mul", values, b.constant(outcome.scaling.scale))
        values = b.op("Add", values, b.constant(outcome.scaling.mean))
    if any(outcome.logs):
        raised = b.op("Exp", values)
        if any(outcome.offsets):
            raised = b.op("Sub", raised, b.constant(outcome.offsets))
        clipped = b.op("Min", b.op("Max", raised, b.constant(outcome.low)), b.constant(outcome.high))
        values = clipped if all(outcome.logs) else b.op("Where", b.constant(outcome.logs, bool), clipped, values)
    for side, operation, none in ((0, "Max", -np.inf), (1, "Min", np.inf)):
        bounds = np.array([none if pair[side] is None else pair[side] for pair in outcome.bounds], np.float64)
        if np.isfinite(bounds).any():
            values = b.op(operation, values, b.constant(bounds))
    return values
