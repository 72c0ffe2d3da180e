"""What an estimator keeps of its network besides the arrays that it shows, and the network of both.

All of it stands among the estimator's own attributes, where scikit-learn clones and pickles it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gdkernels.definition.activations import Activation
from gdkernels.estimators.arrays import arrays_by_name, chain_sizes, check_present
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.shape import asks_for_blocks, hidden_activations, plain_sizes, structure_of
from gdkernels.models.mlp import model_of
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork, Structure
from gdkernels.training.optimizer_state import Carried

__all__ = [
    "carried_by",
    "check_goes_on",
    "fitted_network",
    "forget_carried",
    "forget_network",
    "keep_seed",
    "keep_structure",
    "model_of_arrays",
    "picklable",
]

_NETWORK = "_live"
_STRUCTURE = "_structure"  # of a network of blocks; what a plain chain is follows from its arrays and `activation`
_SEED = "_seed"
_CARRIED = "_carried"  # what the optimizer of an earlier network carried from step to step


def fitted_network(estimator: Any, output: Callable[[], Activation], like: Any, precision: str) -> FittedNetwork:
    """Return the network of the present arrays, which may have been set by hand or come from a file.

    Parameters
    ----------
    output
        Returns the activation of its outputs; called where the network has to be made.
    like
        What the parameters are shown like, where the network has to be made.
    """
    own = vars(estimator)
    live: FittedNetwork | None = own.get(_NETWORK)
    kept: Structure | None = own.get(_STRUCTURE)
    place = {"backend": estimator.backend, "device": estimator.device, "threads": estimator.threads}
    shape = (chain_sizes(estimator), hidden_activations(estimator)) if kept is None else kept
    wanted = (shape, precision, *place.values())
    if live is None or live.made_of != wanted:
        model = model_of_arrays(estimator, output(), seed=own.get(_SEED, 0), precision=precision, **place)
        carried = None if live is None else live.carried()
        if carried is not None:
            own[_CARRIED] = carried  # for `partial_fit` to go on with, wherever it computes now
        live = FittedNetwork(model, like, wanted)
    live.follow(arrays_by_name(estimator))
    own[_NETWORK] = live
    return live


def model_of_arrays(estimator: Any, output: Activation, **settings: Any) -> Network:
    """Return a network of the fitted structure, with initial parameters."""
    structure: Structure | None = vars(estimator).get(_STRUCTURE)
    if structure is None:
        structure = Structure.of_sizes(chain_sizes(estimator), hidden_activations(estimator), output, True)
    return model_of(BoundNetwork(structure, **settings))


def keep_structure(estimator: Any, structure: Structure) -> None:
    """Remember the structure of a network of blocks."""
    vars(estimator).pop(_STRUCTURE, None)
    if asks_for_blocks(estimator):
        vars(estimator)[_STRUCTURE] = structure


def keep_seed(estimator: Any, seed: int) -> None:
    """Remember the seed of a network of blocks."""
    vars(estimator)[_SEED] = seed


def check_goes_on(estimator: Any, inputs: int, outputs: int, output: Activation) -> None:
    """Refuse to go on with another network than the parameters ask for.

    Raises
    ------
    ValueError
        It says what there is, and what the parameters ask for.
    """
    own = vars(estimator)
    if "coefs_" in own and plain_sizes(estimator, inputs, outputs) == chain_sizes(estimator):
        own.pop(_STRUCTURE, None)
        return
    structure = structure_of(estimator, inputs, outputs, output)
    if structure != own.get(_STRUCTURE):
        check_present(estimator, structure)
        keep_structure(estimator, structure)


def carried_by(estimator: Any, live: FittedNetwork) -> Carried | None:
    """Return what the optimizer carries from step to step: of this network, or else of an earlier one."""
    return live.carried() or vars(estimator).get(_CARRIED)


def forget_carried(estimator: Any) -> None:
    """Drop what an earlier network's optimizer carried: training has gone on with it."""
    vars(estimator).pop(_CARRIED, None)


def forget_network(estimator: Any) -> None:
    """Drop the network: the next one begins anew."""
    vars(estimator).pop(_NETWORK, None)


def picklable(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an estimator for a pickle: without its network, with what that carries."""
    live: FittedNetwork | None = state.pop(_NETWORK, None)
    carried = None if live is None else live.carried()
    return state if carried is None else {**state, _CARRIED: carried}
