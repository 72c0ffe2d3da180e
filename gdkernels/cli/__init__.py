"""The command ``gdkernels``: results on stdout, messages on stderr, and one line there for what went wrong.

What belongs here are arguments, words on a terminal and exit codes; every subcommand calls public Python functions.
"""

import sys
from collections.abc import Sequence

__all__ = ["main"]

_FAILED, _INTERRUPTED = 1, 130
_NO_VERDICT = 70  # of `gdkernels compare`, whose 1 is a verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments`, those of the process for None, and return the exit code."""
    given, ranks = sys.argv[1:] if arguments is None else list(arguments), None
    try:
        try:
            from gdkernels.cli.ranks import CommandRanks

            ranks = CommandRanks(given)
            if (refused := ranks.refused()) is not None:
                return refused
            if ranks.is_left_to_another():
                return 0
            from gdkernels.cli.entry import main as run
        except Exception as error:  # NumPy may be broken, and fails with anything then
            if _interrupted(error):
                raise KeyboardInterrupt from error
            cause = " ".join(str(error).split())[:200]
            print(
                f"gdkernels: cannot start: {type(error).__name__}: {cause}; mend the installation of what it names",
                file=sys.stderr,
            )
            return _NO_VERDICT if "compare" in given[:1] else _FAILED
        return run(given, ranks)
    except KeyboardInterrupt as error:  # before the command listens, or when it does no more
        if ranks is None or ranks.failed(error, "interrupted", _INTERRUPTED):
            print("gdkernels: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: modules that are being loaded make others of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
