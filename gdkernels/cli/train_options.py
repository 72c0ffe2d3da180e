"""The options of ``train``, a function for each group of its help."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from gdkernels.cli.arguments import layers, name_of, number
from gdkernels.cli.options import (
    add_columns,
    add_data,
    add_explain,
    add_group,
    add_memory,
    add_output,
    add_plot,
    add_where,
)
from gdkernels.cli.watching import add_watching
from gdkernels.definition import optimizers
from gdkernels.definition.chain import NO_BATCH_NORM, NORMS
from gdkernels.definition.naming import names
from gdkernels.tables import BUILT_IN
from gdkernels.tabular.settings import defaults
from gdkernels.tabular.settings.effort import QUICK, TIME_LIMIT
from gdkernels.tabular.settings.keywords import CLASS_WEIGHTS, ENCODINGS, OUTSIDE, RANGES

__all__ = ["add_train"]


def add_train(commands: Any) -> ArgumentParser:
    """Add ``train`` to the commands, and return its parser."""
    sets = "; ".join(f"{name}: {what}" for name, (_, what) in BUILT_IN.items())
    parser: ArgumentParser = commands.add_parser(
        "train",
        help="train a network on a table",
        description="Train a multilayer perceptron on a table, and report how well it predicts rows that it never saw.",
        epilog=f"Built-in data sets: {sets}. An NPZ file must hold the arrays X and Y; a text file needs a header.",
    )
    add_data(parser)
    add_columns(parser)
    parser.add_argument(
        "--drop-missing", action="store_true", help="leave out rows without a target instead of rejecting the table"
    )
    parser.add_argument(
        "--class-weight",
        type=name_of("class weight", CLASS_WEIGHTS),
        default="none",
        metavar="NAME",
        help="balanced: weight the records so that each class counts the same (none)",
    )
    _add_network(parser)
    _add_training(parser)
    _add_rows(parser)
    add_where(parser)
    _add_ranks(parser)
    add_explain(parser, "show how long each backend was estimated to take, and why one was chosen")
    _add_checkpoints(parser)
    _add_outputs(parser)
    return parser


def _add_network(parser: ArgumentParser) -> None:
    network = parser.add_argument_group("network")
    few, large = (",".join(map(str, defaults.hidden(n))) for n in (1, 10**9))
    network.add_argument(
        "--hidden",
        type=layers,
        metavar="N,N,…",
        help=f"units of hidden layers, or none ({few}; {large} from {defaults.FEW:,} training rows on, or, without "
        f"encoded numbers, for more than {defaults.SMALL:,})",
    )
    _add_name(network, "activation", defaults.ACTIVATION)
    network.add_argument(
        "--residual",
        action="store_true",
        help="a hidden layer as wide as the one before it adds its inputs to its outputs",
    )
    network.add_argument(
        "--norm",
        type=name_of("norm", NORMS, NO_BATCH_NORM),
        metavar="NAME",
        help="layer normalises what layers take (none)",
    )
    network.add_argument(
        "--encoding",
        type=name_of("encoding", ENCODINGS),
        default="auto",
        metavar="NAME",
        help="piecewise adds to each number how far it has come through bins between quantiles; none does not "
        f"(auto: piecewise from {defaults.ENCODED} training rows on)",
    )
    network.add_argument(
        "--dropout",
        type=number(RANGES["dropout"]),
        default=0.0,
        metavar="SHARE",
        help="share of each hidden layer's outputs that is dropped in training (0)",
    )
    _add_name(network, "loss", None, "cross_entropy for classes, sse for numbers")


def _add_training(parser: ArgumentParser) -> None:
    small = f"{defaults.SMALL:,}"
    training = parser.add_argument_group("training")
    training.add_argument(
        "--optimizer",
        type=name_of("optimizer", (*names("optimizer"), *names("solver"))),
        default=defaults.OPTIMIZER,
        metavar="NAME",
        help=f"{', '.join(names('optimizer'))}; or a solver, which takes all rows in each step: lm, for small "
        f"networks, or lbfgs ({defaults.OPTIMIZER})",
    )
    rates = ", ".join(f"{name} {kind().learning_rate:g}" for name, kind in optimizers.BY_NAME.items())
    training.add_argument(
        "--learning-rate", type=number(RANGES["learning_rate"]), metavar="RATE", help=f"learning rate ({rates})"
    )
    training.add_argument(
        "--momentum", type=number(RANGES["momentum"]), metavar="SHARE", help=f"momentum of sgd ({defaults.MOMENTUM:g})"
    )
    training.add_argument("--nesterov", action="store_true", help="use Nesterov's momentum with sgd")
    training.add_argument(
        "--l2",
        type=number(RANGES["l2"]),
        metavar="LAMBDA",
        help="penalty on weights (the best one for the rows left out, or "
        f"{defaults.l2(1):g} / training rows, {defaults.l2(1000, encoded=True) * 1000:g} / training rows where numbers "
        f"are encoded from {defaults.FEW:,} rows on)",
    )
    training.add_argument(
        "--clip-norm", type=number(RANGES["clip_norm"]), metavar="NORM", help="largest norm of the gradient (none)"
    )
    _add_name(training, "schedule", "constant")
    training.add_argument(
        "--epochs",
        type=number(RANGES["epochs"]),
        metavar="N",
        help=f"largest number of epochs ({defaults.epochs(1)}; {defaults.epochs(10**9)} for more than {small} rows)",
    )
    training.add_argument(
        "--batch-size",
        type=number(RANGES["batch_size"]),
        metavar="N",
        help="rows in a step (32 to 512, by training rows)",
    )
    training.add_argument(
        "--patience",
        type=number(RANGES["patience"]),
        metavar="N",
        help=f"stop after N epochs without a lower validation loss, 0: never ({defaults.patience(1)}; "
        f"{defaults.PATIENCE_TOGETHER} where networks stop together; {defaults.patience(10**9)} for more than {small} "
        "rows)",
    )
    _add_networks(training)
    training.add_argument(
        "--retries",
        type=number(RANGES["retries"]),
        default=0,
        metavar="N",
        help="if training diverges, go back and continue at half the learning rate, at most N times (%(default)s)",
    )
    training.add_argument(
        "--seed", type=number(RANGES["seed"]), default=0, metavar="N", help="seed of all random choices (%(default)s)"
    )


def _add_networks(training: Any) -> None:
    """Add the options that say how many networks there are, and how long to search for better ones."""
    training.add_argument(
        "--starts",
        type=number(RANGES["starts"]),
        default=1,
        metavar="N",
        help="train from N initial weights, and keep the best network (1)",
    )
    training.add_argument(
        "--average",
        type=number(RANGES["average"]),
        metavar="N",
        help="train N networks, each with validation rows of its own, and join them into one that predicts their "
        f"average ({defaults.folds(1)}; {defaults.AT_LEAST_TOGETHER} to {defaults.folds(defaults.SMALL)}, by the time "
        f"they take, for {defaults.FEW:,} to {defaults.SMALL:,} rows; 1 with --hidden or --starts, and for more than "
        f"{defaults.LARGE:,} rows)",
    )
    training.add_argument(
        "--quick",
        action="store_true",
        help=f"train one network for at most {QUICK['epochs']} epochs instead of the average of several",
    )
    training.add_argument(
        "--search",
        type=number(RANGES["search"]),
        metavar="N",
        help="try N settings: draw at random what is left open of the network, its encoding, --dropout, "
        "--learning-rate, --l2 and --batch-size, train the networks together, and keep the ensemble that does best on "
        "the validation rows",
    )
    training.add_argument(
        "--best",
        action="store_true",
        help="try such settings until --time-limit, each with a network for every fifth of the rows that is left out",
    )
    training.add_argument(
        "--time-limit",
        metavar="TIME",
        help=f"after which --best ({TIME_LIMIT / 60:.0f}min) and --search (never) begin no further settings: 90s, "
        "10min, 2h; the default settings are always tried",
    )


def _add_rows(parser: ArgumentParser) -> None:
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--test",
        type=number(RANGES["test"]),
        default=defaults.TEST,
        metavar="SHARE",
        help="share of the rows to keep from training and stopping; the figures are measured on them (%(default)s)",
    )
    rows.add_argument(
        "--validation",
        type=number(RANGES["validation"]),
        metavar="SHARE",
        help="share of the other rows that decides when to stop "
        f"(another part for each network; {defaults.VALIDATION:g} with --hidden, --starts or --average)",
    )
    rows.add_argument(
        "--split",
        default="random",
        metavar="RULE",
        help="how rows are set aside: random; time or time:COLUMN, the last ones by a column of dates or numbers; "
        "group:COLUMN, all rows of some groups (%(default)s)",
    )
    rows.add_argument(
        "--test-file",
        metavar="FILE",
        help="measure the figures on this table, and set no rows aside for them",
    )
    rows.add_argument(
        "--outside",
        type=name_of("way to go on outside the training range", OUTSIDE),
        metavar="NAME",
        help="what numbers and dates beyond those of training are taken for: hold, the nearest of those; extrapolate, "
        "what they are, so that a trend goes on (hold with --split time, else extrapolate)",
    )
    rows.add_argument(
        "--bounds",
        default="auto",
        metavar="LOW:HIGH",
        help="the lowest and the highest number to predict, either may be left out; auto is from 0 on if no target is "
        "below 0, none sets none (%(default)s)",
    )
    add_memory(
        rows,
        "train in windows of this much memory, such as 512MB or 2GB, on a table that may be larger (by default only if "
        "the table would not fit: 1GB, or a quarter of the limit)",
    )


def _add_ranks(parser: ArgumentParser) -> None:
    ranks = parser.add_argument_group("several processes")
    add_group(ranks, "the processes that train together")
    ranks.add_argument(
        "--shards",
        type=number(RANGES["shards"]),
        metavar="N",
        help="parts of each batch that are summed in a fixed order: the same number gives the same bits on any "
        "number of processes (one for each)",
    )


def _add_checkpoints(parser: ArgumentParser) -> None:
    stopping = parser.add_argument_group("checkpoints")
    stopping.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="keep checkpoints in this folder; Ctrl-C, SIGTERM and SIGHUP then finish the step and write one",
    )
    stopping.add_argument(
        "--every",
        default="5min",
        metavar="TIME",
        help="how often to write one: 30s, 2h, '10 epochs' or '1000 steps' (%(default)s)",
    )
    stopping.add_argument(
        "--resume", action="store_true", help="continue from the newest checkpoint, or start if there is none"
    )


def _add_outputs(parser: ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="MODEL", help="write the model to this file (safetensors)")
    add_plot(output, "the losses, and what is predicted for the rows kept from training,")
    output.add_argument("--force", action="store_true", help="replace these files if they exist")
    add_watching(output)
    add_output(output)


def _add_name(group: Any, kind: Any, default: str | None, explanation: str = "") -> None:
    listed = ", ".join(names(kind))
    group.add_argument(
        f"--{kind}",
        type=name_of(kind, names(kind)),
        default=default,
        metavar="NAME",
        help=f"{listed} ({explanation or default})",
    )
