"""``gdkernels cache``: what gdkernels keeps between calls, and how to remove it."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gdkernels.cli.options import add_output
from gdkernels.cli.streams import say
from gdkernels.errors import FileError

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "cache",
        help="show what is kept in the cache folder, or clear it",
        description="Show what gdkernels keeps in its cache folder: compiled code, choices timed on a GPU, "
        "calibrations, and the prepared records of tables larger than memory. GDKERNELS_CACHE names another folder.",
        epilog="A training removes its prepared records when it ends, and those of trainings that were killed. On a "
        "file system without locks, it cannot know which ones were killed; --clear removes their records there.",
    )
    parser.add_argument(
        "--clear",
        action="store_true",
        help="remove everything except calibrations and the records of running trainings; on a file system without "
        "locks, make sure that no training runs",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Clear the folder if you asked for that, and print its content."""
    from gdkernels.system.cache_contents import clear_cache, read_cache
    from gdkernels.system.cache_folder import cache_folder

    folder, before = cache_folder(), read_cache()
    if args.clear and (problem := clear_cache()) is not None:
        raise FileError(f"the cache {folder} {problem}; GDKERNELS_CACHE names another folder")
    entries = read_cache() if args.clear else before
    removed = sum(e.bytes for e in before) - sum(e.bytes for e in entries)
    if args.json:
        told = {"folder": str(folder), "entries": [vars(e) for e in entries]}
        say(json.dumps(told | ({"removed_bytes": removed} if args.clear else {}), indent=2))
        return
    say(f"{folder}{'' if entries else ': nothing'}")
    for entry in entries:
        say(f"  {entry.what}: {entry.count:,}, {entry.bytes / 1e6:,.1f} MB")
    if args.clear:
        say(f"removed {removed / 1e6:,.1f} MB")
