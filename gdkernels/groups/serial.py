"""The group of one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from gdkernels.groups.contract import Bytes, Group

__all__ = ["SerialGroup"]


class SerialGroup(Group):
    """One process, which receives what it sends."""

    name = "serial"

    def carry_to_each(self, send: Bytes, sent: Sequence[int], got: Bytes, received: Sequence[int]) -> None:
        got[:] = send

    def carry_to_all(self, send: Bytes, got: Bytes, received: Sequence[int]) -> None:
        got[:] = send

    def abort(self, code: int) -> NoReturn:
        raise SystemExit(code)
