"""Result files: what is written is read again, and what is no result is refused with its place."""

import json
import math
import statistics
from dataclasses import replace

import pytest
from made_results import results

from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.report.text import as_text, si
from gdkernels.bench.results.file import VERSION, as_json, read, write
from gdkernels.errors import FileError


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "results.json"
    write(results(), path, overwrite=False)
    assert read(path) == results()
    with pytest.raises(FileError, match="exists already"):
        write(results(), path, overwrite=False)


def test_fields_of_a_later_writer_are_left_alone(tmp_path):
    content = json.loads(as_json(results()))
    content["rows"][0]["weather"] = "fine"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    assert read(path) == results()


def test_files_from_before_there_were_networks_of_blocks_are_read(tmp_path):
    content = json.loads(as_json(results()))
    for part in ("rows", "first_calls", "targets"):
        for one in content[part]:
            assert one["case"].pop("network") == "chain"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    assert read(path) == results()


def changed(content, place, value):
    *way, last = place
    inside = content
    for step in way:
        inside = inside[step]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("rows", 0, "piece"), None, r"rows\[0\].piece is missing"),
        (("rows", 1, "repeats", 0, "seconds", 1), "fast", r"rows\[1\].repeats\[0\].seconds\[1\] must be a number"),
        (("rows", 1, "repeats", 0, "seconds", 1), math.inf, "must be a number, got inf"),
        (("rows", 0, "case", "batch"), 1.5, r"rows\[0\].case.batch must be a whole number, got 1.5"),
        (("rows", 0, "contender", "peer"), 1, "must be true or false"),
        (("rows",), {}, "rows must be a list"),
        (("environment",), [], "environment must be an object"),
        (("rows", 0), 5, r"rows\[0\] must be an object"),
        (("command",), 5, "command must be text"),
        (("version",), VERSION + 1, "version 2 .* update gdkernels"),
        (("version",), "old", "version 'old' .* measure again"),
        (("format",), "another", "no benchmark results"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, place, value, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(changed(json.loads(as_json(results())), place, value)))
    with pytest.raises(FileError, match=message):
        read(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="cannot read .*no such file"):
        read(tmp_path / "none.json")
    for text, message in (("{", "is not JSON"), ("[]", "no benchmark results"), ("\0", "is not JSON")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(FileError, match=message):
            read(tmp_path / "other.json")


def test_what_follows_from_samples():
    ours, theirs, *_ = results().rows
    assert ours.seconds == pytest.approx(0.35)
    assert ours.interval == (0.1, 0.6)
    assert ours.spread == pytest.approx(0.25 / 0.35)
    assert theirs.seconds == statistics.median([0.5, 0.7])  # of the processes, however many samples each took
    assert theirs.samples_per_second == pytest.approx(1024 / 0.6)
    assert theirs.error.error == 1e-6  # the larger of before and after
    assert results().ceiling(("product", "layer"), "cpu", "float32") == 1e10
    assert results().ceiling(("copy",), "cuda:0", "float32") == 0
    reached, diverged, _ = results().targets
    assert reached.seconds == pytest.approx(3.5)
    assert diverged.seconds is None


def test_the_text_names_everything():
    text = as_text(results())
    for part in ("8-32-1 × 32: epoch", "2,926", "± 71.4%", "2.86 GFLOP/s", "29%", "1.0e-06", "compiled", "no driver"):
        assert part in text, part
    for part in ("refused", "it computes something else", "3.5", "diverged", "torch is not installed", "cached load"):
        assert part in text, part
    assert text.index("  numba") < text.index("  torch")  # the faster first


def test_ranks_have_a_name_and_a_share_in_exchange(tmp_path):
    found = results()
    alone, *_ = found.rows
    samples = replace(alone.repeats[0], exchange_seconds=tuple(0.25 * s for s in alone.repeats[0].seconds))
    shared = replace(alone, participant=Participant("numba", False, group="mpi", ranks=2), repeats=(samples,))
    found = replace(found, rows=(alone, shared))
    text = as_text(found)
    assert "numba group mpi × 2 1 thread" in text
    assert "25%" in text
    assert "exchange" in text
    assert "exchange" not in as_text(results())
    write(found, tmp_path / "r.json", overwrite=False)
    again = read(tmp_path / "r.json")
    assert again == found
    assert [row.communication for row in again.rows] == [None, 0.25]


def test_numbers_with_prefixes():
    assert [si(v, "B/s") for v in (0.5, 999.9, 12345, 2e9, 3.21e13)] == [
        "0.5 B/s",
        "1 kB/s",
        "12.3 kB/s",
        "2 GB/s",
        "32.1 TB/s",
    ]
