"""Pictures look as those that were stored, within a tolerance that notices whatever is missing."""

import contextlib

import pytest
from pictures import PICTURES, difference, drawn, rendered, stored

# matplotlib 3.9 to 3.11, between which the font renderer was replaced, differ by up to 2.6.
TOLERANCE = 4.0


@contextlib.contextmanager
def without_title(ax):
    title = ax.get_title(loc="left")
    ax.set_title("", loc="left")
    yield
    ax.set_title(title, loc="left")


@contextlib.contextmanager
def hidden(artist):
    artist.set_visible(False)
    yield
    artist.set_visible(True)


def parts(ax):
    """Yield a context for each part that tells something, as all do that have a name; inside, it is missing."""
    yield without_title(ax)
    drawings = [
        a for a in (*ax.lines, *ax.collections, *ax.patches) if not a.get_label().startswith(("_child", "_nolegend"))
    ]
    proxies = [line for line in ax.lines if not len(line.get_xdata())]  # for the legend alone
    axes = [ax.xaxis, ax.yaxis] + ([ax.zaxis] if ax.name == "3d" else [])
    legend = [ax.get_legend()] if ax.get_legend() else []
    for artist in [*drawings, *ax.images, *ax.texts, *legend, *(axis.label for axis in axes)]:
        if artist not in proxies:
            yield hidden(artist)


@pytest.mark.parametrize("name", PICTURES)
def test_it_looks_as_stored(name):
    assert difference(rendered(drawn(name)), stored(name)) < TOLERANCE


@pytest.mark.parametrize("name", PICTURES)
def test_each_missing_part_would_be_noticed(name):
    ax = drawn(name)
    whole = stored(name)
    for k, part in enumerate(parts(ax)):
        with part:
            assert difference(rendered(ax), whole) > TOLERANCE, f"part {k}"
    assert difference(rendered(ax), whole) < TOLERANCE
