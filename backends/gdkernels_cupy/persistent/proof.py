"""The proof that the kernel for float32 is right on a kind of device: kept by the GPU script, and never assumed.

That kernel makes float32 of tf32 products. How a matrix unit sums is nowhere specified, so the kernel is used where it
has been measured: on a device of that name, with that driver and compiler, in the form that its source has now.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from gdkernels.system.hashing import sha256
from gdkernels.system.kept import keep, kept
from gdkernels_cupy.cuda.device import describe
from gdkernels_cupy.persistent.shape import FORMATS

__all__ = ["keep_proof", "proven_on", "source_version", "unproven"]

_KIND = "proven kernels"
_COMMAND = "python -m benchmarks.gpu --part 1"


def unproven(precision: str, number: int) -> str | None:
    """Return why the persistent kernel is not used in a precision on a GPU; None where it may be, or is proven."""
    if precision not in FORMATS or not FORMATS[precision].in_parts or proven_on(number) is not None:
        return None
    told = describe(number)
    return (
        f"in {precision} it is used only where it has been measured, and on {told['device']} with this driver "
        f"({told['driver']}) it has not: `{_COMMAND}`, from a checkout, does that"
    )


def proven_on(number: int) -> str | None:
    """Return the day on which the kernel for float32 was proven on such a GPU, or None."""
    found = kept(_KIND, _key(number))
    return found["proven"] if isinstance(found, dict) and isinstance(found.get("proven"), str) else None


def keep_proof(number: int) -> None:
    """Keep that the kernel for float32 has passed all that it has to on a GPU."""
    keep(_KIND, _key(number), {"proven": date.today().isoformat()})


def _key(number: int) -> str:
    told: dict[str, Any] = describe(number)
    return json.dumps([told["device"], told["driver"], told["nvrtc"], source_version()])


@cache
def source_version() -> str:
    """Return what changes with any text that the kernels are written by: all files of this folder are, and one more."""
    texts = [f for f in files("gdkernels_cupy.persistent").iterdir() if f.name.endswith((".cuh", ".py"))]
    texts.append(files("gdkernels_cupy.graphs") / "source.py")
    return sha256("\0".join(f.read_text("utf-8") for f in sorted(texts, key=str)).encode()).hexdigest()
