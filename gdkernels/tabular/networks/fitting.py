"""From the prepared rows of a table to a trained network: one, the best of several, or their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.stored import Stored
from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.errors import DivergenceError, InputError, keyword
from gdkernels.groups import Group, joined
from gdkernels.groups.sharding import threads_of_ranks
from gdkernels.many.arguments import TRAINER_SETTINGS
from gdkernels.many.dealing import Done, dealt
from gdkernels.many.fitting import fit_many
from gdkernels.models.network import Network
from gdkernels.randomness import generator
from gdkernels.system.thread_limits import at_most
from gdkernels.tabular.networks.average import side_by_side, stretch
from gdkernels.tabular.networks.encoding import network_of
from gdkernels.tabular.settings import defaults
from gdkernels.training.checkpointing import subfolder
from gdkernels.training.history import History

__all__ = ["PreparedRows", "balanced", "check_shards", "diverged", "fit", "kth"]

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
    check_shards(run.get("shards"), len(draws))
    made = [kth(network, k) for k in range(len(draws))]
    several, group = _Several(made, draws, run, most_work, at_least), joined(run.get("group"))
    if group.size == 1 and _are_alike(draws, run):
        histories = several.at_once()
    elif len(draws) == 1 or group.size == 1:  # ranks share a network where it is the only one
        histories = several.in_turn()
    else:
        histories = several.dealt_to(group)
    del made[len(histories) :]
    if scale != 1:
        for one in made:
            stretch(one, scale)
    return made[0] if len(made) == 1 else side_by_side(made, network), histories


def check_shards(shards: int | None, networks: int) -> None:
    """Refuse shards of batches where each of several networks is trained by one rank.

    Raises
    ------
    InputError
        If there are several, and shards were asked for.
    """
    if networks > 1 and shards is not None:
        raise InputError(
            f"{keyword('shards')} splits the batches of a single network, and {networks} are trained here, each by "
            f"one rank: leave it out, or give {keyword('average', 1)}"
        )


@dataclass(frozen=True)
class _Several:
    """Networks to train, each on rows of its own; each way returns the histories of those that it has trained."""

    made: Sequence[Network]
    draws: Sequence[tuple[PreparedRows, PreparedRows]]
    run: dict[str, Any]
    most_work: float | None
    at_least: int
    executables: Executables = field(default_factory=Executables)

    def at_once(self) -> list[History]:
        """Train them on the same rows, each on a thread of its own."""
        rows, run, made = self.draws[0][0], self.run, self.made
        if self.most_work is not None:
            steps = self._work([run["epochs"]])
            made = made[: max(self.at_least, int(self.most_work // max(steps, 1.0)) + 1)]
        histories = fit_many(
            made,
            rows.x,
            rows.y,
            sample_weight=rows.weights,
            settings=_of_trainer(run),
            epochs=run["epochs"],
            group="none",
            progress=run.get("progress"),
        )
        for history in histories:
            if history.diverged:
                raise diverged(len(history.epochs) + 1, run.get("optimizer"))
        return histories

    def in_turn(self) -> list[History]:
        """Train one after the other, until they have taken as much work as there may be."""
        histories: list[History] = []
        while len(histories) < len(self.draws) and not self._is_enough(histories):
            histories.append(self._trained(len(histories)))
        return histories

    def dealt_to(self, group: Group) -> list[History]:
        """Have each rank train some of them; those are kept that one rank would have trained."""

        def job(k: int) -> Done:
            history = self._trained(k)
            return self.made[k].network.host_parameters(), history

        with at_most(threads_of_ranks(group)[group.rank]):
            found = dealt(group, len(self.draws), job)
        histories: list[History] = []
        while len(histories) < len(self.draws) and not self._is_enough(histories):
            histories.append(found[len(histories)][1])
        for network, (parameters, _), (train, _) in zip(self.made[: len(histories)], found, self.draws, strict=False):
            network.trainer(**_of_trainer(self.run))  # it predicts what it was trained for
            network.network.bind(train.x)  # where parameters have the type that they were trained in, and mean the same
            network.set_parameters(parameters)
        return histories

    def _trained(self, k: int) -> History:
        train, validation = self.draws[k]
        held_out = (validation.x, validation.y, validation.weights) if len(validation) else None
        alone = len(self.draws) == 1
        own: dict[str, Any] = {} if alone else {"group": "none", "shards": None}
        if self.run["checkpoint"]:
            first = not (alone and joined(self.run.get("group")).rank)
            own["checkpoint"] = subfolder(self.run["checkpoint"], f"network-{k + 1}", make=first)
        with sharing(self.executables):
            fit_one = self.made[k].fit
            history = fit_one(train.x, train.y, sample_weight=train.weights, validation=held_out, **self.run | own)
        if history.diverged:
            raise diverged(len(history.epochs) + 1, self.run.get("optimizer"))
        return history

    def _is_enough(self, histories: Sequence[History]) -> bool:
        """Return whether the networks so far took as much work as there may be."""
        if self.most_work is None or len(histories) < self.at_least:
            return False
        return self._work([len(history.epochs) for history in histories]) > self.most_work

    def _work(self, epochs: Sequence[int]) -> float:
        """Return the multiply-adds, forward and backward, of the first networks for so many epochs each."""
        records = sum(n * len(train) for n, (train, _) in zip(epochs, self.draws, strict=False))
        return 3.0 * records * self.made[0].network.structure.multiply_adds


def _of_trainer(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in TRAINER_SETTINGS if name in run}


def _are_alike(draws: Sequence[tuple[PreparedRows, PreparedRows]], run: dict[str, Any]) -> bool:
    """Return whether several networks learn from the same rows for as long, so that all can be trained at once."""
    first, validation = draws[0]
    same = len(draws) > 1 and all(train is first for train, _ in draws) and not len(validation)
    return same and not (run["checkpoint"] or run.get("retries") or run.get("patience") or run.get("starts", 1) > 1)


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


def balanced(classes: Array) -> Array:
    """Return the weight of each record: those of each class add up to the same, all of them to their number."""
    _, places, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return np.asarray((len(classes) / (len(counts) * counts))[places])
