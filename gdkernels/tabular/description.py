"""The description of a table: how training would use each column, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gdkernels.errors import keyword
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, Table, parts
from gdkernels.tables.column.column_data import Floats, Text, numbers_in
from gdkernels.tables.features.kinds import are_whole, reread
from gdkernels.tables.preparation.report import column_reports, columns_line, describe_target, example
from gdkernels.tables.preparation.target_columns import gaps_of, with_targets
from gdkernels.tables.read import Data, source_of
from gdkernels.tables.rows.sample import Sample
from gdkernels.tables.table.joining import joined
from gdkernels.tabular.evaluating.remarks import remarks_on
from gdkernels.tabular.in_parts.surveying import checked_findings, records_at_once, sample_size, width_of
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import check_range
from gdkernels.tabular.trials.time_order import ordering_column

__all__ = ["TableDescription", "described", "described_in_parts"]


@dataclass(frozen=True, eq=False)
class TableDescription(Mapping[str, Any]):
    """The description of a table: how training would use it. You can read it like a dict, and print it.

    Attributes
    ----------
    data
        The origin of the table.
    records
        Their number.
    target
        The target: the task, the share of each class or the range of each number, and the number of records that lack
        it; None if no target was named.
    columns
        For each column its ``kind``, ``why``, how its cells are ``read`` (in the words of the keyword ``read``), how
        many inputs of the network it makes (``features``), its ``gaps``, how many ``distinct`` values it has, and what
        they are ``such_as``.
    remarks
        What you should know before you train.
    sample
        The number of records, drawn at random, that the figures are of if the table was read in parts. The reading of
        cells, gaps, and the range of numbers are of all records even then. None if all figures are.
    """

    data: str
    records: int
    target: dict[str, Any] | None
    columns: list[dict[str, Any]]
    sample: int | None = None
    remarks: tuple[str, ...] = ()
    _line: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        told = {"data": self.data, "records": self.records, "target": self.target, "columns": self.columns}
        told["remarks"] = list(self.remarks)
        return told if self.sample is None else told | {"sample": self.sample}

    def __getitem__(self, name: str) -> Any:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    def __repr__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return a line for the target, and one for each column."""
        targets = self.target["targets"] if self.target else []
        lines = [f"{self.data}: {self.records:,} records of {len(self.columns) + len(targets):,} columns"]
        if self.sample is not None:
            lines[0] += f"; figures are of {self.sample:,} of them"
        if self.target is not None:
            lines.append(f"target   {', '.join(targets)}: {self.target['task']}{_of(self.target)}")
            lines.append(f"columns  {self._line}")
        lines += [f"note     {remark}" for remark in self.remarks]
        width = min(30, max((len(c["name"]) for c in self.columns), default=0))
        for c in self.columns:
            values = f"{c['distinct']:,} values, {example(c)}" + (f"; {c['gaps']:,} gaps" if c["gaps"] else "")
            why = f"{'; ' if c['why'] else ''}{c['why']}"
            lines.append(f"  {c['name']:<{width}}  {c['kind']:<8}  {c['features']:>3}  {values}{why}")
        return "\n".join(lines)

    __str__ = as_text


def described(settings: TabularSettings, table: Table, identifiers: Sequence[str] = ()) -> TableDescription:
    """Return what training would do with `table`.

    Parameters
    ----------
    identifiers
        Columns that are known to number the records, of which the table has but some.

    Raises
    ------
    InputError
        If columns are not there or cannot be used.
    """
    choices = replace(settings.choices, identifiers=identifiers)
    table = reread(table, choices)
    preparation, target = None, None
    remarks: list[str] = []
    if settings.target or table.targets:
        whole = with_targets(table, settings.target)
        preparation = Preparation.by_choices(
            whole, settings.target, choices, task=settings.task, standardise_inputs=False
        )
        check_range(preparation.transform_targets(whole), whole, preparation, settings.precision)
        remarks = remarks_on(settings, whole, preparation, np.arange(len(whole)))
        target = describe_target(preparation, whole) | {"gaps": len(table) - len(whole)}
    targets, kinds = (preparation.targets, preparation.columns) if preparation else ((), None)
    columns = column_reports(table, targets, choices, kinds)
    line = columns_line(preparation) if preparation else ""
    if (ordering := ordering_column(table)) is not None and settings.split.kind == "random":
        remarks.append(
            f"the rows are in order of {ordering!r}; to measure a model on what comes later, say "
            f"{keyword('split', 'time:' + ordering)}"
        )
    return TableDescription(table.source, len(table), target, columns, remarks=tuple(remarks), _line=line)


def described_in_parts(settings: TabularSettings, data: Data, allowed: int) -> TableDescription:
    """Return what training would do with a table that is read in parts, within the memory `allowed`.

    Raises
    ------
    InputError
        If columns are not there or cannot be used.
    """
    width = width_of(settings, data)
    at_once = records_at_once(width, allowed)
    findings = checked_findings(settings, data, at_once)
    drawn: Sample[Table] = Sample(
        sample_size(width, allowed), generator(settings.seed, "sample"), lambda part, rows: part.take(rows).copy()
    )
    gaps: dict[str, int] = {}
    ranges: dict[str, tuple[float, float]] = {}
    whole = set(findings)  # columns of which all that was seen are whole numbers
    records = 0
    with RecordCount("describing", settings.progress) as bar:
        pieces = parts(data, at_once, findings=findings, options=settings.options)
        for part in pieces:
            drawn.add(part, len(part))
            records += len(part)
            bar.update(len(part))
            for name, column in part.columns.items():
                gaps[name] = gaps.get(name, 0) + int(np.count_nonzero(gaps_of(column)))
                ends = None if isinstance(column, Text) else _range(numbers_in(column))
                if ends is None:
                    whole.discard(name)
                    continue
                low, high = ranges.get(name, ends)
                ranges[name] = min(low, ends[0]), max(high, ends[1])
                if name in whole and not are_whole(numbers_in(column)):
                    whole.discard(name)
    table = joined([part for part in drawn.parts() if len(part)], source_of(data))
    numbering = [
        name for name, ends in ranges.items() if name in whole and not gaps[name] and ends[1] - ends[0] == records - 1
    ]
    found = described(settings, table, [name for name in numbering if name not in settings.choices.named])
    columns = [told | {"gaps": gaps[told["name"]]} for told in found.columns]
    for told in columns:
        if ends := ranges.get(told["name"]):
            told["such_as"] = list(ends)
    return replace(found, records=records, columns=columns, sample=len(table) if len(table) < records else None)


def _range(values: Floats) -> tuple[float, float] | None:
    """Return the lowest and the highest number; None where there are gaps alone."""
    low = float(np.fmin.reduce(values, initial=np.nan))
    return None if math.isnan(low) else (low, float(np.fmax.reduce(values, initial=np.nan)))


def _of(target: dict[str, Any]) -> str:
    lacking = f"fill them in, or say {keyword('drop_missing', True)}"
    gaps = f"; {target['gaps']:,} records lack it: {lacking}" if target["gaps"] else ""
    if "classes" in target:
        shares = list(target["classes"].items())
        return f" in {len(shares)} classes, {', '.join(f'{k} {v:.1%}' for k, v in shares[:8])}{gaps}"
    return "".join(f", {example(n)}" for n in target["numbers"]) + gaps
