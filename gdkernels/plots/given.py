"""What somebody gives to be drawn: a landscape, paths, numbers; each is checked before a figure is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, shown
from gdkernels.plots.landscape import Landscape, Path
from gdkernels.system.given import items_of
from gdkernels.system.ranges import FINITE, whole

__all__ = [
    "checked_landscape", "checked_limits", "checked_path", "checked_paths", "checked_points",
    "checked_text", "checked_texts", "numbers_of",
]  # fmt: skip


def checked_landscape(landscape: Any) -> Landscape:
    if not isinstance(landscape, Landscape):
        raise InputError(f"landscape must be a gdkernels.plots.Landscape(mlp, X, Y), got {shown(landscape)}")
    return landscape


def checked_path(path: Any) -> Path | None:
    if path is not None and not isinstance(path, Path):
        raise InputError(
            f"path must be a gdkernels.plots.Path, which fit takes as one of its callbacks, or None, got {shown(path)}"
        )
    return path


def checked_paths(paths: Any) -> list[Path]:
    """Return one path or several, with `InputError` for anything else or none."""
    given = (paths,) if isinstance(paths, Path) else items_of(paths)
    if not given or not all(isinstance(path, Path) for path in given):
        told = "an empty one" if given == () else shown(paths)
        raise InputError(f"paths must be a list of gdkernels.plots.Path, with a path at least, got {told}")
    return list(given)


def checked_points(points: Any) -> int:
    if not whole(2).has(points):
        raise InputError(f"points must be {whole(2).wanted}, got {shown(points)}")
    return int(points)


def checked_limits(limits: Any) -> tuple[float, float] | None:
    """Return a pair of numbers, the lower one first; None where nothing was given."""
    if limits is None:
        return None
    pair = items_of(limits)
    if pair is None or len(pair) != 2 or not all(map(FINITE.has, pair)) or not pair[0] < pair[1]:
        raise InputError(f"limits must be a pair (least, greatest), got {shown(limits)}")
    return float(pair[0]), float(pair[1])


def checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {shown(value)}")
    return value


def checked_texts(name: str, value: Any, count: int) -> tuple[str, ...]:
    """Return so many texts, with `InputError` for anything else."""
    texts = None if isinstance(value, Mapping) else items_of(value)
    if texts is None or len(texts) != count or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{name} must be {count} texts, got {shown(value)}")
    return texts


def numbers_of(values: Any, name: str) -> npt.NDArray[np.float64]:
    """Return finite numbers, one for each record.

    Raises
    ------
    InputError
        For anything else.
    """
    try:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype.kind in "biuf" else np.asarray([*map(float, array)])
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be one number for each record, got {shown(values)}") from None
    if array.ndim not in (1, 2) or array.size != len(array) or not array.size:
        raise InputError(f"{name} must be one number for each record, [records]; got the shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds values that are not finite, which have no place in a picture; leave them out")
    return array.reshape(-1)
