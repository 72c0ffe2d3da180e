"""What training would do with each column of a table, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table
from gdkernels.tables.kinds import reread
from gdkernels.tables.preparation import with_targets
from gdkernels.tables.report import column_reports, columns_line, describe_target, example
from gdkernels.tabular.settings import TabularSettings

__all__ = ["TableDescription", "described"]


@dataclass(frozen=True, eq=False)
class TableDescription(Mapping[str, Any]):
    """What training would do with a table; it can be read like a dict, and printed.

    Attributes
    ----------
    data
        Where the table is from.
    records
        How many it has.
    target
        What is to be predicted: the task, the share of each class or the range of each number, and how many records
        lack it; None where nobody says what it is.
    columns
        For each column its ``kind``, ``why``, how its cells are ``read`` (in the words of the keyword ``read``), how
        many inputs of the network it makes (``features``), its ``gaps``, how many ``distinct`` values it has, and what
        they are ``such_as``.
    """

    data: str
    records: int
    target: dict[str, Any] | None
    columns: list[dict[str, Any]]
    _line: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {"data": self.data, "records": self.records, "target": self.target, "columns": self.columns}

    def __getitem__(self, name: str) -> Any:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    def as_text(self) -> str:
        """Return a line for the target, and one for each column."""
        targets = self.target["targets"] if self.target else []
        lines = [f"{self.data}: {self.records:,} records of {len(self.columns) + len(targets):,} columns"]
        if self.target is not None:
            lines.append(f"target   {', '.join(targets)}: {self.target['task']}{_of(self.target)}")
            lines.append(f"columns  {self._line}")
        width = min(30, max((len(c["name"]) for c in self.columns), default=0))
        for c in self.columns:
            values = f"{c['distinct']:,} values, {example(c)}" + (f"; {c['gaps']:,} gaps" if c["gaps"] else "")
            why = f"{'; ' if c['why'] else ''}{c['why']}"
            lines.append(f"  {c['name']:<{width}}  {c['kind']:<8}  {c['features']:>3}  {values}{why}")
        return "\n".join(lines)

    __str__ = as_text


def described(settings: TabularSettings, table: Table) -> TableDescription:
    """Return what training would do with `table`.

    Raises
    ------
    InputError
        Where columns are not there or cannot be used.
    """
    choices = settings.choices
    table = reread(table, choices)
    preparation, target = None, None
    if settings.target or table.targets:
        whole = with_targets(table, settings.target)
        preparation = Preparation.fit(
            whole,
            settings.target,
            task=settings.task,
            ignore=choices.ignore,
            keep=choices.keep,
            categorical=choices.categorical,
            numeric=choices.numeric,
            read=choices.read,
            missing=choices.missing,
        )
        target = describe_target(preparation, whole) | {"gaps": len(table) - len(whole)}
    targets, kinds = (preparation.targets, preparation.columns) if preparation else ((), None)
    columns = column_reports(table, targets, choices, kinds)
    line = columns_line(preparation) if preparation else ""
    return TableDescription(table.source, len(table), target, columns, line)


def _of(target: dict[str, Any]) -> str:
    lacking = f"fill them in, or say {keyword('drop_missing', True)}"
    gaps = f"; {target['gaps']:,} records lack it: {lacking}" if target["gaps"] else ""
    if "classes" in target:
        shares = list(target["classes"].items())
        return f" in {len(shares)} classes, {', '.join(f'{k} {v:.1%}' for k, v in shares[:8])}{gaps}"
    return "".join(f", {example(n)}" for n in target["numbers"]) + gaps
