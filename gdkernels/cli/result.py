"""What a training came to: as text, as JSON, and as what a model file keeps of it."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels import __version__
from gdkernels.definition.naming import describe
from gdkernels.dispatch.explanation import Explanation
from gdkernels.models.mlp import MLP
from gdkernels.system.memory import gigabytes
from gdkernels.system.profiling import Profile
from gdkernels.tables import Preparation, Table
from gdkernels.tables.table import listed
from gdkernels.tabular.cross_validation import Choice
from gdkernels.training.history import History

__all__ = ["Result", "columns_line"]


@dataclass(frozen=True)
class Result:
    """A trained network, on what and how it was trained, and its figures on the rows held out.

    Attributes
    ----------
    histories
        Of the networks that were averaged, mostly one.
    rows
        How many were for "train", "validation" and "test".
    seconds
        Of the whole fit, with validation and all starts; the throughput is that of the training passes alone.
    model
        The file that it was written to, if it was.
    plot
        The picture that was drawn, if one was.
    choice
        What cross-validation chose, where there was one.
    explanation
        Why it ran where it did, if that was asked for.
    profile
        Time and memory by phase, if that was asked for.
    class_records
        How many records each class has, by its label, where the table is a sample of them.
    """

    table: Table
    preparation: Preparation
    mlp: MLP
    histories: tuple[History, ...]
    settings: dict[str, Any]
    rows: dict[str, int]
    metrics: dict[str, float]
    by_class: dict[str, Any] | None
    seconds: float
    model: str | None = None
    plot: str | None = None
    choice: Choice | None = None
    explanation: Explanation | None = None
    profile: Profile | None = None
    class_records: dict[str, int] | None = None

    @property
    def history(self) -> History:
        """Of the first network, where several are averaged."""
        return self.histories[0]

    @property
    def target(self) -> str:
        return ", ".join(self.preparation.targets)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; figures that are not finite are None."""
        history = self.history
        figures = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {
            "data": self.table.source,
            "target": self.target,
            "task": self.preparation.task,
            "classes": None if self.preparation.classes is None else self.preparation.classes.tolist(),
            "rows": self.rows,
            "metrics": figures,
            "by_class": self.by_class,
            "class_shares": self._class_shares(),
            "columns": self.preparation.describe(),
            "backend": history.backend,
            "device": history.device,
            "precision": history.precision,
            "origin": history.origin,
            "reason": history.reason,
            "plan": history.plan.as_dict(),
            "sizes": list(self.mlp.sizes),
            "activation": [describe(f)["name"] for f in self.mlp.activations],
            "parameters": self.mlp.parameter_count,
            "settings": self._plain_settings(),
            "epochs": len(history.epochs),
            "best_epoch": history.best_epoch,
            "stopped": history.stopped,
            "starts": [vars(start) for start in history.starts],
            "averaged": [{"epochs": len(h.epochs), "best_epoch": h.best_epoch} for h in self.histories],
            "cross_validation": None if self.choice is None else self.choice.as_dict(),
            "memory": history.memory,
            "seconds": self.seconds,
            "samples_per_second": history.samples_per_second,
            "model": self.model,
            "plot": self.plot,
            "explanation": None if self.explanation is None else self.explanation.as_dict(),
            "profile": None if self.profile is None else self.profile.as_dict(),
        }

    def as_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def for_model(self) -> dict[str, Any]:
        """Return what a model file keeps, so that it predicts from a table as it was read."""
        whole = self.as_dict()
        kept = ("data", "target", "task", "rows", "metrics", "by_class", "settings", "epochs", "best_epoch")
        return {
            "preparation": self.preparation.to_json(),
            "versions": {"gdkernels": __version__, "numpy": np.__version__, "python": platform.python_version()},
            "history": [
                {"loss": h.loss, "validation_loss": h.validation_loss, "best_epoch": h.best_epoch, "stopped": h.stopped}
                for h in self.histories
            ],
            **{name: whole[name] for name in kept},
        }

    def as_text(self) -> str:
        history, settings = self.history, self._plain_settings()
        classes = self.preparation.classes
        task = self.preparation.task + (f" in {len(classes)} classes" if classes is not None else "")
        activations = dict.fromkeys(describe(f)["name"] for f in self.mlp.activations)
        several = len(self.histories)
        epochs = sum(len(h.epochs) for h in self.histories)
        best = [str(h.best_epoch) for h in self.histories]
        best = best[:1] if len(set(best)) == 1 else best
        lines = {
            "data": f"{self.table.source}: {sum(self.rows.values()):,} records of "
            f"{len(self.table.columns) - len(self.preparation.targets):,} columns; {task} of {self.target!r}",
            "columns": columns_line(self.preparation),
        }
        if (shares := self._class_shares()) is not None:
            lines["classes"] = ", ".join(f"{label} {share:.1%}" for label, share in list(shares.items())[:12])
            if settings["class_weight"] == "balanced":
                lines["classes"] += "; weighted so that each counts the same"
        lines |= {
            "network": f"{'-'.join(map(str, self.mlp.sizes))}, {''.join(f'{name}, ' for name in activations)}"
            f"{self.mlp.parameter_count:,} parameters; {settings['loss']}, {settings['optimizer']['name']} at "
            f"{settings['optimizer']['learning_rate']:g}, batches of {self._batch()}, l2 {settings['l2']:.2g}",
            "ran on": f"{history.backend}, {history.device}, {history.precision}, {history.origin}: {history.reason}",
            "trained": (f"{several} networks, put side by side as their average; " if several > 1 else "")
            + f"{epochs} epochs on {self.rows['train']:,} rows in {self.seconds:.2f} s, "
            f"{history.samples_per_second:,.0f} samples/s",
            "memory": "that of the device"
            if history.memory is None
            else f"at most {gigabytes(history.memory)}, as said before training",
            "stopped": f"{history.stopped}; the parameters are those of epoch {', '.join(best)}",
        }
        if self.choice is not None:
            lines["chosen"] = self.choice.as_text()
        if history.starts:
            reached = ", ".join(f"{start.loss:.4g}" for start in history.starts)
            lines["starts"] = f"{len(history.starts)}, with the losses {reached}; the lowest was kept"
        if self.metrics:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
            lines["test"] = f"{figures} on {self.rows['test']:,} rows kept from training and stopping"
        else:
            lines["test"] = "none, as no rows were kept for it"
        if self.model is not None:
            lines["model"] = self.model
        if self.plot is not None:
            lines["plot"] = self.plot
        summary = [f"{name:<9}{text}" for name, text in lines.items()]
        return "\n".join([*summary, *(more.as_text() for more in (self.explanation, self.profile) if more is not None)])

    def _batch(self) -> str:
        size, rows = self.settings["batch_size"], self.rows["train"]
        return f"{size} (only {rows:,} rows: all in each step)" if size > rows else str(size)

    def _class_shares(self) -> dict[str, float] | None:
        """Return the share of the records that each class has, the largest first."""
        if self.preparation.classes is None:
            return None
        names = list(map(str, self.preparation.classes.tolist()))
        if self.class_records is None:
            indices = self.preparation.transform_targets(self.table)
            counts = np.bincount(indices, minlength=len(names))
        else:
            counts = np.array([self.class_records[name] for name in names])
        pairs = zip(names, (counts / counts.sum()).tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def _plain_settings(self) -> dict[str, Any]:
        return self.settings | {"optimizer": describe(self.settings["optimizer"])}


def columns_line(preparation: Preparation) -> str:
    """Return in a line what becomes of the columns."""
    counts = {kind: sum(k.kind == kind for k in preparation.columns) for kind in ("number", "category", "date")}
    names = {"number": ("number", "numbers"), "category": ("category", "categories"), "date": ("date", "dates")}
    parts = [f"{n:,} {names[kind][n > 1]}" for kind, n in counts.items() if n]
    dropped = [k for k in preparation.columns if k.kind == "dropped"]
    if dropped:
        parts.append(f"{len(dropped):,} left out ({listed([k.name for k in dropped])})")
    logs = getattr(preparation.outcome, "logs", ())
    log = "; the target is skewed, so its logarithm is learned" if any(logs) else ""
    return f"{', '.join(parts)}: {len(preparation.features):,} inputs{log}"
