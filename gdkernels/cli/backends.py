"""``gdkernels backends``: the installed backends, whether each can run, what it lacks, and the automatic choice."""

import json
from argparse import Namespace
from typing import Any

from gdkernels.cli.arguments import network_sizes, whole
from gdkernels.cli.options import add_explain, add_where
from gdkernels.cli.streams import say
from gdkernels.dispatch.explanation import Explanation
from gdkernels.errors import BackendError, InputError
from gdkernels.models.mlp import MLP
from gdkernels.system.thread_limits import at_most, checked_threads
from gdkernels.training.trainer import Trainer

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "backends",
        help="show which backends can run here, and what the others lack",
        description="List every installed backend. Each of its devices does a small training step, which is compared "
        "with float64. Where a backend cannot run, the list says why, and what to do.",
    )
    add_explain(parser, "estimate how long each would take for a network instead, and show which one is chosen and why")
    network = parser.add_argument_group("the network of --explain, with relu, SSE and Adam")
    network.add_argument("--sizes", type=network_sizes, metavar="N-N-…", help="inputs, hidden layers, outputs")
    network.add_argument("--batch", type=whole(1), default=64, metavar="N", help="records in a step (%(default)s)")
    network.add_argument(
        "--records", type=whole(1), default=10_000, metavar="N", help="records to train on (%(default)s)"
    )
    network.add_argument(
        "--epochs", type=whole(1), default=10, metavar="N", help="passes over the records (%(default)s)"
    )
    add_where(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report; a device that computes something else than the definition is a failure."""
    if args.explain:
        _explain(args)
        return
    if args.sizes is not None:
        raise InputError("--sizes describes the network for --explain; give --explain too")
    from gdkernels.diagnostics import inventory

    records = inventory.report()
    if args.json:
        say(json.dumps({"backends": inventory.as_dicts(records)}, indent=2, allow_nan=False))
    else:
        say("\n".join(inventory.lines(records)))
    wrong = [f"{r.name} on {d.name}" for r in records for d in r.devices if d.problem is not None]
    if wrong:
        raise DeviceError(f"{', '.join(wrong)}: not what the definition computes; choose another with --backend")


def _explain(args: Namespace) -> None:
    if args.sizes is None:
        raise InputError("--explain needs a network: --sizes 784-512-10, and --batch, --records and --epochs")
    trainer = Trainer(MLP(args.sizes), batch_size=args.batch)
    work = trainer.workload(args.records, args.epochs)
    with at_most(checked_threads(args.threads)):
        explanation = Explanation(args.backend, args.device, args.precision, work)
    say(json.dumps(explanation.as_dict(), indent=2, allow_nan=False) if args.json else explanation.as_text())


class DeviceError(BackendError):
    """A device failed its test step: something is broken, not asked for wrongly."""

    exit_code = 1
