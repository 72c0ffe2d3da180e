"""``gdkernels backends``: what is installed, what can run, and what each of the others lacks."""

from argparse import Namespace
from typing import Any

from gdkernels.errors import BackendError

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "backends",
        help="show what can run here, and what each of the others lacks",
        description="Show every installed backend: its devices, each after a small training step that is compared with "
        "float64, or why it cannot run here, with what would mend that.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report; a device that computes something else than the definition is a failure."""
    from gdkernels import inventory

    records = inventory.report()
    if args.json:
        import json

        print(json.dumps({"backends": inventory.as_dicts(records)}, indent=2, allow_nan=False))
    else:
        print("\n".join(inventory.lines(records)))
    wrong = [f"{r.name} on {d.name}" for r in records for d in r.devices if d.problem is not None]
    if wrong:
        raise DeviceError(f"{', '.join(wrong)}: not what the definition computes; choose another with --backend")


class DeviceError(BackendError):
    """A device failed its test step: something is broken, not asked for wrongly."""

    exit_code = 1
