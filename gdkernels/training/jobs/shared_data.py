"""The data of many fits: placed once on each device for the networks that expect the same."""

from __future__ import annotations

from typing import Any

from gdkernels.data.records import Records, place_records
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError, shown
from gdkernels.training.settings import FitSettings
from gdkernels.training.trainer import Trainer

__all__ = ["SharedData"]


class SharedData:
    """Data on the devices of models: placed once for those that expect the same."""

    def __init__(self, X: Any, Y: Any, sample_weight: Any, validation: Any) -> None:
        if Y is None:
            raise InputError("fit_many takes X and Y, arrays in memory; batches and Stored are for fits one by one")
        if hasattr(X, "tocsr"):
            raise InputError("fit_many takes dense X; fit models on sparse rows one by one")
        self._given = X, Y, sample_weight
        if isinstance(validation, tuple) and len(validation) not in (2, 3):
            raise InputError(
                f"validation must be a share, (X, Y) or (X, Y, sample_weight), got {len(validation)} things"
            )
        share = isinstance(validation, (int, float)) and 0 < validation < 1
        if not (share or validation is None or isinstance(validation, tuple)):
            raise InputError(f"validation must be a share between 0 and 1, (X, Y) or None, got {shown(validation)}")
        self._validation = validation if isinstance(validation, tuple) else None
        self._bindings: list[Binding] = []
        self._placed: list[tuple[Binding, Any, tuple[Records, Records | None]]] = []

    def of(self, trainer: Trainer, asked: FitSettings, models: int) -> tuple[Records, Records | None]:
        """Return the records for a model, and those to validate it on if the user gave some."""
        network = trainer.mlp.network
        X, Y, weights = self._given
        binding = self.place(trainer, asked, models)
        with network.naming(X, Y):
            spec = network.expects(trainer.settings.objective)
        key = spec.inputs, spec.outputs, spec.loss, spec.names
        for where, what, records in self._placed:
            if where is binding and what == key:
                return records
        with binding.backend.on_device(binding.device):
            train = place_records(binding, X, Y, weights, spec=spec)
            if train.sparse:
                raise InputError("fit_many takes dense X; fit models on sparse rows one by one")
            held_out = None
            if self._validation is not None:
                one, other, *more = self._validation
                held_out = place_records(binding, one, other, *(more or [None]), spec=spec, of="the validation ")
        self._placed.append((binding, key, (train, held_out)))
        return train, held_out

    def place(self, trainer: Trainer, asked: FitSettings, models: int) -> Binding:
        """Return where a model computes: where one before it does, unless it has its own place."""
        X, _, weights = self._given
        network = trainer.mlp.network
        for binding in self._bindings:
            if network.join(binding, X):
                return binding

        def work(records: int) -> Any:
            how = {"gradient_norm": asked.with_norm, "weighted": weights is not None}
            return trainer.workload(records, asked.epochs * models, **how)

        binding = network.bind(X, work)
        self._bindings.append(binding)
        return binding
