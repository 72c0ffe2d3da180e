"""The cases of the conformance suite for whoever does not need every pair of an activation and a loss.

Where code is made of them, `FUSED_CASES` has each pair that one loop computes. A loss that takes logits follows the
last product, and the activation stands before that, in hidden layers alone: no loop has both. Where only what is around
that code is another, `FEW_CASES` has each activation with one loss, and each loss with an activation. The other pairs
come where there is time.
"""

from itertools import cycle

import pytest

from gdkernels.definition import activations, losses
from gdkernels.testing.cases import CASES

PAIRS = {f"{activation}-{loss}" for activation in activations.BY_NAME for loss in losses.BY_NAME}
FEW = {f"{activation}-{loss}" for activation, loss in zip(activations.BY_NAME, cycle(losses.BY_NAME), strict=False)}
FUSED = {
    f"{activation}-{name}"
    for name, loss in losses.BY_NAME.items()
    for activation in activations.BY_NAME
    if losses.link_of(loss) is activations.identity
}


def _without(pairs):
    return [pytest.param(name, marks=pytest.mark.slow) if name in pairs else name for name in CASES]


FEW_CASES, FUSED_CASES = _without(PAIRS - FEW), _without(PAIRS - FEW - FUSED)
