"""What a fit is, as a checkpoint that it resumes from and all its ranks must share it: network, settings and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.system.hashing import sha256
from gdkernels.training.placement import Placed
from gdkernels.training.runner import Runner
from gdkernels.training.settings import FitSettings

__all__ = ["digest_of_arrays", "identity", "told_to_ranks", "values_digest"]


def identity(runner: Runner, asked: FitSettings) -> dict[str, Any]:
    """Return the description of network and settings, which holds names of the files of version 0.1."""
    network = runner.network
    structure = network.structure.as_dict()
    output = structure.pop("output")
    chain = "activations" in structure
    outputs = {"activations": [*structure["activations"], output]} if chain else {"output": output}
    numbers = {"seed": network.seed, "precision": network.precision}
    return {**structure, **outputs, **numbers, **runner.settings.as_dict(), **asked.identity()}


def told_to_ranks(runner: Runner, asked: FitSettings, now: Placed) -> dict[str, Any]:
    """Return what each rank brings to a fit, part by part, so that a difference can be named."""
    train, held_out = now.train, now.evaluator.held_out
    parts = [None if isinstance(part, Batches) else part for part in (train, held_out)]
    whole = [part for part in parts if not isinstance(part, Windows)]
    return {
        "records": {
            "training": None if parts[0] is None else len(parts[0]),
            "validation": None if parts[1] is None else len(parts[1]),
        },
        "network and settings": identity(runner, asked),
        "plan": now.executable.plan.as_dict() | {"device": now.binding.device.partition(":")[0]},
        "initial parameters": digest_of_arrays(runner.network.host_parameters()),
        "data": values_digest(*whole),
        "data in files": [part.outline for part in parts if isinstance(part, Windows)],
    }


def values_digest(*parts: Records | Windows | None) -> str:
    """Return the SHA-256 of all the values of some records."""
    found = sha256()
    for part in parts:
        if part is None:
            found.update(b"None" * 3)
        else:
            part.add_to(found)
    return found.hexdigest()


def digest_of_arrays(arrays: Mapping[str, Any]) -> str:
    """Return the SHA-256 of arrays by name."""
    found = sha256()
    for name, array in arrays.items():
        found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
