"""Memory follows the bytes of a file, not its records: wide frames, and what grows when it is decompressed."""

import numpy as np
import polars as pl
import pytest

from gdkernels.tables import read
from gdkernels.tables.read import parts
from gdkernels.tables.writing import writer_for


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
    assert all((part.columns["c2999"] == 2999).all() for part in found)


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

    monkeypatch.setattr("gdkernels.tables.writing._GROUP_BYTES", 8 * 50 * 100)
    names = [f"p{k}" for k in range(50)]
    made = (([*names], [[float(part)] * 70 for _ in names]) for part in range(5))
    with (tmp_path / "p.parquet").open("wb") as file:
        writer_for("p.parquet", made)(file)
    told = pq.read_metadata(tmp_path / "p.parquet")
    assert told.num_rows == 350
    assert max(told.row_group(k).num_rows for k in range(told.num_row_groups)) <= 100
    assert pl.read_parquet(tmp_path / "p.parquet")["p49"].to_list() == [float(k // 70) for k in range(350)]
