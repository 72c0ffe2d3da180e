"""Fits that began when sums of pieces were added one after the other go on with those sums, to the same bits."""

import shutil

import chained_pieces as old
import numpy as np
import pytest
from kept import DATA

from gdkernels.files.model_file import read_model

pytest.importorskip("llvmlite", reason="llvmlite is not installed")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("way", old.WAYS)
def test_an_old_fit_goes_on_in_the_middle_of_an_epoch(way, threads, tmp_path, monkeypatch):
    folder = DATA / "chained_pieces" / way.replace(" ", "_")
    (checkpoint,) = folder.glob("step-*")
    shutil.copy(checkpoint, tmp_path)
    monkeypatch.setenv("GDKERNELS_THREADS", str(threads))
    found, choices = old.fit(tmp_path, way)
    before = np.load(folder / "ended.npz")
    assert {name: a.tobytes() for name, a in found.items()} == {name: before[name].tobytes() for name in before.files}
    assert choices["pieces"] == old.PIECES
    told = [read_model(file)[1]["plan"]["choices"] for file in tmp_path.glob("step-*")]
    assert not any("tree_sums" in plan for plan in (choices, *told))


@pytest.mark.parametrize("way", old.WAYS)
def test_a_new_fit_of_it_sums_in_the_tree(way, tmp_path):
    found, choices = old.fit(tmp_path, way)
    before = np.load(DATA / "chained_pieces" / way.replace(" ", "_") / "ended.npz")
    assert choices["tree_sums"]
    assert any(found[name].tobytes() != before[name].tobytes() for name in found)
    assert all(np.allclose(found[name], before[name], rtol=1e-4, atol=1e-6) for name in found)
