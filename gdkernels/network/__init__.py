"""A network without its trainer: its structure, its parameters on their device, its predictions, and its file.

Everything that holds a network (trainers, estimators, table models, plots, exports) uses the interface of this room.
Changing the parameters belongs to `gdkernels.training`.
"""

from gdkernels.network.bound import BoundNetwork
from gdkernels.network.structure import Structure

__all__ = ["BoundNetwork", "Structure"]
