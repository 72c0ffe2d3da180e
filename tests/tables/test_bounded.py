"""Memory follows the bytes of a file, not its records: wide frames, and what grows when it is decompressed."""

import gzip
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gdkernels.errors import InputError
from gdkernels.system import memory
from gdkernels.tables import read
from gdkernels.tables.formats.frames import command
from gdkernels.tables.formats.writing import writer_for
from gdkernels.tables.read import parts


def write(frame, path):
    with path.open("wb") as file:
        (frame.write_parquet if path.suffix == ".parquet" else frame.write_ipc)(file)
    return path


# ---- Parquet and Arrow


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_wide_frame_is_read_in_smaller_parts(tmp_path, suffix):
    records = np.arange(5000.0)
    wide = pl.DataFrame({"n": records} | {f"c{k}": pl.repeat(k, 5000, dtype=pl.Int64, eager=True) for k in range(3000)})
    found = list(parts(write(wide, tmp_path / f"t{suffix}")))
    sizes = [len(part) for part in found]
    assert max(sizes) * 3001 * 24 <= 256 << 20 < 5000 * 3001 * 24
    assert [part.first for part in found] == np.cumsum([0, *sizes[:-1]]).tolist()
    np.testing.assert_array_equal(np.concatenate([part.columns["n"] for part in found]), records)
    assert all((np.asarray(part.columns["c2999"]) == 2999).all() for part in found)


def content(path):
    """Return what a file says of a thread, and nothing where that has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux says the names of threads")
def test_the_reader_s_allocator_has_no_thread(tmp_path):
    """Without room for its stack, it would ask for that thread without end, and the work hide that polars waits."""
    found = parts(write(pl.DataFrame({"n": range(10)}), tmp_path / "t.parquet"), 5)
    next(found)  # the reader is there, with all threads of polars
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in content(task / "children").split()]
    readers = [pid for pid in children if command()[-1] in content(Path(f"/proc/{pid}/cmdline"))]  # of other tests too
    names = {content(path).strip() for pid in readers for path in Path(f"/proc/{pid}/task").glob("*/comm")}
    assert any("polars" in name or "tokio" in name for name in names), "this is the reader"
    assert not [name for name in names if "jemalloc" in name]
    found.close()


def test_long_text_is_read_in_smaller_parts(tmp_path):
    texts = [f"{k:>06}" + "x" * 30_000 for k in range(8)]
    frame = pl.DataFrame({"t": texts * 1500, "n": range(12_000)})
    found = list(parts(write(frame, tmp_path / "t.parquet")))
    assert max(map(len, found)) <= 5000
    np.testing.assert_array_equal(np.concatenate([part.columns["n"] for part in found]), np.arange(12_000))
    assert [part.columns["t"].levels[part.columns["t"].codes[0]][:6] for part in found] == [
        f"{part.first % 8:>06}" for part in found
    ]


@pytest.mark.parametrize("records", [1, 3, 7, 100])
def test_parts_are_as_many_records_as_are_asked_for(tmp_path, records):
    path = write(pl.DataFrame({"n": range(10), "t": list("abcdefghij")}), tmp_path / "t.parquet")
    found = list(parts(path, records))
    assert [len(part) for part in found] == [min(records, 10 - k) for k in range(0, 10, records)]
    assert np.concatenate([part.columns["n"] for part in found]).tolist() == list(range(10))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "[!a]", "**", "[dir]/b", "d*/b"])
def test_a_name_is_never_a_pattern(tmp_path, name, suffix):
    path = tmp_path / f"{name}{suffix}"
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "dir").mkdir()
    for other in ("a1", "ab", "b", "dir/b"):
        write(pl.DataFrame({"n": [1, 2, 3]}), tmp_path / f"{other}{suffix}")
    write(pl.DataFrame({"n": [4, 5]}), path)
    assert read(path).columns["n"].tolist() == [4, 5]


def test_row_groups_of_many_predictions_are_bounded(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr("gdkernels.tables.formats.writing._GROUP_BYTES", 8 * 50 * 100)
    names = [f"p{k}" for k in range(50)]
    made = (([*names], [[float(part)] * 70 for _ in names]) for part in range(5))
    with (tmp_path / "p.parquet").open("wb") as file:
        writer_for("p.parquet", made)(file)
    told = pq.read_metadata(tmp_path / "p.parquet")
    assert told.num_rows == 350
    assert max(told.row_group(k).num_rows for k in range(told.num_row_groups)) <= 100
    assert pl.read_parquet(tmp_path / "p.parquet")["p49"].to_list() == [float(k // 70) for k in range(350)]


def test_wide_arrays_are_read_in_smaller_parts(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "t.npy", "w+", np.float32, (6000, 3000))
    x[:, 2999] = np.arange(6000)
    x.flush()
    np.savez(tmp_path / "t.npz", X=x, Y=np.arange(6000))
    for name in ("t.npy", "t.npz"):
        found = list(parts(tmp_path / name))
        assert max(map(len, found)) * 3000 * 24 <= 256 << 20 < 6000 * 3000 * 24
        np.testing.assert_array_equal(np.concatenate([part.columns["2999"] for part in found]), np.arange(6000))
        assert [part.first for part in found] == np.cumsum([0, *map(len, found[:-1])]).tolist()


# ---- what grows


def limited(code, room=400 << 20):
    """Run Python with little memory beyond what it has; return its outcome and the most that it had, in bytes."""
    code = (
        "import resource, sys\n"
        "from gdkernels.errors import InputError\n"
        "from gdkernels.system import memory\n"
        "from gdkernels.tables import read\n"
        "import gdkernels.tables.formats.text, gdkernels.tables.formats.arrays\n"
        "before = memory.used()\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, (memory.data() + {room}, resource.RLIM_INFINITY))\n"
        "try:\n"
        f"    {code}\n"
        "except InputError as error:\n"
        "    print(error)\n"
        "print(memory.peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *told, grown = done.stdout.splitlines()
    return "\n".join(told), int(grown)


def bomb(path, start, piece, count):
    """Write so many copies of a piece, compressed."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(count):
            file.write(piece)
    return path


