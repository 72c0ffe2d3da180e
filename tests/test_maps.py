"""The maps are true: what they name is there, and no room is missing."""

import re
from pathlib import Path

import pytest
from test_rooms import ROOMS

ROOT = Path(__file__).parents[1]
PATH = re.compile(r"`((?:gdkernels|backends|tests|benchmarks|docs|\.ci)/[\w./]*)`")


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/contributing.md"])
def test_every_path_that_a_map_names_is_there(page):
    named = PATH.findall((ROOT / page).read_text("utf-8"))
    assert named
    for path in named:
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_every_room_is_on_the_map():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for room in ROOMS["gdkernels"]:
        if not room.startswith("__"):
            assert f"`gdkernels/{room}/`" in text or f"`gdkernels/{room}.py`" in text, room
