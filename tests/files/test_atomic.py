"""Files are written whole or not at all."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from interrupts import interrupted_everywhere

from gdkernels.errors import FileError
from gdkernels.files import check_destination, write_atomically


def writer(content):
    return lambda file: file.write(content)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def refuse_in_one_line(pattern, path, *, overwrite=False, content=b"new"):
    with pytest.raises(FileError, match=pattern) as caught:
        write_atomically(path, writer(content), overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_writes_and_leaves_nothing_else(tmp_path):
    write_atomically(tmp_path / "m", writer(b"content"), overwrite=False)
    assert (tmp_path / "m").read_bytes() == b"content"
    assert names(tmp_path) == ["m"]


def test_takes_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("m", writer(b"content"), overwrite=False)
    assert (tmp_path / "m").read_bytes() == b"content"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "m", writer(b""), overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o666 & ~umask


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    refuse_in_one_line(r"exists already; to replace it, pass overwrite=True$", path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["m"]


def test_overwriting_replaces_and_keeps_permissions(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_atomically(path, writer(b"new"), overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_overwriting_a_link_replaces_its_target(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(Path("elsewhere") / "target")
    write_atomically(tmp_path / "link", writer(b"new"), overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "target").read_bytes() == b"new"


def test_a_link_to_nowhere_counts_as_existing(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    refuse_in_one_line("exists already", tmp_path / "link")
    assert names(tmp_path) == ["link"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_is_left(tmp_path, overwrite, error):
    if overwrite:
        (tmp_path / "m").write_bytes(b"old")
    before = names(tmp_path)

    def write(file):
        file.write(b"half")
        raise error

    expected = FileError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_atomically(tmp_path / "m", write, overwrite=overwrite)
    assert names(tmp_path) == before
    if overwrite:
        assert (tmp_path / "m").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    real = os.open
    monkeypatch.setattr(os, "open", lambda *_: real("/dev/full", os.O_WRONLY))
    refuse_in_one_line("no space left on device; free some space", tmp_path / "m", content=b"x" * 100_000)
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    refuse_in_one_line(r"the folder .*nowhere does not exist; create it", tmp_path / "nowhere" / "m")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    refuse_in_one_line(r".*m: .*file is not a folder", tmp_path / "file" / "m")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_file_name(tmp_path, overwrite):
    refuse_in_one_line("it is a folder", tmp_path, overwrite=overwrite)


def test_a_device_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refuse_in_one_line("not a regular file", tmp_path / "pipe", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *a: False)  # root may write anywhere, and tests often run as root
    refuse_in_one_line("no permission to write in the folder", tmp_path / "m")
    assert names(tmp_path) == []


def test_too_long_a_name(tmp_path):
    refuse_in_one_line("name too long; choose a shorter name", tmp_path / ("m" * 300))
    assert names(tmp_path) == []


def test_the_check_before_long_work_writes_nothing(tmp_path):
    check_destination(tmp_path / "m", overwrite=False)
    assert names(tmp_path) == []


def no_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_one_of_many_writers_wins(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    together = threading.Barrier(8)
    won = []

    def work(k):
        def write(file):
            file.write(bytes([k]) * 1000)
            together.wait()  # all have found the name free by now

        try:
            write_atomically(tmp_path / "m", write, overwrite=False)
            won.append(k)
        except FileError as error:
            assert "exists already" in str(error)  # noqa: PT017

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "m").read_bytes() == bytes(won) * 1000
    assert names(tmp_path) == ["m"]


def test_without_hard_links_a_failed_rename_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)

    def fail(self, target):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    refuse_in_one_line("input/output error", tmp_path / "m")
    assert names(tmp_path) == []


def test_a_signal_the_moment_the_file_is_there_leaves_nothing(tmp_path, monkeypatch):
    create = os.open

    def interrupted(path, flags, mode=0o777):
        os.close(create(path, flags, mode))
        assert len(names(tmp_path)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "m", writer(b"new"), overwrite=False)
    assert names(tmp_path) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file that nobody has any more is closed by Python
@pytest.mark.parametrize(("links", "before"), [(True, None), (False, None), (True, b"old")])
def test_a_signal_at_any_moment_leaves_a_whole_file_or_none(tmp_path, monkeypatch, links, before):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds would take seconds
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, seen = tmp_path / "m", set()

    def write():
        write_atomically(path, writer(b"new"), overwrite=before is not None)

    if before is not None:
        path.write_bytes(before)
    for where, raised in interrupted_everywhere(write):
        assert isinstance(raised, KeyboardInterrupt), where
        found = path.read_bytes() if path.exists() else None
        assert found in (b"new", before), where
        assert names(tmp_path) == ["m"][: found is not None], where
        seen.add(found)
        if found != before:
            path.unlink() if before is None else path.write_bytes(before)
    assert seen == {b"new", before}, "some interrupts came before the file had its name, and some after that"


@pytest.mark.parametrize(("lasting", "waits"), [(True, 2), (False, 0)])
def test_what_can_be_made_again_waits_for_no_disk(tmp_path, monkeypatch, lasting, waits):
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)  # for the content, and for its name in the folder
    write_atomically(tmp_path / "m", lambda file: file.write(b"new"), overwrite=True, lasting=lasting)
    assert (tmp_path / "m").read_bytes() == b"new"
    assert len(waited) == waits
