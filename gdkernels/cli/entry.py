"""Running a subcommand, and what becomes of its errors.

Exit codes: 0, done; 2, something that the user can mend; 1, something that failed; 130 or 143, interrupted by SIGINT or
SIGTERM.
"""

import contextlib
import logging
import os
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
from gdkernels.errors import DivergenceError, GdkernelsError, Interrupted, keywords_as

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments`, those of the process for None, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments  # looked for before parsing, which may fail itself
    with contextlib.suppress(AttributeError):  # a name that the terminal cannot show must not end a finished training
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with _messages(), keywords_as(option):
            parsed = _parser().parse_args(arguments)
            parsed.arguments = arguments
            parsed.run(parsed)
            sys.stdout.flush()
    except SystemExit as exit_:  # --help and --version
        return int(exit_.code or 0)
    except Interrupted as error:
        return _failed(f"{error}; --resume goes on from it", 128 + error.signal)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, GdkernelsError):
            return _failed(str(error), error.exit_code)
        if isinstance(error, MemoryError):
            return _failed("out of memory; use fewer records, a smaller network or a smaller --batch-size", 1)
        hint = "" if debug else "; --debug shows where"
        return _failed(f"{type(error).__name__}: {error}{hint}", 1)
    return 0


def _parser() -> ArgumentParser:
    parser = Parser(
        prog="gdkernels",
        description="Train multilayer perceptrons by gradient descent, fast, on whatever device is there.",
        epilog="Exit codes: 0 done, 1 failed, 2 something in the call or the data to mend, 130 or 143 interrupted.",
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
    print(f"gdkernels: {' '.join(message.split())}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Show what the library warns of on stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("gdkernels: %(message)s"))
    # A divergence ends the command with a line of its own.
    handler.addFilter(lambda record: not any(isinstance(a, DivergenceError) for a in record.args or ()))
    logger = logging.getLogger("gdkernels")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
