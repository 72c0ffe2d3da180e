"""Log records as JSON, so that a program can watch a long run.

Everything goes through Python's own `logging`, to the logger ``gdkernels``: epochs at DEBUG, choices and memory at
INFO, and at WARNING whatever differs from what you asked for.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonLines", "hushed"]

_HUSHED: ContextVar[bool] = ContextVar("hushed", default=False)


class JsonLines(logging.Formatter):
    """Formats each record as an object in one line: ``time`` (UTC), ``level``, ``message`` and more.

    An ``event`` says which keys a record has besides: "epoch" comes with all the figures of a
    `gdkernels.training.history.Epoch`, "memory" with the bytes that training takes. Figures that are not finite
    are null.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "told", {}),
        }
        return json.dumps(_finite(told), allow_nan=False, default=str)


@contextmanager
def hushed() -> Iterator[None]:
    """Log at DEBUG what is logged at INFO elsewhere: for work that is done many times over, as in a search."""
    logger = logging.getLogger("gdkernels")
    if _lowered not in logger.filters:
        logger.addFilter(_lowered)
    token = _HUSHED.set(True)
    try:
        yield
    finally:
        _HUSHED.reset(token)


def _lowered(record: logging.LogRecord) -> bool:
    if record.levelno == logging.INFO and _HUSHED.get():
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        return logging.getLogger("gdkernels").isEnabledFor(logging.DEBUG)
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
