"""A table of its own to measure the figures on: checked before training, evaluated after it."""

from __future__ import annotations

from gdkernels.errors import InputError
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, parts
from gdkernels.tables.read import source_of
from gdkernels.tables.target_columns import complete
from gdkernels.tabular.evaluation import Evaluation, evaluated
from gdkernels.tabular.prediction import PreparedNetwork, records_prepared
from gdkernels.tabular.settings import TabularSettings

__all__ = ["check_test_file", "measured_on"]


def check_test_file(settings: TabularSettings, preparation: Preparation) -> None:
    """Go through the table of the test, if there is one, and refuse what the model could not predict or compare.

    Raises
    ------
    InputError
        Then, so that no training is lost.
    """
    if settings.test_file is None:
        return
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


def measured_on(settings: TabularSettings, model: PreparedNetwork) -> tuple[Evaluation, str]:
    """Return the evaluation on the table of the test, and what its records are, for people."""
    evaluation = evaluated(
        model,
        settings.test_file,
        drop_missing=settings.drop_missing,
        options=settings.options,
        progress=settings.progress,
    )
    return evaluation, f"records of {source_of(settings.test_file)}"
