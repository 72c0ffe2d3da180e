"""The options that several commands have."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import Any

from gdkernels.backend import PRECISIONS
from gdkernels.cli.arguments import column_format, name_of, number, size
from gdkernels.system.ranges import whole
from gdkernels.tables import BUILT_IN
from gdkernels.tables.preparation.task import TASKS
from gdkernels.tabular.settings.keywords import RANGES

__all__ = [
    "add_columns",
    "add_data",
    "add_explain",
    "add_group",
    "add_memory",
    "add_output",
    "add_plot",
    "add_where",
]

_TABLES = "CSV or TSV, Parquet, Arrow or Feather, NPY, NPZ; also gzip or zstd, several, or a folder of them"


def add_data(parser: Any, what: str = "", *, optional: bool = False) -> None:
    """Add the tables to read, and the options for text files."""
    built_in = what or f"{_TABLES}; {', '.join(sorted(BUILT_IN))}"
    parser.add_argument("data", metavar="DATA", nargs="*" if optional else "+", help=built_in)
    text = parser.add_argument_group("text files")
    text.add_argument(
        "--header",
        action=BooleanOptionalAction,
        help="whether the first line names the columns (it does; one that looks like a record is refused)",
    )
    text.add_argument(
        "--skip-rows",
        type=number(RANGES["skip_rows"]),
        default=0,
        metavar="N",
        help="lines to skip before the header or the first record (%(default)s)",
    )


def add_columns(parser: Any) -> None:
    """Add the options for columns."""
    columns = parser.add_argument_group("columns")
    columns.add_argument(
        "--target",
        action="append",
        metavar="COLUMN",
        help="what to predict: a column's name, for NPY its number; may be repeated for several numbers",
    )
    columns.add_argument(
        "--task",
        type=name_of("task", ("auto", *TASKS)),
        default="auto",
        metavar="TASK",
        help="auto, classification or regression (auto: text, or few whole numbers, are classes)",
    )
    helps = {
        "ignore": "leave this column out",
        "keep": "use this column even if it looks like an identifier",
        "categorical": "take the values of this column as names, even if they are numbers",
        "numeric": "take this column as numbers; a cell that holds none is a gap",
    }
    for name, text in helps.items():
        columns.add_argument(
            f"--{name}", action="append", default=[], metavar="COLUMN", help=f"{text}; may be repeated"
        )

    columns.add_argument(
        "--read",
        action="append",
        default=[],
        type=column_format,
        metavar="COLUMN=FORMAT",
        help="what the cells of this column mean, as `gdkernels describe` prints it: numbers as the example 1.234,5 €, "
        "dates as %%d/%%m/%%Y, or text; may be repeated",
    )
    columns.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="VALUE",
        help="take this value as a gap in every column; may be repeated",
    )


def add_where(parser: Any, *, precision: bool = True) -> None:
    """Add the options for backend, device and precision."""
    where = parser.add_argument_group("where to run")
    where.add_argument("--backend", default="auto", metavar="NAME", help="such as numpy or cupy (auto: the best here)")
    where.add_argument("--device", metavar="NAME", help="such as cpu or cuda:0")
    where.add_argument(
        "--threads",
        type=number(whole(1)),
        metavar="N",
        help="the most threads to compute on (the cores, or fewer by GDKERNELS_THREADS or a container's quota)",
    )
    if precision:
        where.add_argument(
            "--precision",
            type=name_of("precision", PRECISIONS),
            default="float32",
            metavar="NAME",
            help=f"{', '.join(PRECISIONS)} (%(default)s)",
        )


def add_memory(parser: Any, what: str) -> None:
    """Add the option for the memory to use."""
    parser.add_argument("--memory", type=size, metavar="SIZE", help=what)


def add_plot(parser: Any, what: str) -> None:
    """Add the option for a picture."""
    parser.add_argument("--plot", metavar="FILE", help=f"draw {what} to this file: .png, .svg or .pdf")


def add_group(parser: Any, what: str) -> None:
    """Add ``--group``."""
    names = "mpi, none, or a plug-in's name (auto: mpi under mpiexec or srun)"
    parser.add_argument("--group", default="auto", metavar="NAME", help=f"{what}: {names}")


def add_explain(parser: Any, text: str) -> None:
    """Add ``--explain``."""
    parser.add_argument("--explain", action="store_true", help=text)


def add_output(parser: Any) -> None:
    """Add the options for the output."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the summary")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
