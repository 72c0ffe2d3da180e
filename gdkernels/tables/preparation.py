"""From a table's columns to a network's inputs and targets, and back from its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables.table import Floats
from gdkernels.tables.task import TASKS, labels_of

__all__ = ["Preparation"]


@dataclass(frozen=True)
class Scaling:
    """(values − `mean`) / `scale`, column by column."""

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, values: Floats, names: Sequence[str]) -> Scaling:
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = values.mean(axis=0), values.std(axis=0)
        wrong = ~np.isfinite(mean + scale)
        if wrong.any():
            name = names[int(np.argmax(wrong))]
            raise InputError(f"column {name!r} has numbers too large to be standardised; scale it first")
        # A constant column has, by rounding, a deviation of a few units in the last place: it says nothing, and must
        # not be blown up into noise.
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant | (scale == 0), 1.0, scale))

    def apply(self, values: Floats) -> Floats:
        return (values - self.mean) / self.scale

    def undo(self, values: Floats) -> Floats:
        return values * self.scale + self.mean


@dataclass(frozen=True)
class Preparation:
    """What was learned about the columns from the training rows.

    Attributes
    ----------
    task
        "classification" or "regression".
    inputs
        How inputs are standardised; constant columns become 0.
    targets
        How the targets of a regression are standardised, or None where they are left as they are.
    classes
        The labels of a classification in ascending order, or None.
    """

    task: str
    inputs: Scaling
    targets: Scaling | None = None
    classes: npt.NDArray[Any] | None = None

    @classmethod
    def fit(
        cls, x: Floats, y: Floats, task: str, *, columns: Sequence[str] | None = None, standardise_targets: bool = True
    ) -> Preparation:
        """Learn from training rows only, so that the rows held out stay unseen.

        Parameters
        ----------
        x, y
            Inputs [records, columns] and targets [records] or [records, outputs].
        columns
            Their names, for messages; numbers from 0 if left out.
        standardise_targets
            Whether the targets of a regression are standardised: not for a loss that needs counts.

        Raises
        ------
        InputError
            Where the targets do not fit the task, or there is nothing to learn.
        """
        inputs = Scaling.fit(x, [str(k) for k in range(x.shape[1])] if columns is None else columns)
        if task == "regression":
            if bool(np.all(y == y[:1])):
                raise InputError("the target has the same value in every record: there is nothing to learn")
            targets = y.reshape(len(y), -1)
            names = [f"target {k}" for k in range(targets.shape[1])]
            return cls(task, inputs, Scaling.fit(targets, names) if standardise_targets else None)
        classes = np.unique(labels_of(y))
        if len(classes) < 2:
            raise InputError(f"the target has one class only, {classes[0]:g}: there is nothing to learn")
        whole = np.all(classes == np.round(classes)) and np.all(np.abs(classes) < 2**53)
        return cls(task, inputs, None, classes.astype(np.int64) if whole else classes)

    def transform(self, x: Floats) -> Floats:
        """Return the inputs for the network.

        Raises
        ------
        InputError
            Where `x` has other columns than what was learned from.
        """
        if x.ndim != 2 or x.shape[1] != len(self.inputs.mean):
            raise InputError(f"the model needs {len(self.inputs.mean)} columns [records, columns], got {list(x.shape)}")
        return self.inputs.apply(x)

    def transform_targets(self, y: Floats) -> npt.NDArray[Any]:
        """Return the targets for the network: class indices [records], or numbers [records, outputs].

        Raises
        ------
        InputError
            Where `y` has a class that was not learned.
        """
        if self.classes is None:
            values = y.reshape(len(y), -1)
            return self.targets.apply(values) if self.targets is not None else values
        labels = labels_of(y)
        indices = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        unknown = self.classes[indices] != labels
        if unknown.any():
            raise InputError(f"the class {labels[np.argmax(unknown)]:g} is not among those learned")
        return indices

    def restore(self, outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return predictions in the target's own terms: from class indices [records] or numbers [records, outputs]."""
        if self.classes is not None:
            labels: npt.NDArray[Any] = self.classes[outputs]
            return labels
        values = np.asarray(outputs, np.float64)
        if self.targets is not None:
            values = self.targets.undo(values)
        return values[:, 0] if values.shape[1] == 1 else values

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it, to the last bit."""
        pairs = {"inputs": self.inputs, "targets": self.targets}
        scalings = {k: s and {"mean": s.mean.tolist(), "scale": s.scale.tolist()} for k, s in pairs.items()}
        return {
            "task": self.task,
            **scalings,
            "classes": None if self.classes is None else self.classes.tolist(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preparation:
        """Return what `to_json` described.

        Raises
        ------
        InputError
            Where `value` is no such description.
        """
        try:
            inputs, targets = (
                None if value[k] is None else Scaling(*(np.array(value[k][f], np.float64) for f in ("mean", "scale")))
                for k in ("inputs", "targets")
            )
            classes = None if value["classes"] is None else np.array(value["classes"])
            sound = (
                value["task"] in TASKS
                and inputs is not None
                and all(s is None or s.mean.ndim == s.scale.ndim == 1 for s in (inputs, targets))
                and all(s is None or s.mean.shape == s.scale.shape for s in (inputs, targets))
                and (classes is not None) == (value["task"] == "classification")
                and (classes is None or (classes.ndim == 1 and classes.dtype.kind in "if"))
            )
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise InputError("the model's description of its columns is damaged")
        assert inputs is not None
        return cls(value["task"], inputs, targets, classes)
