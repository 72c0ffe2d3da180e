"""Items in a process of their own: whatever one does to that process or to the device in it, the next begins anew."""

from __future__ import annotations

from typing import Any

from benchmarks import checkout
from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.processes.piped import PipedProcess
from gdkernels.system.machine import cores

__all__ = ["ItemError", "ItemProcess"]


class ItemError(Exception):
    """An item failed, lasted too long or ended its process; the message says which."""


class ItemProcess:
    """Does items, one after the other, by a process that lives while the device works in it.

    Parameters
    ----------
    module
        What the process runs.
    """

    def __init__(self, module: str = "benchmarks.gpu.worker") -> None:
        self._module = module
        self._process: PipedProcess | None = None

    def value(self, part: str, item: str, seconds: float) -> Any:
        """Return what an item does.

        Raises
        ------
        ItemError
            If it fails, or is not done within so many seconds; it is ended then, with all that it started.
        """
        if self._process is None:
            variables = checkout.environment()
            self._process = PipedProcess(self._module, threads=cores(), environment=variables, family=True)
        try:
            answer = self._process.ask({"part": part, "item": item, "seconds": seconds}, seconds)
        except ParticipantError as error:
            self.close()
            raise ItemError(str(error)) from error
        except BaseException:
            self.close()
            raise
        if "wrong" not in answer:
            return answer["value"]
        if not answer["works"]:
            self.close()
        raise ItemError(answer["wrong"])

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None
