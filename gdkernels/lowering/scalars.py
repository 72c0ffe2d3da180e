"""Numbers of a step that the host knows beforehand: rates, corrections, sizes; for all steps at once, in float64."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Node

__all__ = ["ScalarTable", "known_of_steps", "scalar_table"]

_MOST_KNOWN = 1 << 15  # steps

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
    steps = len(learning_rates)
    times, sizes = (_known if steps <= _MOST_KNOWN else _counted)(steps, records, batch)
    return {
        "learning_rate": np.asarray(learning_rates, np.float64),
        "t": times + done if done else times,
        "B": sizes,
        **numbers,
    }


def _counted(steps: int, records: int, batch: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the numbers of some steps from 1 on, and the records of each; do not change them."""
    counted = np.arange(float(steps))
    in_epoch = counted % -(-records // batch)
    return counted + 1.0, np.minimum(batch, records - batch * in_epoch)


_known = lru_cache(maxsize=16)(_counted)  # many models are trained for as many steps


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
                elif node.op == "broadcast_to":  # where a size is a symbol for 1
                    values[node.id] = values[node.args[0].id]
                else:
                    function = getattr(np, _NUMPY_NAMES.get(node.op, node.op))
                    values[node.id] = function(*(values[a.id] for a in node.args))
        for k, node in enumerate(self._nodes):
            table[:, k] = values[node.id]
        return table
