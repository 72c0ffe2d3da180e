"""The history of a fit: a record for each epoch, and where and how it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gdkernels.backend import Plan
from gdkernels.system.notebook import html_table
from gdkernels.system.threads import ThreadBound, in_words
from gdkernels.training.efficiency import Efficiency

__all__ = ["Epoch", "History", "Ranks", "Start", "Stop", "StopReason"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Attributes
    ----------
    number
        The number of the epoch, from 1, counted over all the fits of a trainer.
    loss, validation_loss
        Means per record. The training loss is measured on the way, each batch before its step; by a solver, after it.
    learning_rate
        The learning rate of the last step; of a solver, the length of its step along the direction it chose.
    gradient_norm
        The mean over the steps of the norm of the gradient, if you asked for it.
    damping, effective_parameters, penalty, log_evidence
        With a solver that has them: λ after the step; and of Levenberg–Marquardt with ``bayes=True`` how many
        parameters the data determine, the penalty that was chosen, as `l2` would be given, and the logarithm of the
        evidence at the point before the step.
    metrics
        The metrics on the validation data, or on the training data if there is none.
    seconds, samples_per_second
        The time and the rate of the training pass, without validation.
    """

    number: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
    samples_per_second: float
    gradient_norm: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    damping: float | None = None
    effective_parameters: float | None = None
    penalty: float | None = None
    log_evidence: float | None = None

    @property
    def watched(self) -> float:
        """The loss that patience watches: the validation loss if there is one."""
        return self.loss if self.validation_loss is None else self.validation_loss


@dataclass(frozen=True)
class Ranks:
    """The ranks that trained together.

    Attributes
    ----------
    group
        The name of their group.
    ranks, shards
        How many they were, and the shards of each batch, on which alone the bits depend.
    communication
        The share of its time that the slowest rank exchanged sums, or waited for the others.
    waiting
        The same share of the quickest rank, which waits for the slowest.
    slowest
        The rank that computed longest.
    expected
        What was expected of them before they trained; None if nobody knew.
    """

    group: str
    ranks: int
    shards: int
    communication: float
    waiting: float
    slowest: int
    expected: Efficiency | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return vars(self) | {"expected": None if self.expected is None else self.expected.as_dict()}

    def __str__(self) -> str:
        ranks = f"{self.ranks} rank{'s' * (self.ranks > 1)} of {self.group}"
        told = f"{ranks}, bits of {self.shards} shards: repeat with --shards {self.shards}"
        if self.ranks == 1:
            return told
        return f"{told}; {self.communication:.0%} of the time in exchange, rank {self.slowest} the slowest"


@dataclass(frozen=True)
class Start:
    """One of several starts: its final loss, its epochs, and why it ended."""

    number: int
    loss: float
    epochs: int
    stopped: str


class StopReason(Enum):
    """The reason why training ended."""

    ALL_EPOCHS = "all epochs are done"
    PATIENCE = "the loss has not fallen any more"
    CRITICAL_POINT = "the gradient has vanished"
    CALLBACK = "a callback asked for it"
    CONVERGED = "the solver has nothing left to gain"
    DIVERGED = "loss or parameters stopped being finite"


@dataclass(frozen=True)
class Stop:
    """The end of a fit: its reason, and a sentence with the figures."""

    reason: StopReason
    sentence: str

    @classmethod
    def of(cls, sentence: str, *, diverged: bool) -> Stop | None:
        """Return the stop that a sentence from a checkpoint describes; None if the fit continues."""
        if not sentence:
            return None
        if diverged:
            return cls(StopReason.DIVERGED, sentence)
        known = {
            "all ": StopReason.ALL_EPOCHS,
            "the gradient": StopReason.CRITICAL_POINT,
            "a callback": StopReason.CALLBACK,
            "converged": StopReason.CONVERGED,
        }
        reasons = (reason for beginning, reason in known.items() if sentence.startswith(beginning))
        return cls(next(reasons, StopReason.PATIENCE), sentence)


