"""From data as people pass them, and settings, to a trained network or a description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gdkernels.groups import joined
from gdkernels.system.profiling import phase
from gdkernels.tables import Table, read
from gdkernels.tables.formats.located import check_separate
from gdkernels.tables.formats.objects import with_target
from gdkernels.tables.read import Data
from gdkernels.tabular.description import TableDescription, described, described_in_parts
from gdkernels.tabular.in_memory import fit_in_memory
from gdkernels.tabular.model.passed_labels import PassedLabels
from gdkernels.tabular.model.prediction import PreparedNetwork
from gdkernels.tabular.out_of_core import fit_out_of_core, memory_for
from gdkernels.tabular.ranks import least_of_ranks
from gdkernels.tabular.results import TabularResult
from gdkernels.tabular.settings import TabularSettings

__all__ = ["Trained", "description_of", "trained_on"]


@dataclass(frozen=True)
class Trained:
    """A result, with the labels of its classes as they were passed, if they need care."""

    result: TabularResult
    labels: PassedLabels | None

    @property
    def model(self) -> PreparedNetwork:
        """The network and its preparation."""
        return PreparedNetwork(self.result.network, self.result.preparation)


def trained_on(settings: TabularSettings, X: Data, y: Any) -> Trained:
    """Train on a table, in memory or part by part; the network gets what its file keeps.

    Raises
    ------
    InputError, BackendError, DivergenceError, Interrupted
        As `TabularPredictor.fit`.
    """
    check_separate(X, settings.test_file)
    data = X
    if y is not None:
        data = with_target(_read(X, settings), y, settings.target)
        settings = settings.without_target()
    labels = None
    if (allowed := least_of_ranks(joined(settings.group), memory_for(settings, data))) is not None:
        result = fit_out_of_core(settings, data, allowed)
    else:
        with phase("reading"):
            table = _read(data, settings)
        result = fit_in_memory(settings, table)
        labels = PassedLabels.of_fit(X, y, table, result.preparation)
    result.network.extra = result.for_model() | ({} if labels is None else labels.for_model())
    return Trained(result, labels)


def description_of(settings: TabularSettings, X: Data, y: Any) -> TableDescription:
    """Return what training would do with each column of a table.

    Raises
    ------
    InputError
        If columns are not there or cannot be used.
    """
    check_separate(X, settings.test_file)
    if y is None and (allowed := memory_for(settings, X)) is not None:
        return described_in_parts(settings, X, allowed)
    table = _read(X, settings)
    if y is None:
        return described(settings, table)
    return described(settings.without_target(), with_target(table, y, settings.target))


def _read(data: Data, settings: TabularSettings) -> Table:
    return read(data, header=settings.options.header, skip_rows=settings.options.skip_rows, progress=settings.progress)
