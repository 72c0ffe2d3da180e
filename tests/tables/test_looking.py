"""The meaning of cells is looked for where there is text, and only there."""

from importlib import import_module

import numpy as np
import pytest

from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.read import findings_in

reading = import_module("gdkernels.tables.read")  # the package has a function of this name


@pytest.fixture
def read_parts(monkeypatch):
    """Return the first records of the parts that are read."""
    seen = []
    whole = reading._parts_of_file

    def noted(*given):
        for part in whole(*given):
            seen.append((part.source, part.first))
            yield part

    monkeypatch.setattr(reading, "_parts_of_file", noted)
    return seen


def test_a_file_of_numbers_is_not_gone_through_for_what_its_text_means(tmp_path, read_parts):
    path = tmp_path / "t.npy"
    np.save(path, np.zeros((100, 3)))
    assert findings_in(path, records=10) == {}
    assert read_parts == [(str(path), 0)]


def test_text_is_gone_through_to_the_last_record(tmp_path, read_parts):
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1.5\n" * 99 + "1.234.567\n")
    assert findings_in(path, records=10)["a"].doubt.row == 99
    assert len(read_parts) == 10


def test_records_of_numbers_before_text_count(tmp_path, read_parts):
    np.save(tmp_path / "a.npy", np.zeros((30, 2)))
    (tmp_path / "b.csv").write_text("0,1\n" + "2.5,1\n" * 99 + "none of it,2\n")
    found = findings_in([tmp_path / "a.npy", tmp_path / "b.csv"], records=10, options=TextOptions(header=True))
    assert found["0"].doubt.row == 129
    assert len(read_parts) == 3 + 10
