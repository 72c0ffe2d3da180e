"""``gdkernels bench`` on the command line."""

import json
import os
import select
import shlex
import sys

import pytest
from made_results import results

from gdkernels.bench.measuring import ceilings, throughput
from gdkernels.bench.results import read
from gdkernels.bench.sampling import interleaving
from gdkernels.cli import bench, main
from gdkernels.errors import FileError
from gdkernels.system.printable import Printable


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(throughput, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(interleaving, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "_PRODUCT_SIZE", {"cpu": 16})
    monkeypatch.setattr(ceilings, "_COPY_BYTES", {"cpu": 1 << 12})


SMALL = ("bench", "--sizes", "4-6-2", "--batch", "8", "--backends", "numpy", "--threads", "1", "--width", "100")


def test_a_table_on_stdout_and_a_file(command, tmp_path):
    out = tmp_path / "results.json"
    outcome = command(*SMALL, "--run", "forward,epoch", "--out", out)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "4-6-2 × 8: epoch" in outcome.out
    assert "all: cpu, float32, 1 thread" in outcome.out
    found = read(out)
    assert found.command == f"gdkernels {' '.join(SMALL)} --run forward,epoch --out {shlex.quote(str(out))}"
    assert [row.status for row in found.rows] == ["measured", "measured"]
    assert found.environment["processor"]
    assert found.environment["blas"]
    assert found.environment["thread_settings"]["1"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_what_is_given_twice_is_measured_once(command):
    outcome = command(*SMALL, "--sizes", "4-6-2", "--threads", "1,1", "--run", "forward", "--json")
    assert outcome.code == 0
    assert len(outcome.json["rows"]) == 1


def test_a_terminal_without_a_size_shows_progress(monkeypatch):
    terminal, end = os.openpty()  # of no lines and no columns
    with os.fdopen(end, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with bench._progress(3) as begin:
            begin("4-6-2 × 8: forward")
        shown = b""
        while b"0/3" not in shown:  # the system passes on what is written when it has the time
            assert select.select([terminal], [], [], 60)[0], shown
            shown += os.read(terminal, 1 << 12)
    os.close(terminal)


def test_json_on_stdout(command):
    outcome = command(*SMALL, "--run", "update", "--to-loss", "1e6", "--seeds", "1", "--json")
    assert outcome.code == 0, outcome.err
    content = outcome.json
    assert content["format"] == "gdkernels bench"
    assert content["rows"][0]["summary"]["samples_per_second"] > 0
    assert content["targets"][0]["runs"][0]["reached"]
    assert json.dumps(content)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sizes", "8"), "lacks the outputs"),
        (("--sizes", "8-x"), "sizes of layers"),
        (("--batch", "8"), "--batch is for networks of your own; give --sizes or --data"),
        (("--network", "gated"), "--network is for networks of your own; give --sizes or --data"),
        (("--network", "gatd"), "unknown network 'gatd'"),
        (("--run", "backward"), "unknown stage 'backward'"),
        (("--backends", "nampy"), "Did you mean 'numpy'"),
        (("--peers", "pytorch"), "Did you mean 'torch'"),
        (("--precisions", "float16"), "unknown precision"),
        (("--threads", "0"), "at least 1"),
        (("--threads", "100000"), "more than the"),
        (("--devices", "cuda:99", "--backends", "numpy"), "no participant can run"),
        (("--target", "a"), "give --data"),
        (("--data", "nowhere.csv"), "there is no file"),
        (("--to-loss", "1", "--to-accuracy", "1"), "give one"),
        (("--backends", "numpy,"), "names with commas"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(refused, arguments, message):
    refused(message, "bench", *arguments)


def test_a_report_without_matplotlib_is_refused_before_any_work(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused('pip install "gdkernels\\[plot\\]"', *SMALL, "--report", tmp_path / "report.html")


def test_a_report(command, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    report = tmp_path / "report.html"
    outcome = command(*SMALL, "--run", "forward", "--report", report)
    assert outcome.code == 0, outcome.err
    assert "Throughput: forward" in report.read_text(encoding="utf-8")


def test_files_are_not_overwritten(refused, tmp_path):
    out = tmp_path / "results.json"
    out.write_text("mine")
    refused("exists already", *SMALL, "--out", out)


@pytest.fixture
def measured(monkeypatch):
    """Have results at once that somebody measured."""
    monkeypatch.setattr(bench, "_measure", lambda args, threads: results())
    return results()


def test_files_are_written_before_anything_is_printed(measured, tmp_path, monkeypatch, command):
    out, report = tmp_path / "r.json", tmp_path / "r.html"

    def gone(*_, **__):
        assert out.exists()
        assert report.exists()
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    command("bench", "--out", out, "--report", report)
    assert read(out) == measured


def test_one_file_that_cannot_be_written_costs_neither_the_other_nor_the_table(
    measured, command, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise FileError("cannot write r.json: no space left on device")

    monkeypatch.setattr("gdkernels.bench.results.file.write", full)
    outcome = command("bench", "--out", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert outcome.code == 2
    assert outcome.err == "gdkernels: cannot write r.json: no space left on device\n"
    assert (tmp_path / "r.html").exists()
    assert "8-32-1 × 32: epoch" in outcome.out


def test_what_could_not_be_written_is_said_although_nobody_reads_the_table(measured, tmp_path, monkeypatch, capsys):
    def gone(*_, **__):
        raise BrokenPipeError

    def full(*_, **__):
        raise FileError("cannot write r.json: no space left on device")

    monkeypatch.setattr("gdkernels.bench.results.file.write", full)
    monkeypatch.setattr(Printable, "write", gone)
    assert main(["bench", "--out", str(tmp_path / "r.json")]) == 2
    assert capsys.readouterr().err == "gdkernels: cannot write r.json: no space left on device\n"


def test_results_whose_name_was_taken_meanwhile_are_written_beside(command, tmp_path, monkeypatch):
    def measure(args, threads):
        (tmp_path / "r.json").write_text("precious")
        return results()

    monkeypatch.setattr(bench, "_measure", measure)
    outcome = command("bench", "--out", tmp_path / "r.json")
    assert outcome.code == 2
    assert f"your result is {tmp_path / 'r-2.json'}" in outcome.err
    assert read(tmp_path / "r-2.json") == results()
    assert (tmp_path / "r.json").read_text() == "precious"
