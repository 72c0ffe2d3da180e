"""Ceilings: the best product and the best copy that a participant's library manages on the machine."""

from __future__ import annotations

from collections.abc import Iterable

from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.bench.results.model import Ceiling

__all__ = ["ceilings"]

# Matrices and arrays that leave every cache; a GPU needs larger ones to be busy.
_PRODUCT_SIZE = {"cpu": 1536, "gpu": 8192}
_COPY_BYTES = {"cpu": 1 << 28, "gpu": 1 << 30}


def ceilings(processes: Iterable[ParticipantProcess]) -> list[Ceiling]:
    """Return every ceiling that a participant has."""
    found = []
    for process in processes:
        if process.participant.group is not None:
            continue  # its ranks have those of each alone
        device = "cpu" if process.participant.device == "cpu" else "gpu"
        for kind, size in (("product", _PRODUCT_SIZE), ("layer", _PRODUCT_SIZE), ("copy", _COPY_BYTES)):
            try:
                rate = process.ceiling(kind, size[device])
            except ParticipantError:
                continue  # one ceiling less
            if rate:
                found.append(Ceiling(process.participant, kind, size[device], rate))
    return found
