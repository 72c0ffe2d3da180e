"""``gdkernels bench``: how fast each backend, device or other library trains here, and how exactly."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdkernels.backend import PRECISIONS
from gdkernels.cli.arguments import at_least, names_of, positive, sizes, whole
from gdkernels.cli.options import add_group
from gdkernels.cli.outputs import say_beside, write_or_beside
from gdkernels.cli.streams import say
from gdkernels.errors import FileError, GdkernelsError, InputError
from gdkernels.system.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gdkernels.bench.measuring.planning import PreparedCase, TrainingGoal
    from gdkernels.bench.results import BenchResults

__all__ = ["add_to"]

_STAGES = ("forward", "gradient", "update", "epoch")
_NETWORKS = ("chain", "residual", "gated", "dropout")


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser: ArgumentParser = commands.add_parser(
        "bench",
        help="measure how fast each backend trains here, and how exactly",
        description="Measure training on every backend that can run here, each in a process of its own. The processes "
        "take turns, and beside each time stands the error against the definition in float64. Without arguments, this "
        "runs eight networks in three minutes: five chains of dense layers, and three with other blocks.",
        epilog="The exit code is 1 if a participant computes something else than the definition, or reports that it is "
        "done before it is.",
    )
    _add_workload(parser)
    _add_participants(parser)
    _add_measurement(parser)
    _add_output(parser)
    parser.set_defaults(run=run)


def _add_workload(parser: ArgumentParser) -> None:
    what = parser.add_argument_group("workload")
    what.add_argument(
        "--sizes",
        type=sizes,
        action="append",
        metavar="N-N-…",
        help="inputs, hidden layers, outputs, such as 784-512-10; may be repeated; with --data the hidden layers alone",
    )
    what.add_argument(
        "--network",
        dest="networks",
        type=names_of("network", _NETWORKS),
        metavar="NAME,…",
        help="what is made of these layers: a chain; residual, with layer norm; gated, with gated units in place of "
        "hidden layers; dropout, of a tenth of the outputs of each hidden layer (chain)",
    )
    what.add_argument("--batch", type=whole(1), metavar="N", help="records in a step (256)")
    what.add_argument("--data", metavar="TABLE", action="append", default=[], help="train on a table of your own")
    what.add_argument(
        "--target", metavar="COLUMN", action="append", default=[], help="the column of that table to predict"
    )
    what.add_argument(
        "--run",
        dest="stages",
        type=names_of("stage", _STAGES),
        default=("forward", "epoch"),
        metavar="STAGE,…",
        help=f"stages to time: {', '.join(_STAGES)} (forward,epoch)",
    )


def _add_participants(parser: ArgumentParser) -> None:
    who = parser.add_argument_group("participants")
    who.add_argument(
        "--backends", type=names_of("backend"), metavar="NAME,…", help="backends to measure (all that are installed)"
    )
    who.add_argument(
        "--devices", type=names_of("device"), metavar="NAME,…", help="devices to measure on (the first of each backend)"
    )
    who.add_argument(
        "--precisions",
        type=names_of("precision", PRECISIONS),
        default=("float32",),
        metavar="NAME,…",
        help=f"precisions to measure: {', '.join(PRECISIONS)} (float32)",
    )
    who.add_argument(
        "--threads",
        type=_counts,
        metavar="N,…",
        help="threads that each participant may use (as training would)",
    )
    who.add_argument(
        "--peers",
        type=names_of("peer"),
        default=(),
        metavar="NAME,…",
        help="other libraries to measure: torch, jax, sklearn, thinc, numpy-loop, torch-compile, torch-compile-step "
        "(with the gather and the update in the graph), torch-bf16 (none)",
    )
    add_group(who, "several processes on which each backend is measured too")


def _add_measurement(parser: ArgumentParser) -> None:
    how = parser.add_argument_group("measurement")
    how.add_argument(
        "--time-limit", type=positive, metavar="SECONDS", help="time limit of the whole benchmark (160 for each repeat)"
    )
    how.add_argument(
        "--width",
        type=positive,
        default=2.0,
        metavar="PERCENT",
        help="stop sampling once half the 95 %% interval of each median is at most this share of it (%(default)g)",
    )
    how.add_argument(
        "--repeats",
        type=whole(1),
        default=1,
        metavar="N",
        help="repeat everything in new processes; compare needs five (1)",
    )
    how.add_argument(
        "--busy",
        type=whole(1),
        default=0,
        metavar="N",
        help="measure each row also beside N processes that keep cores busy, with the share of quiet speed kept (0)",
    )
    how.add_argument("--to-loss", type=at_least(0), metavar="LOSS", help="also train until the mean loss is this low")
    how.add_argument(
        "--to-accuracy", type=at_least(0), metavar="SHARE", help="also train until this share of the classes is right"
    )
    how.add_argument(
        "--seeds", type=whole(1), default=3, metavar="N", help="initial weights to train from towards that goal (3)"
    )


def _add_output(parser: ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", help="write all results, with every sample, to this JSON file")
    output.add_argument("--report", metavar="FILE", help="write a report to this HTML file")
    output.add_argument("--force", action="store_true", help="replace those files if they exist")
    output.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    output.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run(args: Namespace) -> None:
    """Check the whole call, and then measure, show and write; other ranks than 0 only take part."""
    from gdkernels.bench.processes.ranks import answering_together, leading
    from gdkernels.groups.sharding import threads_of_ranks

    threads = threads_of_ranks(args.group)[args.group.rank]
    if args.group.rank:
        answering_together(args.group)
        return
    with leading(args.group):
        _run(args, threads)


def _run(args: Namespace, threads_of_rank: int) -> None:
    from gdkernels.bench.report import page
    from gdkernels.bench.report.text import as_text
    from gdkernels.bench.results.file import as_json, write
    from gdkernels.plots.style import require
    from gdkernels.system.atomic_files import check_destination

    for path in (args.out, args.report):
        if path is not None:
            check_destination(path, overwrite=args.force)
    if args.report is not None:
        require()
    results = _measure(args, threads_of_rank)
    # Files first, and each of them even if the other failed: the reader of our output may be gone by now.
    written: dict[str | None, str | None] = {}
    failed: list[FileError] = []
    for path, writer in ((args.out, write), (args.report, page.write)):
        if path is not None:
            try:
                written[path] = write_or_beside(partial(writer, results, overwrite=args.force), path)
            except FileError as error:
                failed.append(error)
    say(as_json(results) if args.json else as_text(results))
    if failed:
        raise FileError("; ".join(map(str, failed)))
    say_beside(written)
    refused = [row for row in results.rows if row.status == "refused"]
    if refused:
        first = refused[0]
        raise RefusedError(
            f"{len(refused)} of {len(results.rows)} rows are refused; the first, {first.participant} at {first.case} "
            f"{first.done}: {first.reason}"
        )


class RefusedError(GdkernelsError):
    """A participant did not do the work that it was timed for."""


def _measure(args: Namespace, threads_of_rank: int) -> BenchResults:
    from gdkernels.bench.measuring import planning
    from gdkernels.bench.measuring.measure import benchmark, parts
    from gdkernels.system.threads import thread_bound

    threads = args.threads or (thread_bound().threads,)
    able, left_out = planning.participants(
        args.backends, args.devices, args.precisions, threads, args.peers, args.group, threads_of_rank
    )
    if not able:
        raise InputError("no participant can run: " + "; ".join(f"{one.participant}: {one.reason}" for one in left_out))
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(args, Path(folder))
        plan = planning.BenchPlan(
            cases=tuple(cases),
            stages=args.stages,
            participants=tuple(able),
            left_out=tuple(left_out),
            repeats=args.repeats,
            seconds=args.time_limit or 160.0 * args.repeats,
            share=args.width / 100,
            goal=_goal(args, cases[0], Path(folder)),
            busy=args.busy,
        )
        if len(cases) > 1 and not _is_watched():
            rows = f"{len(able)} participants on {len(cases)} networks"
            told = f"gdkernels: measuring {rows}, for about {plan.seconds:g} s (--time-limit); a bar is for terminals"
            print(told, file=sys.stderr, flush=True)
        with _progress(parts(plan)) as progress:
            return benchmark(plan, "gdkernels " + shlex.join(args.arguments), progress)


def _cases(args: Namespace, folder: Path) -> list[PreparedCase]:
    """Return the cases; `folder` is for the arrays of a table."""
    from gdkernels.bench.measuring import planning

    if args.to_loss is not None and args.to_accuracy is not None:
        raise InputError("--to-loss and --to-accuracy are two goals; give one")
    if args.target and not args.data:
        raise InputError("--target names a column of a table; give --data TABLE too")
    batch = args.batch or 256
    layers = list(dict.fromkeys(args.sizes or ()))  # one that is given twice is one row
    kinds = dict.fromkeys(args.networks or _NETWORKS[:1])
    if args.data:
        pairs = product(layers or [(256,)], kinds)
        return [planning.prepared(args.data, args.target, hidden, batch, folder, kind) for hidden, kind in pairs]
    if layers:
        for widths in layers:
            if len(widths) < 2:
                raise InputError(f"--sizes {widths[0]} lacks the outputs; give inputs and outputs at least, as in 8-1")
        return [planning.case_of(widths, batch, kind) for widths, kind in product(layers, kinds)]
    for name, given in (("--batch", args.batch), ("--network", args.networks)):
        if given is not None:
            raise InputError(f"{name} is for networks of your own; give --sizes or --data too")
    return [planning.case_of(*case) for case in planning.SWEEP]


def _goal(args: Namespace, case: PreparedCase, folder: Path) -> TrainingGoal | None:
    from gdkernels.bench.measuring import planning

    if args.to_loss is not None:
        return planning.goal_of(case, {"loss": args.to_loss}, args.seeds)
    if args.to_accuracy is not None:
        return planning.goal_of(case, {"accuracy": args.to_accuracy}, args.seeds)
    return None if args.data or args.sizes else planning.digits_goal(folder, args.seeds)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(whole(1)(part) for part in text.split(",")))


def _is_watched() -> bool:
    """Return whether somebody sees a bar on stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _progress(parts: int) -> Iterator[Callable[[str], None]]:
    """Show the part that is being measured on stderr, if that is a terminal."""
    if not _is_watched():
        yield lambda part: None
        return
    from tqdm import tqdm

    columns, lines = shutil.get_terminal_size()  # of a terminal that says it has none, tqdm would show nothing
    with tqdm(total=parts, unit="part", leave=False, ncols=columns, nrows=lines) as bar:

        def begin(part: str) -> None:
            bar.set_postfix_str(one_line(part), refresh=False)
            bar.total = max(bar.total, bar.n + 1)  # what is not known after five processes goes on in further ones
            bar.update()

        yield begin
