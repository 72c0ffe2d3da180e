"""``gdkernels compare`` on the command line."""

from dataclasses import replace

import pytest
from made_results import OURS, repeat, results

from gdkernels.bench.results.file import NAMES, write
from gdkernels.bench.results.records import encode


def file_of(tmp_path, name, seconds=(), **changes):
    """Write results whose first row has one process for each of `seconds`."""
    found = results(**changes)
    row = replace(found.rows[0], repeats=tuple(repeat(s, s) for s in seconds))
    found = replace(found, rows=(row, *found.rows[2:]))
    write(found, tmp_path / name, overwrite=False)
    return tmp_path / name


def test_the_command_is_a_gate(command, tmp_path):
    before = file_of(tmp_path, "a.json", [1.0] * 5)
    same = command("compare", before, file_of(tmp_path, "b.json", [1.01] * 5))
    assert (same.code, same.err) == (0, "")
    assert "SAME" in same.out
    assert "1.010 … 1.010" in same.out
    slower = command("compare", before, file_of(tmp_path, "c.json", [1.2] * 5), "--json")
    assert slower.code == 1
    assert "1 of 2 rows became slower" in slower.err
    assert slower.json["counts"] == {"SLOWER": 1, "FASTER": 0, "UNDECIDED": 1, "SAME": 0}
    found = [row for row in slower.json["rows"] if row["verdict"] == "SLOWER"]
    assert found[0]["ratio"] == pytest.approx(1.2)
    assert found[0]["contender"] == encode(OURS, NAMES)


def test_another_machine_and_other_versions_are_flagged(command, tmp_path):
    a = file_of(tmp_path, "a.json", [1.0] * 5)
    environment = results().environment | {"processor": "Q", "versions": {"numpy": "9"}}
    b = file_of(tmp_path, "b.json", [1.0] * 5, environment=environment)
    outcome = command("compare", a, b)
    assert outcome.code == 0
    assert "DIFFERENT MACHINES" in outcome.out
    assert "processor: P and Q" in outcome.out
    assert "numpy: none in A, 9 in B" in outcome.out


def test_clocks_that_differ_are_said(command, tmp_path):
    def timed(name, clock):
        known = tuple(
            replace(repeat(clock, clock), clock_seconds=(clock,) * 2, product_seconds=(clock,) * 2) for _ in range(5)
        )
        found = results(rows=(replace(results().rows[0], repeats=known),))
        write(found, tmp_path / name, overwrite=False)
        return tmp_path / name

    outcome = command("compare", timed("a.json", 1.0), timed("b.json", 1.02))
    assert outcome.code == 0
    assert "B against A: +2.0% … +2.0%" in outcome.out
    assert "1.000 … 1.020" in outcome.out


def test_a_file_that_is_none_is_one_line(refused, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    refused("no benchmark results", "compare", tmp_path / "a.json", tmp_path / "a.json")


def test_where_nothing_was_measured_twice_there_is_no_gate(refused, tmp_path):
    a = file_of(tmp_path, "a.json", rows=(results().rows[3],) * 2)
    refused("there is nothing to compare", "compare", a, a)
