"""The maps are true: what they name is there, and no room is missing."""

import re
from pathlib import Path

import pytest
from test_rooms import ROOMS

ROOT = Path(__file__).parents[1]
PATH = re.compile(r"`((?:gdkernels|backends|tests|benchmarks|docs|\.ci)/[\w./]*|[\w.-]+\.(?:md|toml|yaml))`")
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_is_there(page):
    for path in PATH.findall((ROOT / page).read_text("utf-8")):
        assert (ROOT / path).exists(), f"{page} names {path}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/contributing.md"])
def test_maps_name_paths(page):
    assert len(PATH.findall((ROOT / page).read_text("utf-8"))) > 10


# The backends of a few files have a README alone.
@pytest.mark.parametrize("folder", sorted({*ROOMS} - {"backends/gdkernels_numpy", "backends/gdkernels_mpi"}))
def test_every_room_is_on_the_map_from_the_ground_up(folder):
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    listed = re.findall(rf"`{folder}/(\w+)(?:/|\.py)`", "".join(re.findall(r"^(\| `.*?) \| ", text, re.MULTILINE)))
    assert listed == [room for room in ROOMS[folder] if not room.startswith("__")]
