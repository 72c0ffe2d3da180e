"""The cases of the conformance suite for whoever does nothing of their own with activations and losses.

What these become is compared for every pair where their code is made. Where only what is around that code is another,
each activation comes with one loss, and each loss with an activation; the other pairs come where there is time.
"""

from itertools import cycle

import pytest

from gdkernels.definition import activations, losses
from gdkernels.testing.cases import CASES

PAIRS = {f"{activation}-{loss}" for activation in activations.BY_NAME for loss in losses.BY_NAME}
FEW = {f"{activation}-{loss}" for activation, loss in zip(activations.BY_NAME, cycle(losses.BY_NAME), strict=False)}

FEW_CASES = [pytest.param(name, marks=pytest.mark.slow) if name in PAIRS - FEW else name for name in CASES]
