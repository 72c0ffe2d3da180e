"""``gdkernels cache``: what is kept, and what of it is removed."""

import pytest

from gdkernels.system.scratch import scratch_folder

KEPT = "calibration-0123456789ab-float32.json"
REMOVED = (f"{'0f' * 16}.o", f"{'0f' * 16}.ll", f"epilogues-{'ab' * 12}.json", ".gdkernels-0123456789abcdef.tmp")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    (folder / "tables" / "1-a").mkdir(parents=True)
    folder.chmod(0o700)
    monkeypatch.setenv("GDKERNELS_CACHE", str(folder))
    for name in (KEPT, *REMOVED, "notes.txt", "tables/1-a/train-x.npy"):
        (folder / name).write_bytes(b"x" * 1000)
    return folder


def test_what_is_there(command, cache):
    outcome = command("cache")
    assert outcome.code == 0
    assert str(cache) in outcome.out
    for line in ("compiled code: 2", "choices timed on a GPU: 1", "calibrations, which stay: 1", "records, unknown: 1"):
        assert line in outcome.out
    assert sorted(p.name for p in cache.iterdir()) == sorted((KEPT, *REMOVED, "notes.txt", "tables"))


def test_clear_leaves_calibrations_what_is_held_and_what_is_not_ours(command, cache):
    with scratch_folder(cache / "tables") as held:
        outcome = command("cache", "--clear", "--json")
        assert outcome.json["removed_bytes"] == 5000
        assert {entry["what"] for entry in outcome.json["entries"]} == {
            "calibrations, which stay",
            "prepared records, in use",
        }
        assert held.is_dir()
    assert sorted(p.name for p in cache.iterdir()) == sorted((KEPT, "notes.txt", "tables"))
    assert not list((cache / "tables").iterdir())


def test_an_empty_cache(command, tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "none"))
    assert command("cache", "--clear").out.splitlines() == [f"{tmp_path / 'none'}: nothing", "removed 0.0 MB"]
    assert not (tmp_path / "none").exists()


def test_somebody_elses_folder_is_left_alone(refused, cache):
    cache.chmod(0o777)
    refused("can be written by others", "cache", "--clear")
    assert (cache / REMOVED[0]).exists()
