"""The command ``gdkernels``: results on stdout, messages on stderr, and one line there for what went wrong.

What belongs here are arguments, words on a terminal and exit codes; every subcommand calls public Python functions.
"""

from gdkernels.cli.entry import main

__all__ = ["main"]