@pytest.mark.skipif(memory.data() == 0, reason="this system does not tell what a process has")
@pytest.mark.parametrize(
    ("start", "piece", "pattern"),
    [
        (b"", b"a", r"line 1 of .*t.csv.gz: field larger than field limit \(131072\)"),
        (b"a,y\n1,", b"1", r"line 2 of .*t.csv.gz: field larger than field limit \(131072\)"),
        (b"a,y\n1,2\n", b"1,", "line 3 of .*t.csv.gz is longer than 32 MiB"),
        (b"", b"a,", "line 1 of .*t.csv.gz is longer than 32 MiB"),
        (b'a,y\n1,"', b"b,\n", "line .* of .*t.csv.gz: field larger than field limit"),
    ],
    ids=["a header", "a cell", "a record", "names", "a quoted cell"],
)
def test_a_line_that_does_not_end_is_refused_before_it_is_in_memory(tmp_path, start, piece, pattern):
    path = bomb(tmp_path / "t.csv.gz", start, piece * (1_000_000 // len(piece)), 250)
    assert path.stat().st_size < 3_000_000
    told, grown = limited(f"read({str(path)!r})")
    assert re.fullmatch(pattern + ".*", told), told
    assert grown < 100 << 20


def test_a_cell_may_be_as_long_as_before(tmp_path):
    text = "ä" * 131_000
    (tmp_path / "t.csv").write_text(f"t,y\n{text},1\n{text[1:]},2\n", encoding="utf-8")
    assert sorted(map(len, read(tmp_path / "t.csv").columns["t"].levels)) == [130_999, 131_000]
    (tmp_path / "t.csv").write_bytes(b"a" * 3_000_000)
    with pytest.raises(InputError, match="line 1 of .*: field larger than field limit"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(bytes(3_000_000))
    with pytest.raises(InputError, match="neither text in UTF-8"):
        read(tmp_path / "t.csv")


def archive(path, shape, header=None):
    """Write an NPZ file whose array X has zeros in this shape, compressed."""
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start = head.getvalue() if header is None else b"\x93NUMPY\x02\x00" + header.to_bytes(4, "little")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open("X.npy", "w") as member:
        member.write(start)
        for _ in range(300):
            member.write(bytes(1_000_000))
    return path


@pytest.mark.skipif(memory.data() == 0, reason="this system does not tell what a process has")
def test_a_compressed_array_is_refused_before_it_is_in_memory(tmp_path):
    path = archive(tmp_path / "t.npz", (3_000_000, 100))
    assert path.stat().st_size < 3_000_000
    told, grown = limited(f"read({str(path)!r})")
    assert re.fullmatch(
        r"cannot read .*t.npz: an array of 300,000,000 values takes 5.1 GB on its way to a table, but only .* \(.*\) "
        "is available; save it with numpy.save, or with numpy.savez, .*",
        told,
    ), told
    assert grown < 50 << 20


@pytest.mark.skipif(memory.data() == 0, reason="this system does not tell what a process has")
def test_a_compressed_header_is_refused_before_it_is_in_memory(tmp_path):
    path = archive(tmp_path / "t.npz", (1, 1), header=290_000_000)
    told, grown = limited(f"read({str(path)!r})")
    assert re.fullmatch(r"cannot read .*t.npz: it is damaged \(its header has 290,000,000 bytes\)", told), told
    assert grown < 50 << 20
