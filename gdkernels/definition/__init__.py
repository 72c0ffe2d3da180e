"""The mathematics: blocks, forward pass, gradient and update, written once against an array namespace `xp`.

Everything here is a pure function or a frozen value, and no other room holds formulas.
The backends decide where a definition runs, and make it fast.
"""

from gdkernels.definition.chain import Layer
from gdkernels.definition.network import forward, gradient, gradient_norm, train_step, update

__all__ = ["Layer", "forward", "gradient", "gradient_norm", "train_step", "update"]
