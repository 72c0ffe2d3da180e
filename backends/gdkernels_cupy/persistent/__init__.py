"""One persistent kernel for narrow networks: activations, weights and gradients stay on the chip within a step.

Code here writes that kernel's source for a program and its widths, and launches it.
Networks that do not fit on the chip belong to `gdkernels_cupy.graphs`.
"""

from gdkernels_cupy.persistent.executable import PersistentExecutable
from gdkernels_cupy.persistent.fitting import applies
from gdkernels_cupy.persistent.launch_device import DeviceProperties

__all__ = ["DeviceProperties", "PersistentExecutable", "applies"]
