"""Settings drawn at random, and the ensemble of those that fit rows left out best.

Each candidate is a network for each part of the rows, trained without that part. What they predict there is measured on
all the rows together, and a greedy choice takes the candidates whose mean is best (Caruana et al. 2004). The first
candidate is what a fit does by default.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks import Block
from gdkernels.definition.objective import Objective
from gdkernels.groups import Group, joined
from gdkernels.many import fit_many, selected_greedily
from gdkernels.models.network import Network
from gdkernels.randomness import generator
from gdkernels.system.machine import cores
from gdkernels.system.progress import progress_bar
from gdkernels.tabular.networks.average import mean_of_blocks
from gdkernels.tabular.networks.encoding import encoding_of
from gdkernels.tabular.networks.fitting import PreparedRows, diverged, kth
from gdkernels.tabular.networks.search_results import Search, TriedSetting
from gdkernels.tabular.settings import TabularSettings, defaults
from gdkernels.training.history import History

__all__ = ["SearchedNetwork", "search_rows", "searched"]

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Parts = Sequence[tuple[Rows, Rows]]

_log = logging.getLogger("gdkernels")

SIZE = 10  # candidates of the ensemble, of which one may count several times
KEPT = 40  # candidates whose networks are remembered, the best ones and the first
_HIDDEN = ((256,), (128, 128), (256, 128), (256, 256), (64, 64), (128, 128, 128))
_BINS = (None, 4, 8, 8, 16, 24, 48)
_DROPOUT = (0.0, 0.0, 0.0, 0.1, 0.2)


@dataclass(frozen=True)
class SearchedNetwork:
    """The network that a search found, the histories of its members, and how the best of them was trained."""

    network: Network
    histories: list[History]
    search: Search
    trainer: dict[str, Any]


@dataclass
class _Candidate:
    """Arguments of networks and of their trainer, and what came of them: what the networks say of rows left out."""

    network: dict[str, Any]
    trainer: dict[str, Any]
    histories: list[History]
    loss: float = np.inf
    left_out: Array | None = None
    models: tuple[tuple[Block, dict[str, Array]], ...] = ()

    def told(self, weight: int) -> TriedSetting:
        return TriedSetting(
            hidden=tuple(self.network["sizes"][1:-1]),
            encoded=self.network["encoding"] is not None,
            dropout=self.network["dropout"],
            learning_rate=self.trainer["optimizer"].learning_rate,
            l2=self.trainer["l2"],
            batch_size=self.trainer["batch_size"],
            loss=self.loss,
            epochs=max(len(history.epochs) for history in self.histories),
            weight=weight,
        )


def searched(
    settings: TabularSettings,
    network: dict[str, Any],
    trainer: dict[str, Any],
    run: Mapping[str, Any],
    rows: PreparedRows,
    parts: Parts,
) -> SearchedNetwork:
    """Train candidates, so many or until the time is over, and return their ensemble as one network.

    Parameters
    ----------
    settings
        ``search`` is the number of candidates, and ``time_limit`` the seconds after which no further ones begin.
    network, trainer, run
        The arguments of `network_of`, of `Trainer` and of a fit: those of the first candidate.
    rows
        All the rows that may be learned from.
    parts
        For each network of a candidate the rows to train on, and those left out.

    Raises
    ------
    DivergenceError
        If all candidates diverge.
    """
    began, seconds = time.perf_counter(), settings.time_limit
    group = joined(trainer.get("group"))
    trainer = {name: value for name, value in trainer.items() if name not in ("group", "shards")}
    unseen, candidates = _UnseenRows(network, trainer, rows, parts), list[_Candidate]()
    bar = None if seconds is None else progress_bar(settings.progress, desc="searching", total=round(seconds), unit="s")
    while count := _of_next_round(settings, group, len(candidates), time.perf_counter() - began, len(parts)):
        drawn = [_drawn(settings, network, trainer, rows, k) for k in range(len(candidates), len(candidates) + count)]
        candidates += _trained(drawn, run, group, rows, parts, unseen, shown=None if bar is None else False)
        _forget(candidates)
        if bar is not None:
            with suppress(OSError):  # the terminal has gone: the work goes on
                bar.set_postfix_str(f"lowest loss {min(one.loss for one in candidates):.4g}", refresh=False)
                bar.update(min(bar.total, round(time.perf_counter() - began)) - bar.n)
    if bar is not None:
        bar.close()
    able = [one for one in candidates if one.left_out is not None]
    if not able:
        raise diverged(min(len(h.epochs) for one in candidates for h in one.histories) + 1, trainer["optimizer"])
    outputs = [one.left_out for one in able if one.left_out is not None]
    chosen = selected_greedily(outputs, unseen.loss, SIZE)
    taken = [able[k] for k in chosen]
    tried = tuple(one.told(sum(one is other for other in taken)) for one in candidates)
    loss = unseen.loss(np.mean([outputs[k] for k in chosen], axis=0))
    search = Search(tried, loss, time.perf_counter() - began)
    _log.info("search: %s", search.as_text(), extra={"told": {"event": "search", **search.as_dict()}})
    members = sorted((one for one in able if any(one is other for other in taken)), key=lambda one: one.loss)
    histories = [history for one in members for history in one.histories]
    blocks, parameters = zip(*(model for one in taken for model in one.models), strict=True)
    whole = mean_of_blocks(blocks, parameters, network)
    whole.network.train_for(Objective.checked(trainer["loss"], outputs=network["sizes"][-1]))
    return SearchedNetwork(whole, histories, search, members[0].trainer)


def search_rows(settings: TabularSettings) -> TabularSettings:
    """Return the settings by which the rows of a search are split.

    So many settings are compared on the same validation rows, which are more than usual; as many as there is time for,
    on rows that another network of each is trained without.
    """
    if settings.best:
        return settings
    share = defaults.SEARCH_VALIDATION if settings.validation is None else settings.validation
    return replace(settings, validation=share, average=1)


def _of_next_round(settings: TabularSettings, group: Group, tried: int, elapsed: float, parts: int) -> int:
    """Return how many candidates are trained next; 0 ends the search. Rank 0 says it for all."""
    count = _of_next_round_alone(settings, tried, elapsed, parts)
    return count if group.size == 1 else int(group.gather_numbers([count])[0, 0])


def _of_next_round_alone(settings: TabularSettings, tried: int, elapsed: float, parts: int) -> int:
    left = None if settings.search is None else settings.search - tried
    if settings.time_limit is None:
        assert left is not None
        return left
    together = 1 if not tried else max(1, cores() // parts)
    if left is not None:
        together = min(together, left)
    in_time = tried == 0 or elapsed * (tried + together) / tried <= settings.time_limit
    return together if in_time else 0


def _drawn(
    settings: TabularSettings, network: dict[str, Any], trainer: dict[str, Any], rows: PreparedRows, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of a candidate: drawn where nobody has said them; the first is the default."""
    if number == 0:
        return network, trainer
    # The same numbers are drawn for each, whatever is left open.
    draw = generator(settings.seed, "search", number)
    hidden, bins, dropout = (options[draw.integers(len(options))] for options in (_HIDDEN, _BINS, _DROPOUT))
    rate, penalty, batch = 2 ** draw.uniform(-1.5, 1.5), 4 ** draw.uniform(-2.0, 2.0), 2.0 ** draw.integers(-1, 2)
    network, trainer = network | {"seed": int(draw.integers(2**32))}, dict(trainer)
    if settings.hidden is None and not (settings.residual and len(hidden) < 2):  # type: ignore[arg-type]
        network["sizes"] = [network["sizes"][0], *hidden, network["sizes"][-1]]  # type: ignore[misc]
    if settings.encoding == "auto" and network["encoding"] is not None:
        wanted: Any = bins
        x, days = np.asarray(rows.x), network["days"]
        network["encoding"] = None if bins is None else encoding_of("piecewise", x, wanted, days=days)
    if not settings.dropout and not network["residual"]:
        network["dropout"] = dropout
    if settings.l2 is None:
        trainer["l2"] *= penalty
    if settings.rate_is_open:
        usual = trainer["optimizer"]
        trainer["optimizer"] = replace(usual, learning_rate=usual.learning_rate * rate)
    if settings.batch_size is None:
        trainer["batch_size"] = max(16, int(trainer["batch_size"] * batch))
    return network, trainer


