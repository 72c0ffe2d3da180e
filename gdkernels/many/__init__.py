"""Many models in one pass: each trained as its own fit would train it, several at the same time.

What is the same for all of them is done once: data are placed, and code is compiled. What one model does stays in the
rooms below; searches and ensembles of tables stand above.
"""

from gdkernels.many.ensemble import Ensemble, selected_greedily
from gdkernels.many.fitting import fit_many

__all__ = ["Ensemble", "fit_many", "selected_greedily"]
