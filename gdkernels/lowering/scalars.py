"""Numbers of a step that the host knows beforehand: rates, corrections, sizes; for all steps at once, in float64."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Node

__all__ = ["ScalarTable", "known_of_steps", "scalar_table"]

_NUMPY_NAMES = {"pow": "power"}


def known_of_steps(
    learning_rates: npt.NDArray[np.float64], *, done: int, records: int, batch: int, numbers: Mapping[str, float]
) -> dict[str, npt.NDArray[np.float64] | float]:
    """Return the numbers that the steps of a run take as inputs, by the names of the inputs.

    Parameters
    ----------
    done
        The steps before the first of these.
    records, batch
        How many records an epoch uses, and how many of them each of its steps but perhaps the last.
    numbers
        Those of the program: `Program.numbers`.
    """
    steps = np.arange(float(len(learning_rates)))
    in_epoch = steps % -(-records // batch)
    return {
        "learning_rate": np.asarray(learning_rates, np.float64),
        "t": done + 1.0 + steps,
        "B": np.minimum(batch, records - batch * in_epoch),
        **numbers,
    }


def scalar_table(
    nodes: Sequence[Node], known: Mapping[str, npt.NDArray[np.float64] | float], steps: int
) -> npt.NDArray[np.float64]:
    """Return the values of `nodes` [steps, nodes]; see `ScalarTable`."""
    return ScalarTable(nodes).values(known, steps)


class ScalarTable:
    """The values of some nodes for each step, computed in an order that is found once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes, self._order = tuple(nodes), topological(*nodes)

    def values(self, known: Mapping[str, npt.NDArray[np.float64] | float], steps: int) -> npt.NDArray[np.float64]:
        """Return the values [steps, nodes].

        Parameters
        ----------
        known
            Inputs and sizes by name: for each step, or one for all.
        """
        table = np.empty((steps, len(self._nodes)))
        values: dict[int, npt.NDArray[np.float64] | float] = {}
        with np.errstate(all="ignore"):
            for node in self._order:
                if node.op in ("input", "dim"):
                    values[node.id] = known[str(node.attribute)]
                elif node.op == "constant":
                    values[node.id] = node.attribute
                else:
                    function = getattr(np, _NUMPY_NAMES.get(node.op, node.op))
                    values[node.id] = function(*(values[a.id] for a in node.args))
        for k, node in enumerate(self._nodes):
            table[:, k] = values[node.id]
        return table
