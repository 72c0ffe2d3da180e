"""README and docs/: every example runs, and the reference has every public name.

Of a page, the blocks ```python and those of pictures run in order in one namespace. A block ```text that directly
follows one of them is what it prints. The lines ``gdkernels …`` of the blocks ```sh run in order as well. Both start
in a folder with a few small tables.
"""

import logging
import re
import runpy
import shlex
import textwrap
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from safetensors.numpy import save_file

import gdkernels as gd
from gdkernels import backend, estimators, graph, groups, logs, plots, tables, testing
from gdkernels.cli import main
from gdkernels.cli.entry import _parser
from gdkernels.tabular.settings import defaults

ROOT = Path(__file__).parents[1]
PAGES = {str(p.relative_to(ROOT)): p.read_text("utf-8") for p in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
REFERENCE = "".join(p.read_text("utf-8") for p in ROOT.glob("docs/api/*.md"))
PUBLIC = {
    "gdkernels": gd,
    "gdkernels.activations": gd.activations,
    "gdkernels.backend": backend,
    "gdkernels.estimators": estimators,
    "gdkernels.graph": graph,
    "gdkernels.groups": groups,
    "gdkernels.logs": logs,
    "gdkernels.losses": gd.losses,
    "gdkernels.optimizers": gd.optimizers,
    "gdkernels.plots": plots,
    "gdkernels.schedules": gd.schedules,
    "gdkernels.solvers": gd.solvers,
    "gdkernels.tables": tables,
    "gdkernels.testing": testing,
}
MEASURING = (
    "bench",
    "calibrate",
    "compare",
    "doctor",
)  # what they do is for a machine and not for its tests: only parsed

COMPILED = ("docs/many.md",)  # trainings enough for compiling to take less time than running the definition

BLOCK = re.compile(r"^```(\S+)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"^\.\. plot::\n(?: +:[^\n]*\n)*\n(.*)", re.DOTALL | re.MULTILINE)


def examples(page):
    """Yield the code of each Python example of a page, and what it prints or None."""
    for kind, text, printed in BLOCK.findall(PAGES[page]):
        if kind == "python":
            yield text, printed or None
        elif kind == "{eval-rst}":
            for code in PICTURE.findall(text):
                yield textwrap.dedent(code), None


def commands(page):
    """Yield the arguments of each command line of a page."""
    for kind, text, _ in BLOCK.findall(PAGES[page]):
        if kind == "sh":
            lines = text.replace("\\\n", " ").splitlines()
            yield from (shlex.split(line, comments=True)[1:] for line in lines if line.startswith("gdkernels "))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the files that the pages name, go there, and let NumPy run what names no backend."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.setattr(defaults, "epochs", lambda records: 5)
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    area, town = draw.uniform(50, 250, 120).round(), draw.choice(["Ames", "Nevada", ""], 120)
    price = 1000 * area + 20000 * (town == "Ames") + draw.normal(0, 5000, 120).round()
    rows = [f"{a:g},{t},{p:g}" for a, t, p in zip(area, town, price, strict=True)]
    for name, part in {"houses.csv": slice(0, 100), "test.csv": slice(100, 120)}.items():
        Path(name).write_text("\n".join(["area,town,price", *rows[part], ""]))
    Path("new.csv").write_text("area,town\n120,Ames\n80,\n")
    visits = ["many", "closed", *map(str, range(98))]
    sales = [f"{1 + k % 12}/{1 + k % 5}/2024;{k}.{k % 9}00,50 €;{v}" for k, v in enumerate(visits, 1)]
    Path("sales.csv").write_text("\n".join(["day;amount;visits", *sales, ""]))
    Path("iris.data").write_text("".join(f"{k / 9:.1f},3.5,1.4,{k / 7:.1f},Iris-{k % 3}\n" for k in range(1, 151)))
    layers = {"0": (8, 3), "2": (1, 8)}  # of an nn.Sequential(Linear(3, 8), Tanh(), Linear(8, 1))
    weights = {f"{name}.weight": draw.standard_normal(shape, np.float32) for name, shape in layers.items()}
    save_file(weights | {f"{k}.bias": np.zeros(n, np.float32) for k, (n, _) in layers.items()}, "net.safetensors")
    logger = logging.getLogger("gdkernels")
    before, level = list(logger.handlers), logger.level
    yield tmp_path
    logger.setLevel(level)
    for handler in [h for h in logger.handlers if h not in before]:  # of an example: other tests are not to log there
        logger.removeHandler(handler)
        handler.close()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # examples are short
@pytest.mark.parametrize("page", [page for page in PAGES if any(examples(page))])
def test_python_examples(page, folder, monkeypatch, capsys):
    if page in COMPILED:
        monkeypatch.setenv("GDKERNELS_BACKEND", "numba")
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    namespace = {"__name__": "__main__"}
    exec(runpy.run_path(str(ROOT / "docs" / "conf.py"))["plot_pre_code"], namespace)
    for code, printed in examples(page):
        capsys.readouterr()
        exec(compile(code, page, "exec"), namespace)
        plt.close("all")
        if printed is not None:
            assert capsys.readouterr().out == printed


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_commands(page, folder, capsys):
    for arguments in commands(page):
        if arguments[0] in MEASURING:
            _parser().parse_args(arguments)
        else:
            assert main(arguments) == 0, capsys.readouterr().err


def test_the_examples_are_found():
    assert len(list(examples("README.md"))) == PAGES["README.md"].count("```python") >= 3
    assert len(list(commands("README.md"))) > 7
    names = re.findall(r"^ +:filename-prefix: (.*)$", "".join(PAGES.values()), re.MULTILINE)
    assert len(names) == len(set(names)) == "".join(PAGES.values()).count(".. plot::")  # or one would show for all
    for page, text in PAGES.items():
        assert len(list(examples(page))) == len(re.findall(r"^```python$|^\.\. plot::$", text, re.MULTILINE)), page


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    entries = re.findall(r"^\.\. (?:auto|py:)\w+:: (?:[\w.]+\.)?(\w+)$", REFERENCE, re.MULTILINE)
    mentioned = re.findall(r"`(\w+)`|^## gdkernels\.(\w+)$", REFERENCE, re.MULTILINE)
    assert set(PUBLIC[module].__all__) <= {*entries, *chain.from_iterable(mentioned)}


def test_each_row_of_the_table_of_faults_names_a_test():
    tests = "".join(p.read_text("utf-8") for p in ROOT.glob("tests/**/test_*.py"))
    rows = re.findall(r"^\| (?!what happens|---).*$", PAGES["docs/faults.md"], re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named
        assert all(f"def {name}(" in tests for name in named), row
