"""What a training came to: as text, as JSON, and as what a model file keeps of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from gdkernels.definition.naming import describe
from gdkernels.history import History
from gdkernels.mlp import MLP
from gdkernels.tables import Preparation, Table

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """A trained network, on what and how it was trained, and its figures on the rows held out.

    Attributes
    ----------
    rows
        How many were for "train", "validation" and "test".
    seconds
        Of the whole fit, with validation and all starts; the throughput is that of the training passes alone.
    model
        The file that it was written to, if it was.
    """

    table: Table
    preparation: Preparation
    mlp: MLP
    history: History
    settings: dict[str, Any]
    rows: dict[str, int]
    metrics: dict[str, float]
    seconds: float
    model: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; figures that are not finite are None."""
        history = self.history
        figures = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {
            "data": self.table.source,
            "target": self.table.target,
            "task": self.preparation.task,
            "classes": None if self.preparation.classes is None else self.preparation.classes.tolist(),
            "rows": self.rows,
            "metrics": figures,
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
            "seconds": self.seconds,
            "samples_per_second": history.samples_per_second,
            "model": self.model,
        }

    def as_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def for_model(self) -> dict[str, Any]:
        """Return what a model file keeps, so that it predicts from a table as it was read."""
        whole = self.as_dict()
        kept = ("data", "target", "task", "rows", "metrics", "settings", "epochs", "best_epoch")
        return {
            "preparation": self.preparation.to_json(),
            "columns": list(self.table.columns),
            **{name: whole[name] for name in kept},
        }

    def as_text(self) -> str:
        history, settings = self.history, self._plain_settings()
        classes = self.preparation.classes
        task = self.preparation.task + (f" in {len(classes)} classes" if classes is not None else "")
        activations = dict.fromkeys(describe(f)["name"] for f in self.mlp.activations)
        lines = {
            "data": f"{self.table.source}: {sum(self.rows.values()):,} records of {len(self.table.columns):,} columns; "
            f"{task} of {self.table.target!r}",
            "network": f"{'-'.join(map(str, self.mlp.sizes))}, {''.join(f'{name}, ' for name in activations)}"
            f"{self.mlp.parameter_count:,} parameters; {settings['loss']}, {settings['optimizer']['name']} at "
            f"{settings['optimizer']['learning_rate']:g}, batches of {settings['batch_size']}, l2 {settings['l2']:.2g}",
            "ran on": f"{history.backend}, {history.device}, {history.precision}, {history.origin}: {history.reason}",
            "trained": f"{len(history.epochs)} epochs on {self.rows['train']:,} rows in {self.seconds:.2f} s, "
            f"{history.samples_per_second:,.0f} samples/s",
            "stopped": f"{history.stopped}; the parameters are those of epoch {history.best_epoch}",
        }
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
        return "\n".join(f"{name:<9}{text}" for name, text in lines.items())

    def _plain_settings(self) -> dict[str, Any]:
        return self.settings | {"optimizer": describe(self.settings["optimizer"])}
