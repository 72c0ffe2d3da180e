"""Files from strangers: altered at random, each is taken or refused by an error of ours."""

import io
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import polars
import pytest
from altered import MADE
from refusals import refused

import gdkernels as gd
from gdkernels.tables import Preparation, Table
from gdkernels.tables.features import columns
from gdkernels.tables.formats import frames, frames_process

PROGRAM, FUZZ = (Path(__file__).with_name(name) for name in ("altered.py", "fuzz.py"))


def altered(kind, count, seed):
    """Read so many altered files in a process of its own; return how many were refused."""
    run = subprocess.run(
        [sys.executable, PROGRAM, kind, str(count), str(seed)], capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return int(run.stdout)


PLANTED = {
    "crash": ("ctypes.string_at(0)", "Segmentation fault"),
    "hang": ("time.sleep(600)", "Timeout"),
    "memory": ("bytearray(1 << 30)", "more memory than such a file can need"),
    "another exception": ("{}['key']", "KeyError"),
    "two lines": ("raise gd.InputError('one\\ntwo')", "more than a line"),
    "a warning": ("warnings.warn('a warning')", "UserWarning"),
    "a pickle": ("pickle.loads(pickle.dumps(os.getcwd))", "pickle.find_class"),
    "a program": ("os.system('true')", "os.system"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_no_file_may_lead_to_is_noticed(planted):
    line, message = PLANTED[planted]
    program = f"""
import ctypes, os, pickle, time, warnings
import gdkernels as gd
import altered
altered.MOST_SECONDS = {1 if planted == "hang" else 60}
read, calls = altered.read, []
def reads(kind, path):
    calls.append(kind)
    try:
        return read(kind, path) if len(calls) < 3 else exec({line!r})
    except MemoryError:
        raise gd.InputError("it does not fit into memory") from None
altered.read = reads
altered.main("t.npy", 5, 0)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=PROGRAM.parent
    )
    assert run.returncode != 0
    assert message in run.stderr


@pytest.mark.parametrize("kind", MADE)
def test_altered_files(kind):
    assert altered(kind, 160, seed=0) >= 40  # a change that is never noticed would test nothing


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("kind", MADE)
def test_a_hundred_thousand_altered_files(kind, seed):
    assert altered(kind, 1000, seed) >= 250


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", MADE)
def test_fuzzed(tmp_path, kind):
    if find_spec("atheris") is None:
        pytest.skip('atheris is not installed: pip install "gdkernels[fuzz]"')
    options = ("-max_total_time=60", f"-artifact_prefix={tmp_path}/")
    run = subprocess.run([sys.executable, FUZZ, kind, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


class Payload:
    """What an unpickler would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(tmp_path, suffix):
    content = np.array([Payload(tmp_path / "ran")], dtype=object)
    path = tmp_path / f"t.{suffix}"
    np.save(path, content, allow_pickle=True) if suffix == "npy" else np.savez(path, X=content, Y=content)
    with pytest.raises(gd.InputError, match="cannot read"):
        gd.tables.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_no_model(tmp_path):
    import pickle

    (tmp_path / "m").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for load in (gd.load, gd.from_torch):
        with pytest.raises(gd.FileError):
            load(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


# ---- what such files were found to lead to


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_memory_is_not_asked_for_what_a_header_promises(tmp_path, suffix):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 4)})
    content = buffer.getvalue() + bytes(800)
    path = tmp_path / f"t.{suffix}"
    if suffix == "npy":
        path.write_bytes(content)
    else:
        with ZipFile(path, "w") as archive:
            archive.writestr("X.npy", content)
    refused(path, "it is damaged .its header tells of 4,000,000,000 values, for which it is too short")


def test_a_name_of_two_lines_in_an_archive(tmp_path):
    with ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("X\n.npy", b"")
    refused(tmp_path / "t.npz", r"it holds 'X\\n'")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["npy", "npz", "arrow", "parquet"])
def test_numbers_that_signal(tmp_path, suffix, dtype):
    """Arithmetic with them raises a flag of the processor, and that a warning: they are gaps like any other NaN."""
    bits, quiet = (np.uint32, 0x7F800001) if dtype is np.float32 else (np.uint64, 0x7FF0000000000001)
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(dtype)
    x.view(bits)[::7, 1] = quiet
    path = tmp_path / f"t.{suffix}"
    if suffix == "npy":
        np.save(path, x)
    elif suffix == "npz":
        np.savez(path, X=x)
    else:
        frame = polars.DataFrame({str(k): x[:, k] for k in range(3)})
        frame.write_ipc(path) if suffix == "arrow" else frame.write_parquet(path)
    table = gd.tables.read(path)
    assert np.isnan(table.columns["1"]).sum() == 9
    prepared = Preparation.fit(table, "0", task="regression").transform(table)
    assert np.isfinite(prepared).all()


