"""``gdkernels compare`` on the command line: a gate that fails closed."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_results import OURS, repeat, results

from gdkernels.bench.comparing import verdicts
from gdkernels.bench.results.file import NAMES, write
from gdkernels.bench.results.records import encode

ROOT = Path(__file__).parents[2]
OUR_ROW, _, REFUSED, SKIPPED = results().rows


def measured(*seconds, row=OUR_ROW):
    """Return a row with one process for each of `seconds`."""
    return replace(row, status="measured", reason=None, repeats=tuple(repeat(s, s) for s in seconds))


@pytest.fixture
def file_of(tmp_path):
    """Return what writes rows, and those that every file has, to a file."""

    def file(name, *rows, **changes):
        write(results(rows=(*rows, SKIPPED), **changes), tmp_path / name, overwrite=True)
        return tmp_path / name

    return file


@pytest.fixture
def gate(command, file_of):
    """Return what compares the rows of two files."""

    def run(a, b, *more, **changes):
        return command("compare", file_of("a.json", *a), file_of("b.json", *b, **changes), *more)

    return run


def test_the_command_is_a_gate(gate):
    same = gate([measured(*[1.0] * 5)], [measured(*[1.01] * 5)])
    assert (same.code, same.err) == (0, "")
    assert "SAME" in same.out
    assert "1.010 … 1.010" in same.out
    slower = gate([measured(*[1.0] * 5)], [measured(*[1.2] * 5)], "--json")
    assert slower.code == 1
    assert "1 of 1 rows became slower" in slower.err
    assert slower.json["counts"] == {"SLOWER": 1, "FASTER": 0, "UNDECIDED": 0, "SAME": 0}
    assert slower.json["unknown"] == []
    (found,) = slower.json["rows"]
    assert found["ratio"] == pytest.approx(1.2)
    assert found["contender"] == encode(OURS, NAMES)


STEADY = measured(*[1.0] * 5)
OTHER = measured(*[1.0] * 5, row=REFUSED)  # another stage, so that there is a row whose verdict is SAME


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (STEADY, replace(OUR_ROW, status="refused", reason="it computes something else", repeats=()), "refused in B"),
        (STEADY, replace(OUR_ROW, status="skipped", reason="no such backend", repeats=()), "skipped in B: no such"),
        (STEADY, None, "missing in B"),
        (STEADY, measured(*[1.0] * 4), "4 of 5 process repeats in B"),
        (measured(*[1.0] * 4), STEADY, "4 of 5 process repeats in A"),
        (replace(OUR_ROW, status="refused", reason="wrong", repeats=()), STEADY, "refused in A"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_not_measured_fails(gate, before, after, why):
    outcome = gate([before, OTHER], [after, OTHER] if after else [OTHER])
    assert outcome.code == 3
    assert f"cannot tell whether anything became slower: {OURS}" in outcome.err
    assert why in outcome.err
    assert "1 SAME" in outcome.out
    assert outcome.err.count("\n") == 1


def test_a_slower_row_is_1_whatever_else_is_unknown(gate):
    outcome = gate([STEADY, OTHER], [measured(*[1.2] * 5)])
    assert outcome.code == 1
    assert "only in A" in outcome.out


def test_rows_that_both_skip_or_that_only_b_has_do_not_count(gate):
    assert gate([STEADY], [STEADY, OTHER]).code == 0  # all files have a skipped row too
    assert gate([STEADY, replace(OTHER, status="skipped", reason="no", repeats=())], [STEADY, OTHER]).code == 0


def test_noise_alone_is_told_and_fails_if_asked(gate):
    noisy = [measured(1.0, 1.1, 1.2, 1.3, 1.4)], [measured(1.3, 1.1, 1.2, 1.0, 1.5)]
    outcome = gate(*noisy)
    assert outcome.code == 0
    assert "1 UNDECIDED" in outcome.out
    strict = gate(*noisy, "--strict")
    assert strict.code == 3
    assert "is UNDECIDED: the interval is too wide" in strict.err
    assert gate([STEADY], [STEADY], "--strict").code == 0


def test_where_no_row_was_measured_in_both_nobody_can_tell(gate):
    skipped = replace(OUR_ROW, status="skipped", reason="no", repeats=())
    outcome = gate([skipped], [STEADY])
    assert outcome.code == 3
    assert "no row was measured in both" in outcome.err


def test_another_machine_and_other_versions_are_flagged(gate):
    environment = results().environment | {"processor": "Q", "versions": {"numpy": "9"}}
    outcome = gate([STEADY], [STEADY], environment=environment)
    assert outcome.code == 3
    assert "the machines differ: processor: P and Q" in outcome.err
    assert "DIFFERENT MACHINES" in outcome.out
    assert "processor: P and Q" in outcome.out
    assert "numpy: none in A, 9 in B" in outcome.out


def test_a_failure_of_the_command_is_no_verdict(gate, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(verdicts, "compare", fail)
    outcome = gate([STEADY], [STEADY])
    assert outcome.code == 70
    assert "RuntimeError: a bug" in outcome.err


@pytest.mark.parametrize(("seconds", "code"), [(1.0, 0), (1.2, 1)])
def test_the_verdict_is_the_exit_code_also_where_nobody_reads(file_of, seconds, code):
    a, b = file_of("a.json", STEADY), file_of("b.json", measured(*[seconds] * 5))
    read, stdout = os.pipe()
    os.close(read)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    done = subprocess.run(
        [sys.executable, "-m", "gdkernels", "compare", a, b],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        text=True,
        check=False,
    )
    os.close(stdout)
    assert done.returncode == code
    assert done.stderr.count("\n") == code  # that a row became slower


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


def test_a_row_that_is_there_twice_hides_nothing(refused, file_of):
    a = file_of("a.json", STEADY)
    slower = measured(*[1.2] * 5)
    skipped = replace(OUR_ROW, status="skipped", reason="no", repeats=())
    for rows in ([slower, STEADY], [STEADY, slower], [skipped, STEADY]):
        for first, second in ((a, file_of("b.json", *rows)), (file_of("b.json", *rows), a)):
            refused(r"b.json is damaged: rows\[1\] is rows\[0\] once more: numba", "compare", first, second)


def test_a_file_that_is_none_is_one_line(refused, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    refused("no benchmark results", "compare", tmp_path / "a.json", tmp_path / "a.json")


def test_where_nothing_was_measured_twice_there_is_no_gate(refused, file_of):
    a = file_of("a.json")
    refused("there is nothing to compare", "compare", a, a)
