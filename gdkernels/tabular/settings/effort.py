"""How long a fit may take: seconds, as by default, or as long as there is time for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.ranges import POSITIVE

__all__ = ["QUICK", "TIME_LIMIT", "check_effort", "seconds_of", "time_limit_of"]

TIME_LIMIT = 300.0  # seconds of `best`, if nobody says
# What `quick` sets unless it was said: one network, and no long wait for a lower loss.
QUICK = {"average": 1, "epochs": 100, "patience": 10}
_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


def seconds_of(limit: Any) -> float:
    """Return the seconds of a time limit: a number of them, or text such as ``"90s"``, ``"10min"`` or ``"2h"``.

    Raises
    ------
    InputError
        For anything else.
    """
    if POSITIVE.has(limit):
        return float(limit)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", limit) if isinstance(limit, str) else None
    unit = found[2] or "s" if found else ""
    if found is None or unit not in _UNITS or not 0 < float(found[1]) < math.inf:
        raise InputError(f'{keyword("time_limit")} must be as in "90s", "10min" or "2h", got {shown(limit)}')
    return float(found[1]) * _UNITS[unit]


def check_effort(given: Mapping[str, Any]) -> None:
    """Refuse keywords that say different things of how long to train.

    Raises
    ------
    InputError
        For two that do not go together; it names both.
    """
    asked = [name for name in ("best", "search") if given[name] not in (None, False)]
    if given["quick"] and asked:
        raise InputError(f"{keyword('quick', True)} and {keyword(asked[0])} exclude each other; leave one out")
    if given["time_limit"] is not None:
        seconds_of(given["time_limit"])
        if not asked:
            raise InputError(
                f"{keyword('time_limit')} is the time that {keyword('best', True)} or {keyword('search')} takes; say "
                "one of them too"
            )
    if not asked:
        return
    unsaid = {"average": None, "starts": 1, "retries": 0, "memory": None, "shards": None}
    if time_limit_of(given) is not None:  # another time would begin other settings
        unsaid |= {"checkpoint": None}
    for name, usual in unsaid.items():
        if given[name] != usual:
            limit = " and a time limit" if name == "checkpoint" else ""
            raise InputError(
                f"{keyword(asked[0])}{limit} does not go with {keyword(name)}: it trains many networks in memory, its "
                "own way; leave one of them out"
            )
    if given["validation"] == 0:
        raise InputError(
            f"{keyword(asked[0])} compares networks on rows left out: leave out {keyword('validation', 0)}"
        )


def time_limit_of(given: Mapping[str, Any]) -> float | None:
    """Return the seconds after which no further settings are tried; None where their number alone ends the search."""
    if given["time_limit"] is not None:
        return seconds_of(given["time_limit"])
    return TIME_LIMIT if given["best"] else None
