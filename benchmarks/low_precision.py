"""The cost of a low precision: the error of one step, layer by layer, and where training ends.

The errors stand beside those of PyTorch's autocast, if that is installed, and the ends beside those in float32, over
several seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

import gdkernels as gd
from benchmarks import checkout
from gdkernels.bench.environment import environment
from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.task import GRID, TrainingTask, errors_by_array
from gdkernels.errors import FileError
from gdkernels.system.atomic_files import check_destination

__all__ = ["TrainingEnds", "ends", "prepared", "step_errors"]

_STEPS = (GRID[1], GRID[3], GRID[4], GRID[7])
_EPOCHS = 20
_TARGETS = {"digits": "digit", "diabetes": "progression"}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TrainingEnds:
    """The mean loss per record after the last epoch, for the same seeds in float32 and in another precision."""

    float32: tuple[float, ...]
    low: tuple[float, ...]

    @property
    def spread(self) -> float:
        return max(self.float32) - min(self.float32)

    @property
    def furthest(self) -> float:
        """The largest distance between the ends of one seed."""
        return max(abs(a - b) for a, b in zip(self.float32, self.low, strict=True))

    @property
    def within(self) -> bool:
        """Whether they end where float32 does: the median within its range, no seed further off than that is wide."""
        inside = min(self.float32) <= median(self.low) <= max(self.float32)
        return inside and self.furthest <= self.spread


def ends(x: Array, y: Array, loss: str, seeds: Sequence[int], *, precision: str, backend: str) -> TrainingEnds:
    """Train 20 epochs for each seed in float32 and in `precision`, by Adam on batches of 64, and return the ends."""
    classes = len(np.unique(y)) if loss == "cross_entropy" else 1

    def end(seed: int, precision: str) -> float:
        mlp = gd.MLP([x.shape[1], 128, 64, classes], seed=seed, precision=precision, backend=backend)
        return mlp.fit(x, y, epochs=_EPOCHS, loss=loss, optimizer=gd.Adam(1e-3), batch_size=64).loss[-1]

    return TrainingEnds(*(tuple(end(seed, p) for seed in seeds) for p in ("float32", precision)))


def step_errors(participant: Participant, task: TrainingTask) -> list[float]:
    """Return the relative error of what a step of plain descent adds to W and b of each layer, against float64.

    Raises
    ------
    UnsuitableError
        If the participant's library is not installed.
    """
    adapter = adapter_of(participant)
    adapter.ready()
    adapter.load(task)
    adapter.step()
    return list(errors_by_array(task, adapter.parameters(), task.batch).values())


def main(arguments: list[str] | None = None) -> int:
    """Print both comparisons; return 1 where training does not end where float32 does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.low_precision", description=__doc__)
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--precision", choices=("tf32", "bfloat16"), default="bfloat16")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--table", metavar="FILE:TARGET", help="a table beside digits and diabetes")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args(arguments)
    if options.json:
        try:
            check_destination(options.json, overwrite=True)
        except FileError as error:
            print(error, file=sys.stderr)
            return 2
    steps = [_errors(task, options.backend, options.precision) for task in _STEPS]
    place, _, target = (options.table or "").rpartition(":")
    found = {}
    for name in (*_TARGETS, *([place] if place else [])):
        x, y, loss = prepared(name, None if name in _TARGETS else target)
        both = ends(x, y, loss, range(options.seeds), precision=options.precision, backend=options.backend)
        found[Path(name).stem] = both
        told = "; ".join(
            f"{what} {min(values):.5f} to {max(values):.5f}, median {median(values):.5f}"
            for what, values in (("float32", both.float32), (options.precision, both.low))
        )
        verdict = "within" if both.within else "BEYOND"
        print(f"{Path(name).stem}: {told}; of one seed at most {both.furthest:.5f} apart: {verdict}")
    if options.json:
        command = checkout.command("low_precision", arguments or sys.argv[1:])
        told_ends = {name: asdict(both) for name, both in found.items()}
        head = {"command": command, "environment": environment(), "precision": options.precision}
        checkout.write_json(options.json, {**head, "steps": steps, "ends": told_ends})
    return 0 if all(both.within for both in found.values()) else 1


def _errors(task: TrainingTask, backend: str, precision: str) -> dict[str, Any]:
    """Print the errors of a step, and return them by the names of the arrays; PyTorch's too, where it takes part."""
    print(task)
    errors: dict[str, list[float]] = {
        "gdkernels": step_errors(Participant(backend, external=False, precision=precision), task)
    }
    if precision == "bfloat16":
        try:
            errors["autocast"] = step_errors(Participant("torch-bf16", external=True, precision=precision), task)
        except UnsuitableError as reason:
            print(f"  torch is passed over: {reason}")
    names = [f"{kind}{k}" for k in range(len(task.sizes) - 1) for kind in "Wb"]
    for who, found in errors.items():
        print(f"  {who:9} " + "  ".join(f"{n} {e:.1e}" for n, e in zip(names, found, strict=True)))
    if "autocast" in errors:
        ratios = (a / b for a, b in zip(errors["gdkernels"], errors["autocast"], strict=True))
        print(f"  the largest ratio of the two: {max(ratios):.2f}")
    return {"task": task.as_dict(), "arrays": names, "errors": errors}


def prepared(table: str, target: str | None = None) -> tuple[Array, Array, str]:
    """Return the inputs and targets of a built-in table or a file, and the loss to train them with."""
    read = gd.tables.read(table)
    preparation = gd.tables.Preparation.fit(read, target or _TARGETS[table])
    x, y = preparation.transform(read), preparation.transform_targets(read)
    return x, y, "cross_entropy" if preparation.task == "classification" else "mse"


if __name__ == "__main__":
    sys.exit(main())
