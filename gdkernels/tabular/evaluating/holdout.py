"""A table of its own to measure the figures on: checked before training, evaluated after it.

Of several ranks the first alone reads it, which takes longer than to predict its records, and tells the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.groups import Group
from gdkernels.groups.agreement import from_rank_0
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, parts
from gdkernels.tables.preparation.target_columns import complete
from gdkernels.tables.read import source_of
from gdkernels.tabular.evaluating.evaluation import Evaluation, EvaluationInParts, evaluated, with_truth
from gdkernels.tabular.model.prediction import PreparedNetwork, records_prepared
from gdkernels.tabular.settings import TabularSettings

__all__ = ["check_test_file", "measured_on"]

Array = npt.NDArray[Any]


def check_test_file(group: Group, settings: TabularSettings, preparation: Preparation) -> None:
    """Go through the table of the test, if there is one, and refuse what the model could not predict or compare.

    Raises
    ------
    InputError
        Then, so that no training is lost.
    """
    if settings.test_file is None:  # as on all ranks
        return

    def checked() -> bytes:
        _check(settings, preparation)
        return b""

    from_rank_0(group, None if group.rank else checked)


def _check(settings: TabularSettings, preparation: Preparation) -> None:
    records = 0
    with RecordCount("checking the test", settings.progress) as bar:
        for part in parts(
            settings.test_file, records_prepared(preparation), findings=preparation.findings, options=settings.options
        ):
            table = complete(part, preparation.targets) if settings.drop_missing and len(part) else part
            if len(table):
                preparation.transform(table)
                preparation.transform_targets(table)
                records += len(table)
                bar.update(len(table))
    if not records:
        raise InputError(f"{source_of(settings.test_file)} has no records to measure the figures on")


def measured_on(group: Group, settings: TabularSettings, model: PreparedNetwork) -> tuple[Evaluation, str]:
    """Return the evaluation on the table of the test, and what its records are, for people."""
    said = f"records of {source_of(settings.test_file)}"
    if group.size == 1:
        evaluation = evaluated(
            model,
            settings.test_file,
            drop_missing=settings.drop_missing,
            options=settings.options,
            progress=settings.progress,
        )
        return evaluation, said
    model.outputs(np.zeros((1, model.network.inputs)))  # so that the network is where it computes on every rank
    found = EvaluationInParts(model.preparation)
    for truth, *outputs in _told_by_rank_0(group, settings, model):
        found.add(truth, map(model.of_outputs, outputs))
    result = found.result()
    assert result is not None, "the test was checked before training"
    return result, said


def _told_by_rank_0(group: Group, settings: TabularSettings, model: PreparedNetwork) -> Iterator[list[Array]]:
    """Yield the truth of each part of the test, with what the network puts out for its pieces."""

    def predicted() -> Iterator[bytes]:
        read = with_truth(
            model.preparation,
            settings.test_file,
            model.records_read,
            drop_missing=settings.drop_missing,
            options=settings.options,
        )
        with RecordCount("evaluating", settings.progress) as bar:
            for table, truth in read:
                told = io.BytesIO()
                np.savez(told, truth, *(outputs for _, outputs in model.outputs_in_pieces(table)))
                yield told.getvalue()
                bar.update(len(table))

    parts_told = predicted()
    while data := from_rank_0(group, None if group.rank else lambda: next(parts_told, b"")):
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            yield [arrays[name] for name in arrays.files]
