"""Running a subcommand: each error becomes one line on stderr and an exit code.

Exit codes: 0, done; 2, an error in the arguments or the data; 1, a failure at run time; 130, 143 or 129, interrupted by
SIGINT, SIGTERM or SIGHUP. `gdkernels compare` has some of its own.
"""

import contextlib
import logging
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence

from gdkernels import __version__
from gdkernels.cli import (
    backends,
    bench,
    cache,
    calibrate,
    compare,
    describe,
    doctor,
    evaluate,
    export,
    inspect,
    plot,
    predict,
    train,
)
from gdkernels.cli.arguments import Parser, option
from gdkernels.cli.ending import Ended, ending
from gdkernels.cli.outputs import check_outputs, claimed
from gdkernels.cli.ranks import CommandRanks
from gdkernels.cli.streams import STDOUT, OneLine, flush, open_streams, printing, stop_writing
from gdkernels.errors import DivergenceError, GdkernelsError, Interrupted, keywords_as
from gdkernels.system.printable import one_line, printable

__all__ = ["main"]


def main(arguments: Sequence[str], ranks: CommandRanks) -> int:
    """Run the command line `arguments` as one of these ranks, and return the exit code."""
    stdout_is_closed = open_streams()
    debug = "--debug" in arguments  # looked for before parsing, which may fail itself
    with contextlib.suppress(AttributeError):  # a name that the terminal cannot show must not end a finished training
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    failure = 1

    def failed(error: BaseException, message: str, code: int) -> int:
        return _failed(message, code) if ranks.failed(error, one_line(message), code) else code

    try:
        with ending(), printing(), _messages(quiet=ranks.is_quiet), keywords_as(option):
            try:
                parsed = _parser().parse_args(arguments)
            except SystemExit:  # --help and --version
                flush()
                raise
            failure = getattr(parsed, "failure_code", 1)
            parsed.arguments, parsed.stdout_is_closed = arguments, stdout_is_closed
            ranks.join(parsed)
            check_outputs(parsed)
            with claimed(parsed):
                parsed.run(parsed)
            flush()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    except Interrupted as error:
        return failed(error, f"{error}; --resume continues from it", 128 + error.signal)
    except Ended as error:
        return failed(error, str(error), 128 + error.signal)
    except KeyboardInterrupt as error:
        return failed(error, "interrupted", 130)
    except BrokenPipeError:  # whoever read our output has seen enough
        stop_writing()
        return failure
    except Exception as error:
        if debug:
            print(printable(traceback.format_exc()), end="", file=sys.stderr)
        if isinstance(error, GdkernelsError):
            return failed(error, str(error), error.exit_code)
        if isinstance(error, MemoryError):
            message = "out of memory; use fewer records, a smaller network or a smaller --batch-size"
            return failed(error, message, failure)
        if isinstance(error, OSError) and error.filename == STDOUT:
            what = f"cannot write to stdout: {str(error.strerror).lower()}; the output is not complete"
            return failed(error, what, failure)
        hint = "" if debug else "; --debug shows where"
        return failed(error, f"{type(error).__name__}: {error}{hint}", failure)
    return 0


def _parser() -> ArgumentParser:
    parser = Parser(
        prog="gdkernels",
        description="Train multilayer perceptrons by gradient descent, fast, on whatever device you have.",
        epilog="Exit codes: 0, done; 1, a failure at run time; 2, an error in the arguments or the data; 129, 130 or "
        "143, interrupted by a signal.",
    )
    parser.add_argument("--version", action="version", version=f"gdkernels {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (
        *(train, describe, predict, evaluate, inspect, plot, export),
        *(backends, calibrate, bench, compare, doctor, cache),
    ):
        command.add_to(commands)
    return parser


def _failed(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # what was printed comes first, and must not fail again when Python ends
        flush()
    with contextlib.suppress(OSError):
        print(f"gdkernels: {one_line(message)}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _messages(*, quiet: bool) -> Iterator[None]:
    """Show what the library warns of on stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.CRITICAL if quiet else logging.WARNING)
    handler.setFormatter(OneLine())
    # A divergence ends the command with a line of its own.
    handler.addFilter(lambda record: not any(isinstance(a, DivergenceError) for a in record.args or ()))
    logger = logging.getLogger("gdkernels")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