def crafted():
    """Return a Parquet file whose only page tells of 2 GB once it is decompressed."""

    def varint(number):
        number *= 2  # zigzag
        low = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
        return bytes([*(b | 128 for b in low[:-1]), low[-1]])

    def number_at(data, place):
        """Return the number that a varint spells, and where it ends."""
        end = next(k for k in range(place, len(data)) if data[k] < 128) + 1
        return sum((b & 127) << (7 * k) for k, b in enumerate(data[place:end])) // 2, end

    buffer = io.BytesIO()
    polars.DataFrame({"a": np.random.default_rng(0).random(500)}).write_parquet(buffer, compression="zstd")
    data = buffer.getvalue()
    # A page's header begins with its kind, its size, and its compressed size; what the size grows by is taken from
    # the beginning of the compressed bytes, so that all that follows is where it was.
    _, size_at = number_at(data, 5)
    _, size_end = number_at(data, size_at + 1)
    compressed, end = number_at(data, size_end + 1)
    size = varint(2**31 - 1)
    more = len(size) - (size_end - size_at - 1)
    begun = data.index(b"\x28\xb5\x2f\xfd")
    changed = data[: size_at + 1] + size + b"\x15" + varint(compressed - more) + data[end:begun] + data[begun + more :]
    assert len(changed) == len(data)
    return changed


def test_a_page_that_tells_of_more_than_memory(tmp_path):
    """Polars ends its process over it, and that is not ours."""
    (tmp_path / "t.parquet").write_bytes(crafted())
    polars.DataFrame({"a": [1.0, 2.0]}).write_parquet(tmp_path / "sound.parquet")
    program = f"""
import resource
import gdkernels as gd
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
for name in ("sound", "t", "sound"):
    try:
        print(gd.tables.read({str(tmp_path)!r} + f"/{{name}}.parquet").columns["a"].sum())
    except gd.InputError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    sound, refusal, again = run.stdout.splitlines()
    assert sound == again == "3.0"
    assert (
        "t.parquet: what reads it, a process of its own, ended with SIGABRT; the file is damaged, or needs" in refusal
    )


def test_a_reader_that_waits_for_itself_is_ended(tmp_path, monkeypatch):
    """Of polars' threads, one that gets no memory leaves the others waiting."""
    polars.DataFrame({"a": [1.0, 2.0]}).write_parquet(tmp_path / "t.parquet")
    begin, main = frames.command()[2].removesuffix("; main()"), "process.main()"
    begin += "; from gdkernels.tables.formats import frames_process as process; import threading; "
    wait = "process._STILL_SECONDS = 1; process.pl.scan_parquet = lambda *_, **__: threading.Event().wait(); "
    frames._close()  # one that reads well
    monkeypatch.setattr(frames, "command", lambda: [sys.executable, "-c", begin + wait + main])
    refused(tmp_path / "t.parquet", "what reads it, a process of its own, ended with SIGKILL")


def test_a_reader_that_the_machine_keeps_waiting_is_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_process, "_THREADS", str(tmp_path))
    for number, name in ((threading.get_native_id(), "watch"), (1, "a thread) R"), (2, "tokio")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "stat").write_text(f"{number} ({name}) {'R' if name == 'watch' else 'S'} 1 2 3")
    assert not frames_process._kept_waiting()
    for state in "RD":  # for a core, and for a disk
        (tmp_path / "2" / "stat").write_text(f"2 (tokio) {state} 1 2 3")
        assert frames_process._kept_waiting()
    monkeypatch.setattr(frames_process, "_THREADS", str(tmp_path / "none"))
    assert not frames_process._kept_waiting()


@pytest.mark.parametrize(("field", "value"), [("log", -1.0), ("log", -(2**70)), ("median", 2**5000), ("median", None)])
def test_a_column_that_cannot_be(field, value):
    described = columns.to_json(columns.Number("a", "", 1.0, 0.5, indicator=False))
    assert columns.from_json(described | {"median": 2**70}).encode(Table.of({"a": [None, 1.0]})).dtype == np.float64
    with pytest.raises((ValueError, TypeError)):
        columns.from_json(described | {field: value})
