"""Log records at a lower level, or none: for work that is done many times over, or beside what was asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["hushed", "silenced"]

_HUSHED: ContextVar[bool] = ContextVar("hushed", default=False)
_SILENCED: ContextVar[bool] = ContextVar("silenced", default=False)


@contextmanager
def hushed() -> Iterator[None]:
    """Log at DEBUG the records that are logged at INFO elsewhere."""
    with _within(_HUSHED):
        yield


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing but errors: what is worth saying is said where the same is done in earnest."""
    with _within(_SILENCED):
        yield


@contextmanager
def _within(state: ContextVar[bool]) -> Iterator[None]:
    logger = logging.getLogger("gdkernels")
    if _lowered not in logger.filters:
        logger.addFilter(_lowered)
    token = state.set(True)
    try:
        yield
    finally:
        state.reset(token)


def _lowered(record: logging.LogRecord) -> bool:
    if _SILENCED.get() and record.levelno < logging.ERROR:
        return False
    if record.levelno == logging.INFO and _HUSHED.get():
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        return logging.getLogger("gdkernels").isEnabledFor(logging.DEBUG)
    return True
