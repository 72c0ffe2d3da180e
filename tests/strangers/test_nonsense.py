"""Files with right digests and nonsense behind them: each is taken, or refused in one line of ours."""

import copy
import json
import logging
import re
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from altered import COLUMNS, fit

import gdkernels as gd
from gdkernels.bench.results import read as read_results
from gdkernels.cli import entry, main
from gdkernels.dispatch import calibration
from gdkernels.files import read_model, write_model
from gdkernels.system.strict_json import loads

BENCH = Path(__file__).parents[1] / "bench"
ODD = [None, -1, 0, 2**70, 1e300, -1e300, "", "nan", "%d%d", [], {}, True, [[[]]], [{}], {"r2": "x"}, 5, "x" * 5000]


def places(value, way=()):
    """Yield the way to each value of JSON, of a list only to its first two."""
    if way:
        yield way
    inside = value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*way, key))


def put(value, way, odd):
    changed = copy.deepcopy(value)
    place = changed
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = odd
    return changed


def one_line(capsys, *arguments):
    """Run a command; it does its work, or says in a line of ours why not."""
    code = main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert "--debug shows where" not in err, (arguments, err)
    assert "out of memory" not in err, (arguments, err)
    refused = [line for line in err.splitlines() if line.startswith("gdkernels: ")]
    assert code == 0 or len(refused) >= 1
    assert err.count("\n") == len(refused), err
    return code


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return what `gdkernels train` writes of a small table, and the table."""
    folder = tmp_path_factory.mktemp("model")
    rows = zip(*([("" if v is None else str(v)) for v in values] for values in COLUMNS.values()), strict=True)
    (folder / "t.csv").write_text("\n".join([",".join(COLUMNS), *(",".join(row) for row in rows)]))
    arguments = ["--target", "price", "--epochs", "2", "--hidden", "3", "--backend", "numpy"]
    assert main(["train", str(folder / "t.csv"), *arguments, "--out", str(folder / "m")]) == 0
    return folder


def test_model_files(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    tensors, metadata = read_model(model / "m")
    draw, refused = np.random.default_rng(0), 0
    ways = list(places(metadata))
    for k, way in enumerate(ways):
        for odd in draw.choice(len(ODD), 3, replace=False):
            write_model(tmp_path / "m", tensors, put(metadata, way, ODD[odd]), overwrite=True)
            commands = [["inspect", tmp_path / "m"], ["evaluate", tmp_path / "m", model / "t.csv"]]
            refused += one_line(capsys, *commands[k % 2]) > 0
    assert refused > len(ways)


@pytest.mark.parametrize(
    ("way", "odd", "message"),
    [
        (("extra", "history"), [{}], "what it keeps as its history makes no sense"),
        (("extra", "history", 0, "loss"), [], "history makes no sense"),
        (("extra", "history", 0, "loss", 0), "x", "history makes no sense"),
        (("extra", "metrics"), {"r2": "x"}, "metrics makes no sense"),
        (("extra", "versions"), 5, "versions makes no sense"),
        (("extra", "rows"), [1], "rows makes no sense"),
        (("extra", "settings"), {}, "settings makes no sense"),
        (("extra", "preparation", "columns", 2, "pattern"), "%d%d", "description of its columns is damaged"),
    ],
)
def test_what_a_model_keeps_must_make_sense(model, tmp_path, capsys, way, odd, message):
    tensors, metadata = read_model(model / "m")
    assert metadata["extra"]["preparation"]["columns"][2]["kind"] == "date"
    write_model(tmp_path / "m", tensors, put(metadata, way, odd))
    with pytest.raises(gd.FileError, match=message):
        gd.load(tmp_path / "m", backend="numpy")
    assert main(["inspect", str(tmp_path / "m")]) == 2
    if "history" in message:
        assert main(["plot", "loss", str(tmp_path / "m"), "--out", str(tmp_path / "p.svg")]) == 2
    assert message in capsys.readouterr().err


def resealed(path, replace):
    """Rewrite the JSON of a model file as text, with digests left out of account: they come after it is read."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = replace(data[8 : 8 + length].decode())
    header += " " * (-len(header.encode()) % 8)
    return struct.pack("<Q", len(header.encode())) + header.encode() + data[8 + length :]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 401, "[" * 200_000 + "]" * 200_000])
