"""One persistent kernel for narrow networks: activations, weights and gradients stay on the chip within a step."""

from gdkernels_cupy.narrow.executable import NarrowExecutable, applies
from gdkernels_cupy.narrow.machine import Properties

__all__ = ["NarrowExecutable", "Properties", "applies"]
