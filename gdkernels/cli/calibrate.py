"""``gdkernels calibrate``: measure this machine for some seconds, so that the automatic choice knows it."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from typing import Any

from gdkernels.backend import PRECISIONS
from gdkernels.cli.arguments import name_of, positive
from gdkernels.cli.streams import say
from gdkernels.dispatch.calibration import Calibration, destination, keep

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "calibrate",
        help="measure this machine, so that the automatic choice of backend, device and threads knows it",
        description="Time some small jobs on every backend, device and number of threads that can run here, and keep "
        "the calibration for the automatic choice. `gdkernels backends --explain` shows what it estimates for a "
        "network.",
    )
    parser.add_argument(
        "--precision",
        type=name_of("precision", PRECISIONS),
        default="float32",
        metavar="NAME",
        help=f"{', '.join(PRECISIONS)} (%(default)s)",
    )
    parser.add_argument(
        "--seconds", type=positive, default=10.0, metavar="S", help="measure for about this long at most (%(default)g)"
    )
    parser.add_argument("--force", action="store_true", help="keep the calibration even if the machine is busy")
    parser.add_argument("--json", action="store_true", help="print the calibration as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Calibrate, keep the calibration, and say how well it fits."""
    from gdkernels.bench.calibrating.calibrate import calibrate

    destination(args.precision)
    if sys.stderr.isatty():
        print(f"measuring for about {args.seconds:g} s; leave the machine alone", file=sys.stderr)
    calibration = calibrate(args.precision, seconds=args.seconds, anyway=args.force)
    file = keep(calibration)
    say(calibration.as_json().rstrip() if args.json else _text(calibration, str(file)))


def _text(calibration: Calibration, file: str) -> str:
    lines = [
        f"{candidate}: times fit within a factor of {math.exp(calibration.misfit[candidate]):.2f} (rms)"
        for candidate in calibration.prices
    ]
    noise = f"repeated times were {calibration.noise:.0%} above the fastest, at the median"
    return "\n".join([*lines, noise, f"kept in {file}"])