def test_json_that_is_none(model, tmp_path, value):
    with pytest.raises(ValueError, match="number|nested"):
        loads(f'{{"a": {value}}}')
    inner = resealed(model / "m", lambda text: re.sub(r'\\"seed\\": \d+', lambda _: f'\\"seed\\": {value}', text))
    outer = resealed(model / "m", lambda text: text.replace('{"__metadata__"', f'{{"a": {value}, "__metadata__"', 1))
    for content in (inner, outer):
        assert content != (model / "m").read_bytes()
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(gd.FileError, match="metadata were altered|header was altered"):
            gd.load(tmp_path / "m", backend="numpy")


def test_checkpoints(tmp_path):
    logging.disable()
    try:
        fit(tmp_path / "c")
        original = sorted((tmp_path / "c").glob("step-*"))[0]
        tensors, metadata = read_model(original)
        (tmp_path / "d").mkdir()
        place, draw, one_line_of = tmp_path / "d" / original.name, np.random.default_rng(1), []
        for way in places(metadata):
            for odd in [*draw.choice(len(ODD), 2, replace=False), None]:
                for other in (tmp_path / "d").iterdir():
                    other.unlink()
                value = 10**400 if odd is None else ODD[odd]
                write_model(place, tensors, put(metadata, way, value))
                try:
                    fit(tmp_path / "d", resume=True)
                except gd.GdkernelsError as error:
                    one_line_of.append("\n" not in str(error))
        assert len(one_line_of) > 100
        assert all(one_line_of)
    finally:
        logging.disable(logging.NOTSET)


RESULTS = """
import sys
sys.path.insert(0, sys.argv[1])
from made_results import results
from gdkernels.bench.results.file import as_json
print(as_json(results()))
"""


@pytest.fixture(scope="module")
def results():
    made = subprocess.run([sys.executable, "-c", RESULTS, BENCH], capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


def test_results(results, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.json").write_text(json.dumps(results))
    # Once for hundreds of commands: the parser, and the results that are right.
    monkeypatch.setattr(entry, "_parser", cache(entry._parser))
    right = read_results(tmp_path / "a.json")
    monkeypatch.setattr(
        "gdkernels.bench.results.read", lambda path: right if path == str(tmp_path / "a.json") else read_results(path)
    )
    ways, odd_ones, refused = list(places(results)), [*ODD, float("nan"), float("inf"), 10**400], 0
    draw = np.random.default_rng(2)
    for way in ways:
        for odd in draw.choice(len(odd_ones), 3, replace=False):
            (tmp_path / "b.json").write_text(json.dumps(put(results, way, odd_ones[odd])))
            refused += one_line(capsys, "compare", tmp_path / "a.json", tmp_path / "b.json") == 2
    assert refused > len(ways)
    (tmp_path / "b.json").write_text("[" * 200_000 + "]" * 200_000)
    assert one_line(capsys, "compare", tmp_path / "a.json", tmp_path / "b.json") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": []}, r"rows\[0\].repeats\[0\].seconds is empty"),
        ({"seconds": [0.0]}, "must be times above 0"),
        ({"seconds": [10**400]}, "must be a number"),
        ({"seconds": [0.1, 0.2]}, "must have as many samples"),
        ({"clock_seconds": [1.0]}, "must have as many samples"),
    ],
)
def test_samples_that_nobody_measured(results, tmp_path, changes, message):
    content = copy.deepcopy(results)
    content["rows"][0]["repeats"][0] |= changes
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(gd.FileError, match=message):
        read_results(tmp_path / "a.json")


def test_calibrations(tmp_path, monkeypatch, caplog):
    monkeypatch.undo()  # the table of whoever runs the tests is looked away from elsewhere: here it is the subject
    monkeypatch.setattr(calibration, "path", lambda precision: tmp_path / "c.json")
    shipped = calibration.shipped("float32")
    content = json.loads(shipped.as_json())
    tmp_path.chmod(0o700)
    texts = [json.dumps(put(content, way, odd)) for way in places(content) for odd in (10**400, [], {"a": 1}, "x", -1)]
    texts += [json.dumps(put(content, ("noise",), float("nan"))), "[" * 200_000 + "]" * 200_000, "5", '"x"']
    for k, text in enumerate(texts):
        caplog.clear()
        (tmp_path / "c.json").write_text(text)
        found, _ = calibration._read(tmp_path / "c.json", k), calibration.current("float32", {})
        assert len([r for r in caplog.records if "is ignored" in r.getMessage()]) <= 2
        if found is not None:
            assert found.noise >= 0
