"""``gdkernels doctor``: the problems of this installation, and how to fix them."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from gdkernels.cli.options import add_output
from gdkernels.cli.streams import say
from gdkernels.errors import GdkernelsError

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "doctor",
        help="say what is wrong with this installation, and how to mend it",
        description="Check versions, backends, caches, threads and disk space, and have each device do a small "
        "training step. Include the output in a bug report. The exit code is 1 if there is a problem.",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report; problems are a failure."""
    from gdkernels.diagnostics import doctor

    findings = doctor.examine()
    if args.json:
        say(json.dumps({"findings": [asdict(f) for f in findings]}, indent=2))
    else:
        say("\n".join(doctor.lines(findings)))
    problems = [f.subject for f in findings if f.level == "problem"]
    if problems:
        raise ProblemsError(f"{len(problems)} to mend: {', '.join(dict.fromkeys(problems))}")


class ProblemsError(GdkernelsError):
    """Something is wrong with the installation."""
