"""In a notebook: tables as HTML, and a bar that works there."""

import sys
from html.parser import HTMLParser
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import tqdm
from plugins import working

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.diagnostics import inventory
from gdkernels.system.notebook import html_table, in_notebook
from gdkernels.system.progress import RecordCount
from gdkernels.training import progress
from gdkernels.training.history import Epoch


class Cells(HTMLParser):
    """Collects the rows of a table, and asserts that every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.caption = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        assert all("color:" not in value.replace("color:inherit", "") for _, value in attributes), "light and dark"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            assert self.open == ["table", "caption"]
            self.caption += data


def test_everything_is_escaped():
    nasty = "<script>alert('\"&amp;')</script>"
    cells = Cells(html_table(nasty, [nasty, "b"], [[1, nasty]]))
    assert cells.caption == nasty
    assert cells.rows == [[nasty, "b"], ["1", nasty]]


def test_a_network():
    def mish(z, *, xp):
        return z * xp.tanh(xp.logaddexp(z, 0.0))

    mlp = gd.MLP([3, 1000, 2], activation=mish, backend="numpy")
    cells = Cells(mlp._repr_html_())
    assert cells.caption == repr(mlp)
    assert cells.rows[1:] == [["0", "3 → 1,000", "mish", "4,000"], ["1", "1,000 → 2", "identity", "2,002"]]


def test_a_network_of_blocks():
    block = gd.blocks.Sequential(gd.blocks.LayerNorm(), gd.blocks.Dense(2))
    net = gd.Network(block, backend="numpy")
    cells = Cells(net._repr_html_())  # it knows no sizes yet
    assert (cells.caption, cells.rows) == ("Network(inputs not known yet)", [[]])
    net.predict(np.ones((4, 3)))
    rows = Cells(net._repr_html_()).rows
    assert rows == [
        ["name", "shape", "kind", "parameters"],
        ["scale0", "3", "trained", "3"],
        ["shift0", "3", "trained", "3"],
        ["W1", "3 × 2", "trained", "6"],
        ["b1", "2", "trained", "2"],
    ]


def test_a_history():
    mlp = gd.MLP([1, 1], seed=0, backend="numpy")
    X = np.linspace(-1, 1, 20)[:, None]
    history = mlp.fit(X, X, epochs=3, validation=0.2, metrics=["r2"])
    cells = Cells(history._repr_html_())
    assert cells.rows[0] == ["epoch", "loss", "validation loss", "r2", "learning rate"]
    assert [row[0] for row in cells.rows[1:]] == ["1 (first)", "3 (kept, last)"]
    assert cells.rows[2][1:] == [
        f"{history.loss[-1]:.4g}",
        f"{history.validation_loss[-1]:.4g}",
        f"{history.epochs[-1].metrics['r2']:.4g}",
        "0.001",
    ]
    assert "numpy, cpu, float32, definition; all 3 epochs are done" in cells.caption
    losses = f"loss {history.loss[0]:.4g} to {history.loss[-1]:.4g}"
    where = "numpy, cpu, float32, definition; all 3 epochs are done"
    assert repr(history) == f"History(3 epochs, {losses}, kept: epoch 3, on {where})"
    assert repr(gd.Ensemble([mlp, mlp])) == f"Ensemble(2 of {mlp!r})"
    empty = gd.History(Plan("numpy", "cpu", "float32"), "definition", "asked for")
    assert Cells(empty._repr_html_()).rows == [["epoch", "loss", "validation loss", "learning rate"]]


def test_a_table():
    table = gd.tables.read("penguins")
    assert repr(table).startswith("Table(344 records of penguins: studyName, Sample Number, Species, ")
    assert repr(table.columns["Island"]) == "Text(344 records of 'Biscoe', 'Dream', 'Torgersen')"
    described = gd.TabularPredictor("y").describe({"x": [1.0, 2.0, 4.0], "y": [1.0, 2.0, 3.5]})
    assert repr(described) == described.as_text()


def test_a_picture_is_shown_without_pyplot():
    ax = gd.plots.throughput({"numpy": {1: 1.0, 2: 2.0}})
    assert ax.figure._repr_png_().startswith(b"\x89PNG")


def test_the_backends(plugins):
    plugins.add("good", working("good", priority=3))
    plugins.add("bad", working("bad", unavailable="return 'no <driver>: run `a && b`'"))
    report = inventory.report()
    cells = Cells(report._repr_html_())
    assert [row[0] for row in cells.rows[1:]] == [record.name for record in report]
    told = {row[0]: row for row in cells.rows[1:]}
    assert told["bad"] == ["bad", "-", "no <driver>: run `a && b`", "gdkernels-bad 1.0"]
    assert told["good"][1] == "cpu"
    assert told["good"][2].startswith("PASS")


# ---- the bar


@pytest.fixture
def notebook(monkeypatch):
    """Return what starts a kernel, with or without its widgets."""

    def start(*, widgets, kernel=True):
        shell = SimpleNamespace(config={"IPKernelApp": {}} if kernel else {})
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        module = ModuleType("ipywidgets")
        module.__spec__ = ModuleSpec("ipywidgets", None)
        monkeypatch.setitem(sys.modules, "ipywidgets", module if widgets else None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Widget))

    return start


class Widget(tqdm.tqdm):
    pass


def shown(show=None):
    with progress.Progress(2, show) as bar:
        bar.update(Epoch(1, 0.5, None, 0.1, 1.0, 100.0))
        return type(bar._bar)


def test_a_notebook_is_a_kernel(notebook):
    assert not in_notebook()
    notebook(widgets=False, kernel=False)
    assert not in_notebook()
    notebook(widgets=False)
    assert in_notebook()


def test_no_notebook_and_no_terminal_no_bar(notebook):
    assert shown() is type(None)
    notebook(widgets=True, kernel=False)
    assert shown() is type(None)
    assert shown(show=True) is tqdm.tqdm


def test_a_bar_of_widgets_only_where_there_are_some(notebook):
    notebook(widgets=True)
    assert shown() is Widget
    with RecordCount("reading") as count:
        assert type(count._bar) is Widget
    assert shown(show=False) is type(None)


def test_a_bar_of_text_in_a_notebook_without_widgets(notebook):
    notebook(widgets=False)
    assert shown() is tqdm.tqdm
