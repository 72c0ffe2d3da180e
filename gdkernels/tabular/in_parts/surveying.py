"""What the passes through a table larger than memory find, before anything is chosen: on ranks, by one for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels.groups import Group
from gdkernels.groups.agreement import from_rank_0
from gdkernels.system.packing import packed, unpacked
from gdkernels.system.profiling import phase
from gdkernels.tables import parts
from gdkernels.tables.column.reading import NUMBER, Finding
from gdkernels.tables.features.kinds import refuse_doubts
from gdkernels.tables.read import Data, findings_in, source_of
from gdkernels.tabular.in_parts.part_rules import PartRule, part_rule, rule_of_json
from gdkernels.tabular.in_parts.survey import TableSurvey, survey
from gdkernels.tabular.in_parts.table_parts import TableParts
from gdkernels.tabular.settings import TabularSettings

__all__ = [
    "CELL",
    "Surveyed",
    "checked_findings",
    "records_at_once",
    "sample_size",
    "shared_survey",
    "table_parts",
    "width_of",
]

_SAMPLE = 200_000  # records: the median of so many is within 0.3 % of the ranks of all, 99 times of 100
CELL = 64  # bytes of memory that a cell of a table takes while it is prepared
_PART_CELL = 12 * CELL  # bytes of all memory for a cell of a part


@dataclass(frozen=True)
class Surveyed:
    """What is known of a table after the passes through it.

    Attributes
    ----------
    columns
        How many it has.
    findings
        What the cells of each column mean.
    rule
        The part of each record.
    found
        What the survey found.
    """

    columns: int
    findings: Mapping[str, Finding]
    rule: PartRule
    found: TableSurvey

    def to_bytes(self) -> bytes:
        """Return it for another process."""
        findings = {name: finding.to_json() for name, finding in self.findings.items()}
        told, arrays = self.found.to_json()
        return packed([self.columns, findings, self.rule.to_json(), told], arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Surveyed:
        """Return what `to_bytes` was asked of."""
        (columns, told, rule, found), arrays = unpacked(data)
        findings = {name: Finding.from_json(one) for name, one in told.items()}
        return cls(columns, findings, rule_of_json(rule), TableSurvey.from_json(found, arrays))


def shared_survey(group: Group, settings: TabularSettings, data: Data, allowed: int) -> Surveyed:
    """Go through a table in the memory `allowed`, on rank 0 alone, and return what was found on all ranks.

    Raises
    ------
    InputError, FileError
        On all of them, if the table cannot be learned from as the settings say.
    """
    if group.size == 1:
        return _surveyed(settings, data, allowed)
    if group.rank:
        with phase("surveying"):
            return Surveyed.from_bytes(from_rank_0(group, None))
    return Surveyed.from_bytes(from_rank_0(group, lambda: _surveyed(settings, data, allowed).to_bytes()))


def _surveyed(settings: TabularSettings, data: Data, allowed: int) -> Surveyed:
    columns = width_of(settings, data)
    records, most = records_at_once(columns, allowed), sample_size(columns, allowed)
    with phase("reading"):
        findings = checked_findings(settings, data, records)
    whole = table_parts(settings, data, records, findings)
    with phase("surveying"):
        rule = part_rule(settings, whole, most=most)
        found = survey(whole, settings.task_said, rule, seed=settings.seed, most=most)
    return Surveyed(columns, findings, rule, found)


def table_parts(settings: TabularSettings, data: Data, records: int, findings: Mapping[str, Finding]) -> TableParts:
    """Return a table in parts of so many records."""
    return TableParts(
        data, settings.target, records, settings.drop_missing, findings, settings.options, settings.progress
    )


def width_of(settings: TabularSettings, data: Data) -> int:
    """Return how many columns the table has.

    Raises
    ------
    InputError
        For a column that was named and is not there: before all of the table is read.
    """
    names = next(parts(data, 1, findings={}, options=settings.options)).names
    settings.choices.check_names(names, source_of(data))
    return len(names)


def checked_findings(settings: TabularSettings, data: Data, records: int) -> dict[str, Finding]:
    """Go through the table once, so many records at a time, and return what the cells of each column mean.

    Raises
    ------
    InputError
        If that cannot be told, nor was said.
    """
    choices = settings.choices
    findings = findings_in(
        data, missing=choices.missing, records=records, options=settings.options, progress=settings.progress
    )
    for name in choices.read:
        if name not in findings:
            findings[name] = Finding(NUMBER, number=NUMBER)
    findings = {name: choices.refined(name, found) for name, found in findings.items()}
    told = {*choices.ignore, *choices.categorical}
    refuse_doubts({name: found for name, found in findings.items() if name not in told}, source_of(data))
    return findings


def records_at_once(columns: int, allowed: int) -> int:
    """Return how many records to read at a time."""
    return max(256, min(65_536, allowed // (_PART_CELL * columns)))


def sample_size(columns: int, allowed: int) -> int:
    """Return how many records stand for all."""
    return max(1000, min(_SAMPLE, allowed // (2 * CELL * columns)))
