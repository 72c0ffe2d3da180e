"""Blocks: what networks are made of. Each is a frozen value with parameters by name and a few lines of `xp`.

A user's own is a subclass of `Block`. Training, files and backends know blocks by that interface alone.
"""

from gdkernels.definition.blocks.block import Block, Parameter
from gdkernels.definition.blocks.columns import Columns, Embedding
from gdkernels.definition.blocks.compose import Mean, Residual, Sequential
from gdkernels.definition.blocks.dense import Activated, Dense, InitialWeights
from gdkernels.definition.blocks.dropout import Dropout
from gdkernels.definition.blocks.encodings import Periodic, PiecewiseLinear
from gdkernels.definition.blocks.gated import Gated
from gdkernels.definition.blocks.normal import LayerNorm, Scale

__all__ = [
    "Activated",
    "Block",
    "Columns",
    "Dense",
    "Dropout",
    "Embedding",
    "Gated",
    "InitialWeights",
    "LayerNorm",
    "Mean",
    "Parameter",
    "Periodic",
    "PiecewiseLinear",
    "Residual",
    "Scale",
    "Sequential",
]
