"""The arrays of a fitted estimator: a chain's as scikit-learn shows them, any other network's by name.

Nothing but the estimator's own attributes says what they are, since they may be set by hand, or come from a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gdkernels.definition.chain import by_layer, by_name
from gdkernels.dispatch.array_api import to_host
from gdkernels.dispatch.binding import namespace_of
from gdkernels.network import Structure

__all__ = [
    "OfChains",
    "arrays_by_name",
    "chain_sizes",
    "check_present",
    "has_arrays",
    "keep_arrays",
    "on_host",
    "one_array",
]

_NAMED = "_named"  # where the arrays are of what is no chain


class OfChains:
    """A fitted attribute that chains of dense layers have, as in scikit-learn, and other networks have not.

    An estimator's own value comes before it, so this is reached where there is none, and says why.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        if estimator is None or _NAMED not in vars(estimator):
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")
        raise AttributeError(
            f"{owner.__name__} has no {self._name}, because its network is no chain of dense layers; "
            "its arrays are in parameters_, by name"
        )


def has_arrays(estimator: Any) -> bool:
    """Return whether it was fitted."""
    return not vars(estimator).keys().isdisjoint(("coefs_", _NAMED))


def arrays_by_name(estimator: Any) -> dict[str, Any]:
    """Return all of them, constants included."""
    found: dict[str, Any] | None = vars(estimator).get(_NAMED)
    return by_name(list(zip(estimator.coefs_, estimator.intercepts_, strict=True))) if found is None else found


def one_array(estimator: Any) -> Any:
    """Return one of them: all are of one kind and type, and in one place."""
    return estimator.coefs_[0] if "coefs_" in vars(estimator) else next(iter(arrays_by_name(estimator).values()))


def chain_sizes(estimator: Any) -> tuple[int, ...]:
    """Return the sizes of a chain's layers, inputs first."""
    return (estimator.coefs_[0].shape[0], *(W.shape[1] for W in estimator.coefs_))


def keep_arrays(estimator: Any, named: dict[str, Any], structure: Structure) -> None:
    """Put these in the place of those that it had."""
    own = vars(estimator)
    if structure.layers is None:
        for name in ("coefs_", "intercepts_", "n_layers_"):
            own.pop(name, None)
        own[_NAMED] = named
        return
    own.pop(_NAMED, None)
    layers = by_layer(named)
    estimator.coefs_, estimator.intercepts_ = [W for W, _ in layers], [b for _, b in layers]
    estimator.n_layers_ = len(layers) + 1


def check_present(estimator: Any, wanted: Structure) -> None:
    """Refuse to go on with the arrays of another network.

    Raises
    ------
    ValueError
        It says what there is, and what the parameters ask for.
    """
    arrays = arrays_by_name(estimator)
    present = {name: tuple(a.shape) for name, a in arrays.items()}
    asked = {name: parameter.shape for name, parameter in wanted.parameters.items()}
    told = f"arrays of the shapes {present}", f"{asked}"
    if present == asked:
        constants = wanted.constants()
        others = ", ".join(name for name, a in constants.items() if not np.allclose(on_host(arrays[name]), a))
        if not others:
            return
        told = f"the constants {others} of the block it began with", "others"
    elif "coefs_" in vars(estimator) and wanted.layers is not None:
        told = f"layers of {chain_sizes(estimator)} units", f"{wanted.sizes}"
    raise ValueError(
        f"training goes on with {told[0]}, but parameters and data ask for {told[1]}: "
        "set warm_start=False and call fit to begin anew"
    )


def on_host(a: Any) -> Any:
    """Return an array of any library as one that NumPy reads."""
    return a if namespace_of(a) is None else to_host(a)