def _trained(
    drawn: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    run: Mapping[str, Any],
    group: Group,
    rows: PreparedRows,
    parts: Parts,
    unseen: _UnseenRows,
    *,
    shown: bool | None,
) -> list[_Candidate]:
    """Return candidates of these arguments, all their networks trained at once; `shown` is whether to show a bar."""
    made = [[kth(network, k) for k in range(len(parts))] for network, _ in drawn]
    histories = fit_many(
        list(itertools.chain(*made)),
        rows.x,
        rows.y,
        sample_weight=rows.weights,
        rows=[train for train, _ in parts] * len(drawn),
        validation_rows=[left_out for _, left_out in parts] * len(drawn),
        settings=[trainer for _, trainer in drawn for _ in parts],
        epochs=run["epochs"],
        patience=run["patience"],
        group=group,
        checkpoint=run["checkpoint"],
        every=run["every"],
        resume=run["resume"],
        progress=run["progress"] if shown is None else shown,
    )
    found = []
    for k, ((network, trainer), models) in enumerate(zip(drawn, made, strict=True)):
        one = _Candidate(network, trainer, histories[k * len(parts) : (k + 1) * len(parts)])
        if not any(history.diverged for history in one.histories):
            one.left_out = np.concatenate([unseen.raw(model, part) for part, model in enumerate(models)])
            one.loss = unseen.loss(one.left_out)
            one.models = tuple((model.block, model.network.host_parameters()) for model in models)
        found.append(one)
    return found


def _forget(candidates: Sequence[_Candidate]) -> None:
    """Let go of the networks of candidates that would hardly be chosen, beyond so many."""
    able = [one for one in candidates[1:] if one.left_out is not None]
    for one in sorted(able, key=lambda one: one.loss)[KEPT:]:
        one.left_out, one.models = None, ()


class _UnseenRows:
    """The loss of what networks say of the rows that they were trained without."""

    def __init__(self, network: dict[str, Any], trainer: dict[str, Any], rows: PreparedRows, parts: Parts) -> None:
        outputs = network["sizes"][-1]
        self._objective = Objective.checked(trainer["loss"], outputs=outputs)
        self._rows, self._parts = rows, parts
        order = np.concatenate([left_out for _, left_out in parts])
        assert rows.y is not None
        y = rows.y[order]
        # Classes may come by their numbers.
        self._y = np.eye(outputs)[y] if y.ndim == 1 and outputs > 1 else y.reshape(len(y), -1)
        self._weights = None if rows.weights is None else rows.weights[order]

    def raw(self, network: Network, k: int) -> Array:
        """Return what the k-th network puts out for its rows, before the loss's link."""
        x = np.asarray(self._rows.x)[self._parts[k][1]]
        bound = network.network
        return bound.computing(x, lambda there: there.to_numpy(bound.place_and_predict(x, self._objective)))

    def loss(self, raw: Array) -> float:
        """Return the mean loss of raw outputs."""
        with np.errstate(all="ignore"):
            values = self._objective.loss(raw.astype(np.float64), self._y, xp=np)
        return float(np.average(values, weights=self._weights))
