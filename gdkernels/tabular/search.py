"""As many settings as there is time for, drawn at random, and the ensemble of those that fit rows left out best.

Each candidate is a network for each part of the rows, trained without that part. What they predict there is judged on
all the rows together, and a greedy search takes the candidates whose mean is best (Caruana et al. 2004). The first
candidate is what a fit does by default.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks import Block, Mean
from gdkernels.definition.blocks.names import among_all
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Adam
from gdkernels.many import fit_many, selected_greedily
from gdkernels.models.network import Network
from gdkernels.randomness import generator
from gdkernels.system.progress import progress_bar
from gdkernels.tabular.encoding import encoding_of
from gdkernels.tabular.fitting import PreparedRows, diverged, kth
from gdkernels.tabular.settings import TabularSettings
from gdkernels.training.history import History

__all__ = ["Search", "searched"]

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

SIZE = 10  # candidates of the ensemble, of which one may count several times
KEPT = 40  # candidates that are remembered, the best ones
_HIDDEN = ((256,), (128, 128), (256, 128), (256, 256), (64, 64), (128, 128, 128))
_BINS = (None, 4, 8, 8, 16, 24, 48)
_DROPOUT = (0.0, 0.0, 0.0, 0.1, 0.2)


@dataclass(frozen=True)
class Search:
    """What a search did.

    Attributes
    ----------
    tried
        The number of candidates, each of several networks.
    taken
        How often each of those in the ensemble counts.
    first, loss
        The loss of the rows left out by the default settings, and by the ensemble.
    seconds
        The time that it took.
    """

    tried: int
    taken: tuple[int, ...]
    first: float
    loss: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self) | {"taken": list(self.taken)}

    def as_text(self) -> str:
        """Return a line."""
        return (
            f"{len(self.taken)} of {self.tried} settings that were tried in {self.seconds:.0f} s, with a loss of "
            f"{self.loss:.4g} together on rows that they were trained without; that of the default settings is "
            f"{self.first:.4g}"
        )


@dataclass(frozen=True)
class _Candidate:
    """One of the settings, and what came of it: networks by their parameters, and what they say of rows left out."""

    networks: tuple[tuple[Block, dict[str, Array]], ...]
    histories: tuple[History, ...]
    left_out: Array
    loss: float


def searched(
    settings: TabularSettings,
    network: dict[str, Any],
    trainer: dict[str, Any],
    run: dict[str, Any],
    rows: PreparedRows,
    parts: Sequence[tuple[Rows, Rows]],
    *,
    seconds: float,
) -> tuple[Network, list[History], Search]:
    """Train candidates until the time is over, and return their ensemble as one network.

    Parameters
    ----------
    network, trainer
        The arguments of `network_of` and of `Trainer`: those of the first candidate.
    run
        The epochs, the patience and the progress.
    rows
        All the rows that may be learned from.
    parts
        For each network of a candidate the rows to train on, and those left out.
    seconds
        After which no further candidate begins.

    Raises
    ------
    DivergenceError
        If the first candidate diverges; others are dropped.
    """
    began, tried = time.perf_counter(), 0
    found: list[_Candidate] = []
    bar = progress_bar(settings.progress, desc="searching", total=round(seconds), unit="s")
    with suppress(OSError):  # the terminal has gone: the work goes on
        while tried == 0 or (time.perf_counter() - began) * (tried + 1) / tried <= seconds:
            own = (network, trainer) if not tried else _drawn(settings, network, trainer, rows, tried)
            candidate = _trained(*own, run, rows, parts)
            if candidate is not None:
                found = [*found, candidate]
            elif not tried:
                raise diverged(1, trainer["optimizer"])
            if len(found) > KEPT:
                found.pop(max(range(1, len(found)), key=lambda k: found[k].loss))
            tried += 1
            if bar is not None:
                bar.update(min(bar.total, round(time.perf_counter() - began)) - bar.n)
    if bar is not None:
        bar.close()
    judge = _Judge(network, trainer, rows, parts)
    taken = selected_greedily([one.left_out for one in found], judge.loss, SIZE)
    mean = np.mean([found[k].left_out for k in taken], axis=0)
    places = sorted(set(taken))
    search = Search(
        tried, tuple(taken.count(k) for k in places), found[0].loss, judge.loss(mean), time.perf_counter() - began
    )
    histories = [history for k in places for history in found[k].histories]
    return _whole([one for k in taken for one in found[k].networks], network, trainer), histories, search


def _drawn(
    settings: TabularSettings, network: dict[str, Any], trainer: dict[str, Any], rows: PreparedRows, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of a candidate: drawn where nobody has said them."""
    draw = generator(settings.seed, "search", number)
    hidden, bins, dropout = (options[draw.integers(len(options))] for options in (_HIDDEN, _BINS, _DROPOUT))
    rate, penalty, batch = 2 ** draw.uniform(-1.5, 1.5), 4 ** draw.uniform(-2.0, 2.0), 2.0 ** draw.integers(-1, 2)
    network = network | {"seed": int(draw.integers(2**32))}
    trainer = dict(trainer)
    inputs, *units, outputs = network["sizes"]
    network["sizes"] = [inputs, *(units if settings.hidden is not None else hidden), outputs]  # type: ignore[misc]
    if settings.encoding == "auto" and network["encoding"] is not None:
        network["encoding"] = None if bins is None else encoding_of("piecewise", np.asarray(rows.x), bins)  # type: ignore[arg-type]
    if not settings.dropout and not network["residual"]:
        network["dropout"] = dropout
    if settings.l2 is None:
        trainer["l2"] *= penalty
    if settings.optimizer == Adam():  # as where nobody says another
        trainer["optimizer"] = Adam(Adam().learning_rate * rate)
    if settings.batch_size is None:
        trainer["batch_size"] = max(16, int(trainer["batch_size"] * batch))
    return network, trainer


def _trained(
    network: dict[str, Any],
    trainer: dict[str, Any],
    run: dict[str, Any],
    rows: PreparedRows,
    parts: Sequence[tuple[Rows, Rows]],
) -> _Candidate | None:
    """Return a candidate, trained; None if a network of it diverges."""
    made = [kth(network, k) for k in range(len(parts))]
    histories = fit_many(
        made,
        rows.x,
        rows.y,
        sample_weight=rows.weights,
        rows=[train for train, _ in parts],
        validation_rows=[left_out for _, left_out in parts],
        settings=trainer,
        epochs=run["epochs"],
        patience=run["patience"],
        threads=None,
        progress=False,
    )
    if any(history.diverged for history in histories):
        return None
    judge = _Judge(network, trainer, rows, parts)
    left_out = np.concatenate([judge.raw(one, k) for k, one in enumerate(made)])
    networks = tuple((one.block, one.network.host_parameters()) for one in made)
    return _Candidate(networks, tuple(histories), left_out, judge.loss(left_out))


class _Judge:
    """The loss of what networks say of the rows that they were trained without."""

    def __init__(
        self,
        network: dict[str, Any],
        trainer: dict[str, Any],
        rows: PreparedRows,
        parts: Sequence[tuple[Rows, Rows]],
    ) -> None:
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


def _whole(
    networks: Sequence[tuple[Block, dict[str, Array]]], network: dict[str, Any], trainer: dict[str, Any]
) -> Network:
    place = {name: network[name] for name in ("output", "seed", "backend", "device", "precision", "threads")}
    whole = Network(Mean(*(block for block, _ in networks)), network["sizes"][0], **place)
    whole.set_parameters(among_all(parameters for _, parameters in networks))
    whole.network.train_for(Objective.checked(trainer["loss"], outputs=network["sizes"][-1]))
    return whole
