"""Notebooks: small HTML tables that fit a light and a dark background, and a check for a notebook."""

import sys
from collections.abc import Iterable, Sequence

__all__ = ["html_table", "in_notebook"]

# Set no colour: text, lines and background are those of the notebook.
_CELL = "padding:0.15em 0.8em 0.15em 0;text-align:left;vertical-align:top"
_HEAD = f"{_CELL};font-weight:600;border-bottom:1px solid currentColor"
_CAPTION = "caption-side:top;text-align:left;color:inherit;padding:0 0 0.3em"


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML; every text is escaped.

    Parameters
    ----------
    caption
        The text above the table.
    heads
        The names of the columns.
    rows
        The cells of each row, shown by `str`.
    """
    from html import escape

    def row(kind: str, style: str, cells: Iterable[object]) -> str:
        inside = "".join(f'<{kind} style="{style}">{escape(str(cell))}</{kind}>' for cell in cells)
        return f"<tr>{inside}</tr>"

    body = "".join(row("td", _CELL, cells) for cells in rows)
    return (
        f'<table style="border-collapse:collapse"><caption style="{_CAPTION}">{escape(caption)}</caption>'
        f"<thead>{row('th', _HEAD, heads)}</thead><tbody>{body}</tbody></table>"
    )


def in_notebook() -> bool:
    """Return whether this runs in the kernel of a notebook; IPython is asked only where it runs already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
