"""The encoding of a table's numbers: beside each, how far it has come through bins between quantiles.

A network sees a number as one smooth value; a tree cuts it where it likes. With bins as further inputs, computed inside
the network, a layer can bend at every edge (Gorishniy et al. 2022, arXiv:2203.05556).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks import Block, Columns, PiecewiseLinear, Sequential
from gdkernels.models.mlp import MLP
from gdkernels.models.network import Network
from gdkernels.network import Structure
from gdkernels.tabular.settings import defaults

__all__ = ["encoding_in_words", "encoding_of", "network_of"]

_FEW_VALUES = 10  # a column of so many is told apart without bins
# Of all columns together: beyond, the first layer takes most of the time, and on digits finer bins lost accuracy.
_MOST_BINS = 400
_FEWEST_BINS = 8


def encoding_of(kind: str, x: npt.NDArray[Any], bins: int | None = None, *, days: Sequence[int] = ()) -> Columns | None:
    """Return the block that encodes the numbers among the prepared inputs; None if there are none to encode.

    Parameters
    ----------
    kind
        One of `gdkernels.tabular.settings.keywords.ENCODINGS`.
    x
        Training rows [records, inputs], or a sample of them.
    bins
        How many bins a number has; None goes by the number of rows.
    days
        The columns that number the days, which have more bins: what happens on a day has no smooth course.
    """
    if kind == "none" or (kind == "auto" and len(x) < defaults.ENCODED):
        return None
    encoded = tuple(k for k in range(x.shape[1]) if len(np.unique(x[:, k])) > _FEW_VALUES)
    most = _MOST_BINS // max(1, len(encoded))
    if not encoded or most < _FEWEST_BINS:
        return None
    bins = min(bins or defaults.bins(len(x)), most)
    edges = list(PiecewiseLinear.of(x[:, encoded], bins).edges)
    fine = defaults.bins_of_days(len(x))
    for place, column in enumerate(encoded):
        if column in days and fine > bins:
            edges[place] = _framed(PiecewiseLinear.of(x[:, [column]], fine).edges[0])
    return Columns([(range(x.shape[1]), "passthrough"), (encoded, PiecewiseLinear(tuple(edges)))])


def _framed(edges: tuple[float, ...]) -> tuple[float, ...]:
    """Return the edges with a wide bin before and after: what goes on beyond them is not as steep as a narrow bin."""
    width = edges[-1] - edges[0]
    return (edges[0] - width, *edges, edges[-1] + width)


def encoding_in_words(block: Block) -> tuple[str, Block] | None:
    """Return what an encoding does, and the block that follows it; None for a network that does not begin with one."""
    parts = block.blocks if isinstance(block, Sequential) else ()
    encoding = parts[0] if len(parts) == 2 else None
    if not isinstance(encoding, Columns):
        return None
    bins = [inner for _, inner in encoding.blocks if isinstance(inner, PiecewiseLinear)]
    if len(bins) != 1:
        return None
    most = max(len(edges) - 1 for edges in bins[0].edges)
    return f"{len(bins[0].edges)} of them also in up to {most} bins", parts[1]


def network_of(arguments: dict[str, Any], seed: int | None = None) -> Network:
    """Return the network, before training, of the arguments of `MLP` with an ``encoding`` among them.

    The ``days`` among them, as `encoding_of` takes them, are for those who choose another encoding.

    Parameters
    ----------
    seed
        Instead of that among the arguments.
    """
    given = dict(arguments)
    encoding = given.pop("encoding", None)
    given.pop("days", None)
    if seed is not None:
        given["seed"] = seed
    if encoding is None:
        return MLP(**given)
    inputs, *units = given.pop("sizes")
    named = ("output", "seed", "backend", "device", "precision", "threads")
    place = {name: given.pop(name) for name in named if name in given}
    inner = Structure.of_sizes(
        [encoding.outputs(inputs), *units], given.pop("activation"), "identity", bias=True, **given
    )
    return Network(Sequential(encoding, inner.block), inputs, **place)
