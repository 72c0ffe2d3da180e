"""Locks on files: who holds one, and what is removed where nobody does."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from gdkernels.errors import FileError
from gdkernels.system.locks import Lock, Owner, try_lock
from gdkernels.system.scratch import remove_left_behind, scratch_folder, scratch_folders

HOLDER = """
import sys, time
from pathlib import Path
from gdkernels.system.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL]


@pytest.fixture(params=NO_LOCKS, ids=lambda number: errno.errorcode[number])
def without_locks(request, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_holds_it(tmp_path):
    lock = try_lock(tmp_path / "lock")
    assert isinstance(lock, Lock)
    assert try_lock(tmp_path / "lock") == Owner("")
    lock.sign()
    assert try_lock(tmp_path / "lock") == Owner(str(os.getpid()))
    lock.close()
    again = try_lock(tmp_path / "lock")
    assert again.is_held
    again.remove()
    assert not (tmp_path / "lock").exists()


def test_links_and_the_files_of_others_are_no_locks(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "link").symlink_to(precious)
    os.link(precious, tmp_path / "hard")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("link", "a symbolic link"), ("dangling", "a symbolic link"), ("hard", "holds something else")):
        with pytest.raises(FileError, match=f"{name} .*{why}.*remove it, or choose another folder"):
            try_lock(tmp_path / name)
    with pytest.raises(FileError, match="pipe is no file"):
        try_lock(tmp_path / "pipe")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_another_name_of_an_empty_file_is_not_written_into(tmp_path):
    (tmp_path / "empty").touch()
    os.link(tmp_path / "empty", tmp_path / "lock")
    lock = try_lock(tmp_path / "lock")
    lock.sign()
    assert (tmp_path / "empty").read_bytes() == b""
    lock.close()


def test_without_locks_that_is_said(tmp_path, without_locks):
    first, second = try_lock(tmp_path / "lock"), try_lock(tmp_path / "lock")
    assert (first.is_held, second.is_held) == (False, False)
    first.close()
    second.close()


def test_an_error_of_the_lock_is_an_error(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"):
        try_lock(tmp_path / "lock")


def test_a_folder_is_left_alone_as_long_as_somebody_holds_it(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    held = holder.stdout.readline().strip()
    assert [(str(s.folder), s.state) for s in scratch_folders(tmp_path)] == [(held, "in use")]
    remove_left_behind(tmp_path, unknown=True)
    assert os.path.isdir(held)
    holder.kill()
    holder.communicate()
    assert [s.state for s in scratch_folders(tmp_path)] == ["left behind"]
    remove_left_behind(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_folder_goes_with_whoever_made_it(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
    assert not list(tmp_path.iterdir())


def test_without_locks_nothing_is_removed_unless_it_is_said(tmp_path, without_locks):
    with scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
        remove_left_behind(tmp_path)
        assert (folder / "a").exists()
        assert [s.state for s in scratch_folders(tmp_path)] == ["unknown"]
        remove_left_behind(tmp_path, unknown=True)
        assert not folder.exists()


def test_a_folder_without_a_lock_may_be_anybodys(tmp_path):
    (tmp_path / "12345-abc").mkdir()  # of version 0.1, which kept no locks
    remove_left_behind(tmp_path)
    assert [s.state for s in scratch_folders(tmp_path)] == ["unknown"]
    remove_left_behind(tmp_path, unknown=True)
    assert not list(tmp_path.iterdir())
