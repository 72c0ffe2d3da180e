"""Blanks around quotes: the csv module can skip those before a quote, and takes those behind it for an error."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["without_blanks"]

_WITHIN = re.compile(r'[^"]*(?:""[^"]*)*')


def without_blanks(lines: Iterable[str], delimiter: str) -> Iterator[str]:
    """Yield the lines of a text file without the blanks between a closing quote and what divides or ends the cells.

    Nothing else can be meant by them. What stands within quotes stays, also over several lines.
    """
    blank = " " if delimiter == "\t" else " \t"
    opening = re.compile(f'(?:^|{re.escape(delimiter)})[{blank}]*"')
    behind = re.compile(f"[{blank}]+(?={re.escape(delimiter)}|[\r\n]|$)")
    within = False
    for line in lines:
        done: list[str] = []
        at = 0
        while at < len(line):
            if not within:
                found = opening.search(line, at)
                if found is None:
                    break
                done.append(line[at : found.end()])
                at = found.end()
            match = _WITHIN.match(line, at)
            end = at if match is None else match.end()
            within = end == len(line)
            done.append(line[at : end + 1])
            at = end + 1
            if not within and (blanks := behind.match(line, at)) is not None:
                at = blanks.end()
        yield "".join(done) + line[at:]
