"""The command ``gdkernels``: results on stdout, messages on stderr, and one line there for what went wrong."""

from gdkernels.cli.entry import main

__all__ = ["main"]
