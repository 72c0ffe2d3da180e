"""Log records as JSON, so that a program can watch a long run.

Everything goes through Python's own `logging`, to the logger ``gdkernels``: epochs at DEBUG, choices and memory at
INFO, and at WARNING whatever differs from what you asked for.
"""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonLines"]


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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
