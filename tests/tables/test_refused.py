"""Files with tables that are not read: one line says what such a file is, and what to do."""

import bz2
import gzip
import json
import lzma
import os
import re
import sqlite3
import subprocess
import sys
import zipfile

import pytest

from gdkernels.errors import FileError, InputError
from gdkernels.tables import read

RECORDS = [{"a": 1, "y": 2}, {"a": 3, "y": 4}]


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "a,y\n1,2\n")
    return path.read_bytes()


def database(path):
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a, y)")
    connection.close()
    return path.read_bytes()


KINDS = {
    "t.xlsx": (
        lambda p: archive(p, "[Content_Types].xml", "xl/workbook.xml"),
        "an Excel workbook .*save the sheet as CSV",
    ),
    "t.xls": (lambda p: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "an Excel workbook .*save the sheet as CSV"),
    "t.ods": (lambda p: archive(p, "mimetype", "content.xml"), "an OpenDocument file .*save the sheet as CSV"),
    "t.jsonl": (lambda p: "\n".join(map(json.dumps, RECORDS)).encode(), "JSON, .*save it as CSV.*lines=True"),
    "t.json": (lambda p: json.dumps(RECORDS, indent=2).encode(), "JSON, .*save it as CSV"),
    "flat.json": (lambda p: json.dumps(RECORDS).encode(), "JSON, .*save it as CSV"),
    "columns.json": (lambda p: json.dumps({"a": [1, 3]}).encode(), "JSON, .*save it as CSV"),
    "numbers.json": (lambda p: b"[1, 2]\n[3, 4]\n", "JSON, .*save it as CSV"),
    "t.jsonl.gz": (lambda p: gzip.compress(json.dumps(RECORDS[0]).encode()), "JSON, .*save it as CSV"),
    "web.xls": (lambda p: b"\xef\xbb\xbf<html><table><tr><td>a", "a web page or XML"),
    "t.csv.zip": (lambda p: archive(p, "t.csv"), r"a ZIP archive of t\.csv.*unpack it"),
    "two.zip": (lambda p: archive(p, "t.csv", "u.csv"), "a ZIP archive of 2 files.*unpack it"),
    "t.csv.bz2": (lambda p: bz2.compress(b"a,y\n1,2\n"), "compressed by bzip2.*bunzip2"),
    "t.csv.xz": (lambda p: lzma.compress(b"a,y\n1,2\n"), "compressed by xz.*unxz"),
    "t.db": (database, "an SQLite database.*CSV"),
    "t.mat": (lambda p: b"MATLAB 5.0 MAT-file", "a MATLAB file.*loadmat"),
    "t.dta": (lambda p: b"<stata_dta><header>", "a Stata file.*read_stata"),
    "t.sav": (lambda p: b"$FL2@(#) SPSS", "an SPSS file.*read_spss"),
    "t.xpt": (lambda p: b"HEADER RECORD*******LIBRARY", "a SAS transport file.*read_sas"),
    "t.arff": (lambda p: b"@RELATION r\n@data\n1,2\n", "an ARFF file.*@data"),
    "lfs.csv": (lambda p: b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS.*git lfs pull"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_refused_with_what_to_do(tmp_path, name):
    make, pattern = KINDS[name]
    path = tmp_path / name
    path.write_bytes(make(path))
    with pytest.raises(InputError, match=pattern) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} is ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", ["[id],[y]", "{x},y", "[1] a,y", "<x>,y"])
def test_a_header_may_have_brackets(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n1,2\n")
    assert list(read(tmp_path / "t.csv").names) == header.split(",")


def test_standard_input_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileError, match=r"standard input cannot be a table.* write it to a file, and give that$"):
        read("-")
    done = subprocess.run(
        [sys.executable, "-m", "gdkernels", "describe", "/dev/stdin"],
        input="a,y\n1,2\n",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        "gdkernels: standard input cannot be a table.* write it to a file, and give that\n", done.stderr
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="pipe, a pipe, cannot be a table.*write it to a file"):
        read(tmp_path / "pipe")


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="this system has no /dev/stdin")
def test_a_file_behind_standard_input_is_read_as_before(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\n")
    code = "from gdkernels.tables import read; print(len(read('/dev/stdin')))"
    with (tmp_path / "t.csv").open() as file:
        done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_a_file_named_by_a_dash_is_read(tmp_path, monkeypatch):
    (tmp_path / "-").write_text("a,y\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert len(read("./-")) == 1
