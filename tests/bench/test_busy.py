"""Processes that keep cores busy: they spin when told, rest when told, and end with whoever asked for them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_results import OURS, THEIRS, repeat, results

from gdkernels.bench.comparing.verdicts import compare
from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.processes.busy import BusyProcesses
from gdkernels.bench.report.page import as_html
from gdkernels.bench.report.text import as_text
from gdkernels.bench.results.file import read, write

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")

_LONG = 60.0  # seconds that nothing here takes unless it fails


def stat(pid):
    """Return the state of a process and the ticks that it has computed; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else (fields[0], int(fields[11]) + int(fields[12]))


def until(condition):
    end = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_they_spin_and_rest_as_they_are_told():
    with BusyProcesses(2) as busy:
        pids = busy.pids
        for _ in range(2):
            before = [stat(pid)[1] for pid in pids]
            with busy.spinning():
                until(lambda before=before: all(stat(p)[1] > b for p, b in zip(pids, before, strict=True)))
            until(lambda: all(stat(pid)[0] == "S" for pid in pids))
            worked = [stat(pid)[1] for pid in pids]
            time.sleep(0.05)
            assert all(stat(pid)[1] <= w + 1 for pid, w in zip(pids, worked, strict=True))
    assert [stat(pid) for pid in pids] == [None, None]


def test_they_rest_and_end_after_an_error():
    with pytest.raises(KeyError), BusyProcesses(1) as busy:  # noqa: PT012
        pids = busy.pids
        with pytest.raises(ZeroDivisionError), busy.spinning():
            _ = 1 / 0
        until(lambda: stat(pids[0])[0] == "S")
        raise KeyError
    assert stat(pids[0]) is None


def test_one_that_is_gone_is_an_error():
    with BusyProcesses(1) as busy:
        os.kill(busy.pids[0], signal.SIGKILL)
        until(lambda: stat(busy.pids[0]) is None)
        with pytest.raises(ParticipantError, match="has ended"), busy.spinning():
            pass


_PARENT = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background ignore it
from gdkernels.bench.processes.busy import BusyProcesses

with BusyProcesses(2) as busy, busy.spinning():
    print(*busy.pids, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_none_outlives_whoever_asked(number):
    """SIGINT goes to the whole group, as a terminal sends it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    with parent:
        pids = list(map(int, parent.stdout.readline().split()))
        assert len(pids) == 2
        (os.killpg if number == signal.SIGINT else os.kill)(parent.pid, number)
        until(lambda: all(stat(pid) is None for pid in pids))


# ---- results


def loaded(**changes):
    """Return results with a row beside busy processes for each that was measured: at half the speed of ours."""
    made = results()
    ours, theirs = (row for row in made.rows if row.repeats)
    busy = (
        replace(ours, busy=2, repeats=(repeat(0.7, 0.7, error=2e-6),)),
        replace(theirs, busy=2, repeats=(repeat(2.0, 2.0), repeat(3.5, 3.5))),
    )
    return replace(made, rows=(*made.rows, *busy), **changes)


def test_the_share_of_quiet_speed():
    made = loaded()
    kept = {row.participant: made.kept(row) for row in made.rows if row.busy}
    assert kept == {OURS: pytest.approx(0.5), THEIRS: pytest.approx((0.25 + 0.2) / 2)}
    assert {made.kept(row) for row in made.rows if not row.busy} == {None}
    alone = replace(made, rows=tuple(row for row in made.rows if row.busy))
    assert {alone.kept(row) for row in alone.rows} == {None}


def test_files_text_and_page(tmp_path):
    made, path = loaded(), tmp_path / "busy.json"
    write(made, path, overwrite=False)
    assert read(path) == made
    text = as_text(made)
    assert "8-32-1 × 32: epoch, beside 2 busy processes" in text
    assert "of quiet" in text
    assert " 50%" in text
    assert "of quiet" not in as_text(results())
    pytest.importorskip("matplotlib")
    page = as_html(replace(made, rows=made.rows[-2:], first_calls=(), targets=(), ceilings=()))
    assert "Throughput: epoch, beside 2 busy processes" in page
    assert "Ratios: epoch, beside 2 busy processes" in page


def test_rows_under_load_are_compared_in_seconds():
    """The probe of interference would leave out every sample."""

    def with_processes(busy_seconds):
        made = loaded()
        rows = [replace(row, repeats=(repeat(1.0),) * 5) for row in made.rows if row.repeats and not row.busy]
        rows += [replace(row, repeats=(repeat(busy_seconds),) * 5) for row in made.rows if row.busy]
        return replace(made, rows=tuple(rows))

    found = compare(with_processes(2.0), with_processes(3.0))
    assert {(c.row.busy, c.verdict.verdict) for c in found.rows} == {(0, "SAME"), (2, "SLOWER")}
    without = replace(results(), rows=tuple(replace(r, repeats=(repeat(1.0),) * 5) for r in results().rows[:2]))
    assert any("beside 2 busy processes: missing in B" in why for why in compare(loaded(), without).unknown)
