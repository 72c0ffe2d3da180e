"""A random search over what is left open: rates, widths, penalties, batches; and an ensemble of the best networks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gdkernels.many import Ensemble, fit_many
from gdkernels.models.network import Network
from gdkernels.randomness import generator
from gdkernels.tabular import defaults
from gdkernels.tabular.encoding import network_of
from gdkernels.tabular.fitting import PreparedRows, diverged, kth
from gdkernels.tabular.settings import TabularSettings
from gdkernels.training.history import History

__all__ = ["Search", "SearchedNetwork", "TriedSetting", "search_rows", "searched"]

_log = logging.getLogger("gdkernels")

_MOST_IN_ENSEMBLE = 20
# What is drawn lies so far below and above the default, evenly on a scale of ratios.
_RATES, _PENALTIES = (1 / 4, 8.0), (1 / 64, 16.0)
_SHAPES = ((64,), (128,), (256,), (64, 64), (128, 128), (256, 256), (128, 128, 128))


@dataclass(frozen=True)
class TriedSetting:
    """A setting that was tried, with the lowest loss of its network on the validation rows.

    Attributes
    ----------
    hidden
        The units of its hidden layers.
    weight
        How many of the ensemble's members it is; 0 for most.
    """

    hidden: tuple[int, ...]
    learning_rate: float
    l2: float
    batch_size: int
    loss: float
    epochs: int
    stopped: str
    weight: int = 0

    def __str__(self) -> str:
        shape = "-".join(map(str, self.hidden)) or "no hidden layer"
        return f"{shape}, rate {self.learning_rate:.2g}, l2 {self.l2:.2g}, batches of {self.batch_size}"


@dataclass(frozen=True)
class Search:
    """What a search has tried: the candidates in the order in which they were drawn, the default first."""

    tried: tuple[TriedSetting, ...]

    @property
    def best(self) -> TriedSetting:
        """The one with the lowest loss."""
        return min(self.tried, key=lambda one: one.loss)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {"tried": [asdict(one) | {"loss": one.loss if np.isfinite(one.loss) else None} for one in self.tried]}

    def as_text(self) -> str:
        """Return a line."""
        members = sum(one.weight > 0 for one in self.tried)
        failed = sum(not np.isfinite(one.loss) for one in self.tried)
        return (
            f"of {len(self.tried)} settings, the lowest validation loss, {self.best.loss:.4g}, has {self.best}; the "
            f"first has {self.tried[0].loss:.4g}. {members} network{'s' * (members > 1)} predict"
            f"{'s' * (members == 1)} together{f'; {failed} diverged' if failed else ''}"
        )


@dataclass(frozen=True)
class SearchedNetwork:
    """The network that a search found, the histories of its members, and the settings of the best of them."""

    network: Network
    histories: list[History]
    search: Search
    trainer: dict[str, Any]


def searched(
    settings: TabularSettings,
    network: dict[str, Any],
    draw: tuple[PreparedRows, PreparedRows],
    trainer: dict[str, Any],
    run: Mapping[str, Any],
) -> SearchedNetwork:
    """Train networks with settings drawn at random, and join those that do best together on the validation rows.

    Parameters
    ----------
    network, trainer, run
        The arguments of the default network, of its trainer and of its fit.
    draw
        The rows to train on, and those to validate on.

    Raises
    ------
    DivergenceError
        If all of them diverge.
    """
    assert settings.search is not None
    train, held_out = draw
    drawn = [_drawn(settings, network, trainer, k) for k in range(settings.search)]
    models = [network_of(arguments, kth(network, k).network.seed) for k, (arguments, _) in enumerate(drawn)]
    weighted = () if held_out.weights is None else (held_out.weights,)
    histories = fit_many(
        models,
        train.x,
        train.y,
        epochs=run["epochs"],
        settings=[how for _, how in drawn],
        sample_weight=train.weights,
        validation=(held_out.x, held_out.y, *weighted),
        patience=run["patience"],
        checkpoint=run["checkpoint"],
        every=run["every"],
        resume=run["resume"],
        progress=run["progress"],
    )
    able = [k for k, history in enumerate(histories) if not history.diverged]
    if not able:
        raise diverged(min(len(h.epochs) for h in histories) + 1, trainer["optimizer"])
    chosen = Ensemble.selected([models[k] for k in able], held_out.x, held_out.y, size=_MOST_IN_ENSEMBLE)
    counts = [sum(model is one for one in chosen.models) for model in models]
    tried = [
        _tried(arguments, how, history, count)
        for (arguments, how), history, count in zip(drawn, histories, counts, strict=True)
    ]
    search = Search(tuple(tried))
    _log.info("search: %s", search.as_text(), extra={"told": {"event": "search", **search.as_dict()}})
    members = sorted((k for k in able if counts[k]), key=lambda k: tried[k].loss)
    best = drawn[tried.index(search.best)][1]
    whole = chosen.network() if len(members) > 1 else models[members[0]]
    return SearchedNetwork(whole, [histories[k] for k in members], search, best)


def _drawn(
    settings: TabularSettings, network: dict[str, Any], trainer: dict[str, Any], number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of the network and of the trainer of one candidate; the first is the default."""
    if number == 0:
        return network, trainer
    random = generator(settings.seed, "search", number)
    shape, rate, penalty, batches = random.random(4)  # the same for each, whatever is left open
    arguments, how = dict(network), dict(trainer)
    if settings.hidden is None:
        shapes = [s for s in _SHAPES if len(s) > 1 or not settings.residual]
        inputs, outputs = network["sizes"][0], network["sizes"][-1]
        arguments["sizes"] = [inputs, *shapes[int(shape * len(shapes))], outputs]
    if settings.rate_is_open:
        how["optimizer"] = replace(
            trainer["optimizer"], learning_rate=trainer["optimizer"].learning_rate * _between(_RATES, rate)
        )
    if settings.l2 is None:
        how["l2"] = trainer["l2"] * _between(_PENALTIES, penalty)
    if settings.batch_size is None:
        how["batch_size"] = trainer["batch_size"] * (1, 2, 4)[int(batches * 3)]
    return arguments, how


def _between(ends: tuple[float, float], share: float) -> float:
    low, high = ends
    return float(low * (high / low) ** share)


def _tried(arguments: dict[str, Any], how: dict[str, Any], history: History, weight: int) -> TriedSetting:
    reached = [epoch.watched for epoch in history.epochs if epoch.number == history.best_epoch]
    return TriedSetting(
        hidden=tuple(arguments["sizes"][1:-1]),
        learning_rate=how["optimizer"].learning_rate,
        l2=how["l2"],
        batch_size=how["batch_size"],
        loss=float("inf") if history.diverged or not reached else reached[0],
        epochs=len(history.epochs),
        stopped=history.stopped,
        weight=weight,
    )


def search_rows(settings: TabularSettings) -> TabularSettings:
    """Return the settings by which the rows of a search are split: more of them validate, and the same for all."""
    share = defaults.SEARCH_VALIDATION if settings.validation is None else settings.validation
    return replace(settings, validation=share, average=1)
