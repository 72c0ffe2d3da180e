"""From the prepared rows of a table to a trained network: one, the best of several, or their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.stored import Stored
from gdkernels.definition.blocks import Block, Mean, Sequential
from gdkernels.definition.blocks.names import among_all, inside, names_inside, place_of
from gdkernels.definition.chain import by_layer
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.errors import DivergenceError, InputError, keyword
from gdkernels.groups import joined
from gdkernels.groups.sharding import threads_of_ranks
from gdkernels.many.arguments import TRAINER_SETTINGS
from gdkernels.many.dealing import Done, dealt
from gdkernels.many.fitting import fit_many
from gdkernels.models.network import Network
from gdkernels.randomness import generator
from gdkernels.system.thread_limits import at_most
from gdkernels.tabular import defaults
from gdkernels.tabular.average import averaged, averaged_sizes
from gdkernels.tabular.encoding import network_of
from gdkernels.training.checkpointing import subfolder
from gdkernels.training.history import History

__all__ = ["PreparedRows", "balanced", "diverged", "fit", "kth", "mean_of_blocks"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PreparedRows:
    """Inputs and targets as the network takes them, and the weights of the records where there are some.

    `Stored` records bring their targets and weights along.
    """

    x: Array | Stored
    y: Array | None
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.x)


def fit(
    network: dict[str, Any],
    draws: Sequence[tuple[PreparedRows, PreparedRows]],
    *,
    run: dict[str, Any],
    most_work: float | None = None,
    at_least: int = defaults.AT_LEAST,
    scale: float = 1.0,
) -> tuple[Network, list[History]]:
    """Train a network for each draw, and average them.

    Parameters
    ----------
    network
        The arguments of `network_of`; the first network has its seed, the others seeds drawn by it.
    draws
        For each network the rows to train and to validate on.
    run
        Those of `MLP.fit`.
    most_work
        The multiply-adds after which no further network is trained, once there are a few; None is no limit.
    at_least
        How many networks are trained whatever work they take.
    scale
        By what the outputs are multiplied in the end, before a link.

    Returns
    -------
    tuple
        The network, and the histories of what it was made of.

    Raises
    ------
    DivergenceError
        If one of them diverges.
    """
    if len(draws) > 1 and run.get("shards") is not None:
        raise InputError(
            f"{keyword('shards')} splits the batches of a single network, and {len(draws)} are trained here, each by "
            f"one rank: leave it out, or give {keyword('average', 1)}"
        )
    executables, group = Executables(), joined(run.get("group"))
    made = [kth(network, k) for k in range(len(draws))]
    alone = len(draws) == 1  # only then the ranks share a network; several are dealt to them

    def fitted(k: int) -> History:
        train, validation = draws[k]
        held_out = (validation.x, validation.y, validation.weights) if len(validation) else None
        own: dict[str, Any] = {} if alone else {"group": "none", "shards": None}
        if run["checkpoint"]:
            own["checkpoint"] = subfolder(run["checkpoint"], f"network-{k + 1}", make=not (alone and group.rank))
        with sharing(executables):
            history = made[k].fit(train.x, train.y, sample_weight=train.weights, validation=held_out, **run | own)
        if history.diverged:
            raise diverged(len(history.epochs) + 1, run.get("optimizer"))
        return history

    def job(k: int) -> Done:
        history = fitted(k)
        return made[k].network.host_parameters(), history

    def enough(histories: Sequence[History]) -> bool:
        """Return whether the networks so far took as much work as there may be."""
        if most_work is None or len(histories) < at_least:
            return False
        steps = [len(history.epochs) * len(train) for history, (train, _) in zip(histories, draws, strict=False)]
        return 3.0 * sum(steps) * made[0].network.structure.multiply_adds > most_work

    histories: list[History] = []
    if group.size == 1 and _are_alike(draws, run):
        steps = 3.0 * run["epochs"] * len(draws[0][0]) * made[0].network.structure.multiply_adds
        if most_work is not None:
            del made[max(at_least, int(most_work // max(steps, 1.0)) + 1) :]
        histories = _at_once(made, draws[0][0], run)
    elif alone or group.size == 1:
        while len(histories) < len(draws) and not enough(histories):
            histories.append(fitted(len(histories)))
        del made[len(histories) :]
    else:  # the ranks train all of them; those are kept that one rank would have trained
        with at_most(threads_of_ranks(group)[group.rank]):
            found = dealt(group, len(draws), job)
        while len(histories) < len(draws) and not enough(histories):
            histories.append(found[len(histories)][1])
        del made[len(histories) :], found[len(histories) :]
        for mlp, (parameters, _) in zip(made, found, strict=True):
            mlp.trainer(
                **{name: run[name] for name in TRAINER_SETTINGS if name in run}
            )  # it predicts what it was trained for
            mlp.set_parameters(parameters)
    if scale != 1:
        for one in made:
            _stretch(one, scale)
    whole: Network = made[0] if len(made) == 1 else _side_by_side(made, network)
    return whole, histories


def _are_alike(draws: Sequence[tuple[PreparedRows, PreparedRows]], run: dict[str, Any]) -> bool:
    """Return whether several networks learn from the same rows for as long, so that all can be trained at once."""
    first, validation = draws[0]
    same = len(draws) > 1 and all(train is first for train, _ in draws) and not len(validation)
    return same and not (run["checkpoint"] or run.get("retries") or run.get("patience") or run.get("starts", 1) > 1)


def _at_once(made: Sequence[Network], rows: PreparedRows, run: dict[str, Any]) -> list[History]:
    """Train networks on the same rows, each on a thread of its own, and return their histories."""
    histories = fit_many(
        made,
        rows.x,
        rows.y,
        sample_weight=rows.weights,
        settings={name: run[name] for name in TRAINER_SETTINGS if name in run},
        epochs=run["epochs"],
        group="none",
        progress=run.get("progress"),
    )
    for history in histories:
        if history.diverged:
            raise diverged(len(history.epochs) + 1, run.get("optimizer"))
    return histories


def diverged(epoch: int, optimizer: Optimizer | None) -> DivergenceError:
    """Return the error for a training that diverged; None stands for a solver, which has no rate."""
    if optimizer is None:
        return DivergenceError(
            f"training found no step in epoch {epoch}, because the loss or its derivative is not finite; choose "
            f"another {keyword('seed')} or {keyword('activation')}, or an optimizer"
        )
    return DivergenceError(
        f"training diverged in epoch {epoch}; lower {keyword('learning_rate')} (it was {optimizer.learning_rate:g}), "
        f"or limit the gradient with {keyword('clip_norm', 1)}"
    )


def kth(network: dict[str, Any], k: int) -> Network:
    """Return the network, before training, that is the k-th of several with these arguments."""
    seed = network["seed"] if k == 0 else int(generator(network["seed"], "average", k).integers(2**32))
    return network_of(network, seed)


def _stretch(network: Network, scale: float) -> None:
    """Multiply what the last layer puts out."""
    named = network.network.host_parameters()
    last = max(map(place_of, named))
    network.set_parameters({name: a * scale if place_of(name) == last else a for name, a in named.items()})


def _side_by_side(made: list[Network], network: dict[str, Any]) -> Network:
    whole = _of_layers(made, network) if made[0].network.structure.layers is not None else _of_blocks(made, network)
    # It predicts what its parts were trained for; nothing else knows whether it puts out classes.
    objective = made[0].network.objective
    assert objective is not None
    whole.network.train_for(Objective(objective.loss))
    return whole


def balanced(classes: Array) -> Array:
    """Return the weight of each record: those of each class add up to the same, all of them to their number."""
    _, places, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return np.asarray((len(classes) / (len(counts) * counts))[places])


def _of_layers(made: list[Network], network: dict[str, Any]) -> Network:
    """Return one chain of layers, with the units of all of them."""
    whole = network_of(network | {"sizes": averaged_sizes(network["sizes"], len(made))})
    whole.set_parameters(averaged([by_layer(mlp.network.host_parameters()) for mlp in made]))
    return whole


def mean_of_blocks(blocks: Sequence[Block], parameters: Sequence[dict[str, Array]], network: dict[str, Any]) -> Network:
    """Return the mean of trained blocks side by side, at the place that the arguments of a network name."""
    whole = Network(Mean(*blocks), network["sizes"][0], **_place_of(network))
    whole.set_parameters(among_all(parameters))
    return whole


def _place_of(network: dict[str, Any]) -> dict[str, Any]:
    return {name: network[name] for name in ("output", "seed", "backend", "device", "precision", "threads")}


def _of_blocks(made: list[Network], network: dict[str, Any]) -> Network:
    """Return the mean of their blocks, which can be any; numbers are encoded once for all of them."""
    named = [mlp.network.host_parameters() for mlp in made]
    blocks = [mlp.block for mlp in made]
    encoding = network.get("encoding")
    if encoding is None:
        return mean_of_blocks(blocks, named, network)
    after = [block.blocks[1] for block in blocks if isinstance(block, Sequential)]
    whole = Network(Sequential(encoding, Mean(*after)), made[0].inputs, **_place_of(network))
    edges = {full: named[0][full] for _, full in names_inside(tuple(named[0]), 0)}
    own = [{ours: a[full] for ours, full in names_inside(tuple(a), 1)} for a in named]
    whole.set_parameters(edges | {inside(name, 1): a for name, a in among_all(own).items()})
    return whole
