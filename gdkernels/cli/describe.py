"""``gdkernels describe``: what training would do with each column of a table, and why."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gdkernels.cli.options import add_columns, add_data, add_memory, add_output
from gdkernels.tabular import TabularPredictor

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "describe",
        help="show what would be done with each column of a table, and why",
        description="Show what `gdkernels train` would do with each column of a table, and why; nothing is trained. "
        "Training decides by its training rows alone, so a figure may differ a little.",
    )
    add_data(parser)
    add_columns(parser)
    add_memory(
        parser,
        "read the table in parts, and describe a sample of it, in this much memory, such as 512MB or 2GB (by default "
        "only if the table would not fit)",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report."""
    columns = {
        "ignore": args.ignore,
        "keep_columns": args.keep,
        "categorical": args.categorical,
        "numeric": args.numeric,
        "read": dict(args.read),
        "missing": args.missing,
        "header": args.header,
        "skip_rows": args.skip_rows,
        "memory": args.memory,
    }
    description = TabularPredictor(args.target, task=args.task, **columns).describe(args.data)
    print(json.dumps(description.as_dict(), indent=2, allow_nan=False) if args.json else description.as_text())
