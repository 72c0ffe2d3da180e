"""The result of a fit on a table: as text, as JSON, and in the form that a model file keeps."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gdkernels.definition.blocks.describing import block_in_words
from gdkernels.definition.naming import describe
from gdkernels.dispatch.explanation import Explanation
from gdkernels.models.network import Network
from gdkernels.system.memory import gigabytes
from gdkernels.system.version import __version__
from gdkernels.tables import Preparation
from gdkernels.tables.preparation.report import columns_line
from gdkernels.tabular.evaluating.evaluation import Evaluation, in_words
from gdkernels.tabular.model.drift import ColumnProfile
from gdkernels.tabular.networks.cross_validation import CrossValidation
from gdkernels.tabular.networks.encoding import encoding_in_words
from gdkernels.tabular.networks.search_results import Search
from gdkernels.tabular.networks.stopping_together import StoppingTogether
from gdkernels.training.history import History

__all__ = ["TabularResult", "shape_in_words"]


def shape_in_words(network: Network) -> str:
    """Return the sizes and the activations of a chain, and the blocks of another network."""
    structure = network.network.structure
    if structure.layers is None:
        encoded = encoding_in_words(structure.block)
        if encoded is None:
            return f"{structure.inputs} → {block_in_words(structure.block)}"
        told, rest = encoded
        return f"{structure.inputs} inputs, {told} → {block_in_words(rest)}"
    names = dict.fromkeys(describe(f)["name"] for f in network.activations)
    return ", ".join(["-".join(map(str, structure.sizes)), *names])


@dataclass(frozen=True)
class TabularResult:
    """A network trained on a table, on what and how it was trained, and its figures on the rows held out.

    Attributes
    ----------
    source
        The origin of the table.
    preparation
        The preparation of the columns.
    network
        The trained network.
    histories
        Of the networks that were averaged, often one.
    settings
        The settings of the training, with those that were chosen for you.
    rows
        The number of rows for "train", "validation" and "test"; the latter are rows of the table unless a file of their
        own was given.
    class_records
        The number of records of each class, by its label; None for a regression.
    test
        The figures on the rows kept from training and stopping; None if there were none.
    seconds
        Of the whole fit, with validation and all starts; the throughput is that of the training passes alone.
    test_said
        What the rows of the test are, for people.
    separate_test
        Whether those rows are of a table of their own.
    remarks
        What you should know before you trust the figures.
    profiles
        The columns as they were in training, with which records to predict are compared.
    cross_validation
        The choice by the rows left out, if there was one.
    stopping
        The choice of when networks stop, by rows that none of them had seen, if there was one.
    search
        The search of ``best``, if there was one.
    explanation
        Why it ran where it did, if that was asked for.
    """

    source: str
    preparation: Preparation
    network: Network
    histories: tuple[History, ...]
    settings: dict[str, Any]
    rows: dict[str, int]
    class_records: dict[str, int] | None
    test: Evaluation | None
    seconds: float
    test_said: str = "rows kept from training and stopping"
    separate_test: bool = False
    remarks: tuple[str, ...] = ()
    profiles: tuple[ColumnProfile, ...] = ()
    cross_validation: CrossValidation | None = None
    stopping: StoppingTogether | None = None
    search: Search | None = None
    explanation: Explanation | None = None

    @property
    def history(self) -> History:
        """That of the first network, where several are averaged."""
        return self.histories[0]

    @property
    def target(self) -> str:
        """The columns that are predicted."""
        return ", ".join(self.preparation.targets)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; figures that are not finite are None."""
        history = self.history
        return {
            "data": self.source,
            "target": self.target,
            "task": self.preparation.task,
            "classes": None if self.preparation.classes is None else self.preparation.classes.tolist(),
            "rows": self.rows,
            "test_rows": None if self.test is None else self.test_said,
            "remarks": list(self.remarks),
            "metrics": {} if self.test is None else self.test["metrics"],
            "baseline": {} if self.test is None else self.test["baseline"],
            "calibration": None if self.test is None else self.test.calibration,
            "by_class": None if self.test is None else self.test.by_class,
            "class_shares": self._class_shares(),
            "columns": self.preparation.describe(),
            "backend": history.backend,
            "device": history.device,
            "precision": history.precision,
            "origin": history.origin,
            "reason": history.reason,
            "plan": history.plan.as_dict(),
            "network": shape_in_words(self.network),
            "sizes": list(self.network.sizes),
            "activation": [describe(f)["name"] for f in self.network.activations],
            "parameters": self.network.parameter_count,
            "settings": self._plain_settings(),
            "epochs": len(history.epochs),
            "best_epoch": history.best_epoch,
            "stopped": history.stopped,
            "starts": [vars(start) for start in history.starts],
            "averaged": [{"epochs": len(h.epochs), "best_epoch": h.best_epoch} for h in self.histories],
            "cross_validation": None if self.cross_validation is None else self.cross_validation.as_dict(),
            "stopping_together": None if self.stopping is None else self.stopping.as_dict(),
            "search": None if self.search is None else self.search.as_dict(),
            "memory": history.memory,
            "threads": history.threads,
            "ranks": None if history.ranks is None else history.ranks.as_dict(),
            "seconds": self.seconds,
            "samples_per_second": history.samples_per_second,
            "explanation": None if self.explanation is None else self.explanation.as_dict(),
        }

    def for_model(self) -> dict[str, Any]:
        """Return what a model file keeps, so that it predicts from a table as it was read."""
        whole = self.as_dict()
        kept = ("data", "target", "task", "rows", "metrics", "by_class", "settings", "epochs", "best_epoch")
        return {
            "preparation": self.preparation.to_json(),
            "profiles": [asdict(profile) for profile in self.profiles],
            "versions": {"gdkernels": __version__, "numpy": np.__version__, "python": platform.python_version()},
            "history": [
                {"loss": h.loss, "validation_loss": h.validation_loss, "best_epoch": h.best_epoch, "stopped": h.stopped}
                for h in self.histories
            ],
            **{name: whole[name] for name in kept},
        }

    def __repr__(self) -> str:
        return self.as_text()

    def as_text(self, more: Mapping[str, str] | None = None) -> str:
        """Return a summary, a line for each thing; `more` are lines of the caller's, by their names."""
        lines = self._lines() | dict(more or {})
        summary = "\n".join(f"{name:<9}{text}" for name, text in [*lines.items(), *(("note", r) for r in self.remarks)])
        if self.explanation is None:
            return summary
        expected = None if self.history.ranks is None else self.history.ranks.expected
        of_ranks = "" if expected is None else f"\nthe ranks were expected to be {expected}"
        return f"{summary}\n{self.explanation.as_text()}{of_ranks}"

    def _lines(self) -> dict[str, str]:
        history, settings = self.history, self._plain_settings()
        classes = self.preparation.classes
        task = self.preparation.task + (f" in {len(classes)} classes" if classes is not None else "")
        several = len(self.histories)
        epochs = sum(len(h.epochs) for h in self.histories)
        best = [str(h.best_epoch) for h in self.histories]
        best = best[:1] if len(set(best)) == 1 else best
        lines = {
            "data": f"{self.source}: {self._records:,} records of "
            f"{len(self.preparation.columns):,} columns; {task} of {self.target!r}",
            "columns": columns_line(self.preparation),
        }
        if (shares := self._class_shares()) is not None:
            lines["classes"] = ", ".join(f"{label} {share:.1%}" for label, share in list(shares.items())[:12])
            if settings["class_weight"] == "balanced":
                lines["classes"] += "; weighted so that each counts the same"
        lines |= {
            "network": f"{shape_in_words(self.network)}, "
            f"{self.network.parameter_count:,} parameters; {settings['loss']}, {self._steps(settings['optimizer'])}, "
            f"{self._penalty(settings['l2'])}",
            "ran on": f"{history.backend}, {history.device}, {history.precision}, {history.origin}: {history.reason}",
            "trained": (f"{several} networks, put side by side as their average; " if several > 1 else "")
            + f"{epochs} epochs on {self.rows['train']:,} rows in {self.seconds:.2f} s, "
            f"{history.samples_per_second:,.0f} samples/s",
            **({"threads": history.threads} if history.threads else {}),
            **({"ranks": str(history.ranks)} if history.ranks is not None else {}),
            **self._memory(),
            "stopped": f"{history.stopped}; the parameters are those of epoch {', '.join(best)}",
        }
        if self.cross_validation is not None:
            lines["chosen"] = self.cross_validation.as_text()
        if self.stopping is not None:
            lines["chosen"] = self.stopping.as_text()
        if self.search is not None:
            lines["searched"] = self.search.as_text()
        if history.starts:
            reached = ", ".join(f"{start.loss:.4g}" for start in history.starts)
            lines["starts"] = f"{len(history.starts)}, with the losses {reached}; the lowest was kept"
        if self.test is not None:
            shown = [name for name in self.test.metrics if name not in ("balanced_accuracy", "brier")]
            lines["test"] = f"{in_words(self.test.metrics, shown)} on {self.test.records:,} {self.test_said}"
            lines |= self.test.lines()
        else:
            lines["test"] = "none, as no rows were kept for it"
        return lines

    @property
    def _records(self) -> int:
        """The number of records of the table."""
        return sum(count for part, count in self.rows.items() if part != "test" or not self.separate_test)

    def _steps(self, optimizer: Mapping[str, Any]) -> str:
        if "learning_rate" not in optimizer:  # a solver
            return f"{optimizer['name']} on all rows in each step"
        return f"{optimizer['name']} at {optimizer['learning_rate']:g}, batches of {self._batch()}"

    def _penalty(self, l2: float) -> str:
        effective = self.history.effective_parameters
        if effective is None:
            return f"l2 {l2:.2g}"
        chosen = self.history.epochs[-1].penalty or 0.0
        return f"l2 {chosen:.2g} by the evidence, with {effective:.1f} effective parameters"

    def _memory(self) -> dict[str, str]:
        """Return the line of memory; none where nobody has estimated it, as for many networks."""
        if self.history.memory is not None:
            return {"memory": f"at most {gigabytes(self.history.memory)}, as said before training"}
        return {} if self.history.device == "cpu" else {"memory": "that of the device"}

    def _batch(self) -> str:
        size, rows = self.settings["batch_size"], self.rows["train"]
        return f"{size} (only {rows:,} rows: all in each step)" if size > rows else str(size)

    def _class_shares(self) -> dict[str, float] | None:
        """Return the share of the records that each class has, the largest first."""
        if self.class_records is None:
            return None
        total = sum(self.class_records.values())
        pairs = [(name, count / total) for name, count in self.class_records.items()]
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def _plain_settings(self) -> dict[str, Any]:
        return self.settings | {"optimizer": describe(self.settings["optimizer"])}
