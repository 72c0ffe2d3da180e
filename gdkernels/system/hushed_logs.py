"""Log records at a lower level, for work that is done many times over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["hushed"]

_HUSHED: ContextVar[bool] = ContextVar("hushed", default=False)


@contextmanager
def hushed() -> Iterator[None]:
    """Log at DEBUG the records that are logged at INFO elsewhere."""
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
