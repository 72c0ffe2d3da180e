"""``gdkernels describe``: what training would do with each column of a table, and why."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gdkernels.cli.options import add_columns, add_data, add_output
from gdkernels.cli.result import columns_line
from gdkernels.tables import Preparation, read
from gdkernels.tables.kinds import Choices
from gdkernels.tables.preparation import with_targets
from gdkernels.tables.report import column_reports, describe_target, example

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "describe",
        help="show what would be done with each column of a table, and why",
        description="Show what `gdkernels train` would do with each column of a table, and why; nothing is trained. "
        "Training decides by its training rows, so that a figure may differ a little.",
    )
    add_data(parser)
    add_columns(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report."""
    table = read(args.data)
    choices = {name: getattr(args, name) for name in ("ignore", "keep", "categorical", "numeric")}
    preparation, target = None, None
    records = len(table)
    if args.target or table.targets:
        whole = with_targets(table, args.target)
        preparation = Preparation.fit(whole, args.target, task=args.task, **choices)
        target = describe_target(preparation, whole) | {"gaps": records - len(whole)}
    columns = column_reports(table, preparation.targets if preparation else (), Choices(**choices))
    if args.json:
        told = {"data": table.source, "records": records, "target": target, "columns": columns}
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    print(f"{table.source}: {records:,} records of {len(table.names):,} columns")
    if target is not None and preparation is not None:
        print(f"target   {', '.join(target['targets'])}: {target['task']}{_of(target)}")
        print(f"columns  {columns_line(preparation)}")
    width = min(30, max((len(c["name"]) for c in columns), default=0))
    for c in columns:
        values = f"{c['distinct']:,} values, {example(c)}" + (f"; {c['gaps']:,} gaps" if c["gaps"] else "")
        print(
            f"  {c['name']:<{width}}  {c['kind']:<8}  {c['features']:>3}  {values}{'; ' if c['why'] else ''}{c['why']}"
        )


def _of(target: dict[str, Any]) -> str:
    gaps = f"; {target['gaps']:,} records lack it: fill them in, or say --drop-missing" if target["gaps"] else ""
    if "classes" in target:
        shares = list(target["classes"].items())
        return f" in {len(shares)} classes, {', '.join(f'{k} {v:.1%}' for k, v in shares[:8])}{gaps}"
    return "".join(f", {example(n)}" for n in target["numbers"]) + gaps