@dataclass
class History:
    """The epochs of one fit, and where they ran.

    Attributes
    ----------
    backend, device, precision, origin, plan
        The place where the steps ran; `origin` is "compiled" or "definition".
    reason
        Why they ran there.
    stop
        Why training ended; None while it runs.
    stopped
        The same as a sentence.
    diverged
        Whether training ended because loss or parameters stopped being finite. The network then has the last finite
        parameters.
    best_epoch
        The number of the epoch whose parameters the model has; None before the first.
    memory
        The most bytes of the host's memory that the process would use, as estimated before training; None if training
        ran on a device with its own memory.
    thread_bound
        The most threads that the steps might have, and why; None where a device has its own.
    starts
        All starts, if there were several; the epochs are those of the best.
    ranks
        The ranks that trained together, or the shards that one process summed; None for a fit of one process.
    """

    plan: Plan
    origin: str
    reason: str
    epochs: list[Epoch] = field(default_factory=list)
    stop: Stop | None = None
    best_epoch: int | None = None
    memory: int | None = None
    thread_bound: ThreadBound | None = None
    starts: tuple[Start, ...] = ()
    ranks: Ranks | None = None

    @property
    def stopped(self) -> str:
        """Why training ended, as a sentence; "" while it runs."""
        return "" if self.stop is None else self.stop.sentence

    @property
    def diverged(self) -> bool:
        """Whether training ended because loss or parameters stopped being finite."""
        return self.ended_by(StopReason.DIVERGED)

    def ended_by(self, reason: StopReason) -> bool:
        """Return whether training ended for this reason."""
        return self.stop is not None and self.stop.reason is reason

    @property
    def backend(self) -> str:
        """The backend of the steps."""
        return self.plan.backend

    @property
    def device(self) -> str:
        """The device of the steps."""
        return self.plan.device

    @property
    def precision(self) -> str:
        """The precision of the steps."""
        return self.plan.precision

    @property
    def threads(self) -> str:
        """The number of threads of the steps, and why there are no more; "" where a device has its own."""
        bound, choices = self.thread_bound, self.plan.choices
        return "" if bound is None else in_words(choices.get("threads"), choices.get("blas_threads"), bound)

    @property
    def loss(self) -> list[float]:
        """The mean loss per record of each epoch, measured on the way."""
        return [e.loss for e in self.epochs]

    @property
    def validation_loss(self) -> list[float | None]:
        """The mean loss of each epoch on the validation data; None where there is none."""
        return [e.validation_loss for e in self.epochs]

    @property
    def learning_rate(self) -> list[float]:
        """The learning rate at the end of each epoch."""
        return [e.learning_rate for e in self.epochs]

    @property
    def gradient_norm(self) -> list[float | None]:
        """The mean norm of the gradient of each epoch; None where you did not ask for it."""
        return [e.gradient_norm for e in self.epochs]

    @property
    def effective_parameters(self) -> float | None:
        """How many parameters the data determine, of Levenberg–Marquardt with ``bayes=True``; else None."""
        return self.epochs[-1].effective_parameters if self.epochs else None

    @property
    def seconds(self) -> float:
        """The time of all training passes, without validation."""
        return sum(e.seconds for e in self.epochs)

    @property
    def samples_per_second(self) -> float:
        """Training throughput over all the epochs."""
        samples = sum(e.samples_per_second * e.seconds for e in self.epochs)
        return samples / self.seconds if self.seconds else 0.0

    def __repr__(self) -> str:
        losses = "" if not self.epochs else f", loss {self.epochs[0].loss:.4g} to {self.epochs[-1].loss:.4g}"
        kept = "" if self.best_epoch is None else f", kept: epoch {self.best_epoch:,}"
        stopped = f"; {self.stopped}" if self.stopped else ""
        count = "1 epoch" if len(self.epochs) == 1 else f"{len(self.epochs):,} epochs"
        where = f"{self.backend}, {self.device}, {self.precision}, {self.origin}"
        return f"History({count}{losses}{kept}, on {where}{stopped})"

    def _repr_html_(self) -> str:
        numbers = [e.number for e in self.epochs]
        told: dict[str, list[int | None]] = {
            "first": [*numbers[:1]],
            "kept": [self.best_epoch],
            "last": [*numbers[-1:]],
        }
        shown = [e for e in self.epochs if any(e.number in which for which in told.values())]
        figures = list(shown[-1].metrics) if shown else []
        rows = [
            (
                f"{e.number:,} ({', '.join(what for what, which in told.items() if e.number in which)})",
                f"{e.loss:.4g}",
                "" if e.validation_loss is None else f"{e.validation_loss:.4g}",
                *(f"{e.metrics[name]:.4g}" for name in figures),
                f"{e.learning_rate:.3g}",
            )
            for e in shown
        ]
        caption = (
            f"{len(self.epochs):,} epochs in {self.seconds:.2f} s, {self.samples_per_second:,.0f} samples/s on "
            f"{self.backend}, {self.device}, {self.precision}, {self.origin}"
        )
        heads = ("epoch", "loss", "validation loss", *figures, "learning rate")
        return html_table(f"{caption}; {self.stopped}" if self.stopped else caption, heads, rows)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers, text, lists and dictionaries."""
        return {
            "plan": self.plan.as_dict(),
            "origin": self.origin,
            "reason": self.reason,
            "stopped": self.stopped,
            "diverged": self.diverged,
            "best_epoch": self.best_epoch,
            "memory": self.memory,
            "threads": self.threads,
            "epochs": [vars(e) for e in self.epochs],
            "starts": [vars(s) for s in self.starts],
            "ranks": None if self.ranks is None else self.ranks.as_dict(),
        }
