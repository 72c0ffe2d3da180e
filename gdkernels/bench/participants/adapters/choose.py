"""From a participant to its adapter."""

from __future__ import annotations

from collections.abc import Callable

from gdkernels.bench.participants.adapter import Adapter
from gdkernels.bench.participants.adapters.gdkernels import GdkernelsAdapter
from gdkernels.bench.participants.adapters.jax import JaxAdapter
from gdkernels.bench.participants.adapters.numpy_loop import NumPyLoopAdapter
from gdkernels.bench.participants.adapters.sklearn import ScikitLearnAdapter
from gdkernels.bench.participants.adapters.thinc import ThincAdapter
from gdkernels.bench.participants.adapters.torch import TorchAdapter
from gdkernels.bench.participants.participant import LIBRARIES, Participant

__all__ = ["adapter_of"]

_ADAPTERS: dict[str, Callable[[Participant], Adapter]] = {
    "jax": JaxAdapter,
    "numpy": NumPyLoopAdapter,
    "sklearn.neural_network": ScikitLearnAdapter,
    "thinc.api": ThincAdapter,
    "torch": TorchAdapter,
}


def adapter_of(participant: Participant) -> Adapter:
    """Return what runs `participant` in this process."""
    return (
        _ADAPTERS[LIBRARIES[participant.name].module](participant)
        if participant.external
        else GdkernelsAdapter(participant)
    )
