"""Every module of the studies imports in the gate, without PyTorch and CuPy, and says what its command is for."""

import itertools
import os
import pkgutil
import shutil
import subprocess
import sys

import pytest

import benchmarks
from benchmarks import checkout

MODULES = [m.name for m in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.") if ".test_" not in m.name]
COMMANDS = (
    "blocks",
    "busy_cores",
    "choice",
    "estimators",
    "gpu",
    "house_figures",
    "least_squares",
    "low_precision",
    "peers_grid",
    "raw_tables",
    "same_bits",
    "stored",
    "table_scores",
)

# Imports every module that is named, in a process that has none of the libraries.
IMPORTS = """
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "jax", "thinc", "cupy"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Missing())
for name in sys.argv[1:]:
    assert importlib.import_module(name).__doc__, name
"""


def test_every_module_imports_without_the_libraries_that_it_compares():
    command = [sys.executable, "-c", IMPORTS, *MODULES]
    done = subprocess.run(command, env=os.environ | checkout.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(MODULES) > 15


def test_a_bound_fit_changes_rooms_rarely():
    """In the first arrangement of rooms it was 122 times."""
    command = [sys.executable, "-m", "benchmarks.room_changes"]
    done = subprocess.run(command, env=os.environ | checkout.environment(), capture_output=True, text=True, check=True)
    assert 10 < int(done.stdout.split()[0]) < 40, done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_a_command_from_any_folder(name, tmp_path):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    variables = os.environ | checkout.environment()
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m benchmarks.{name}" in done.stdout


@pytest.fixture
def changed_checkout(tmp_path):
    """A checkout of which the records of an epoch come in another order."""
    for name in ("gdkernels", "backends"):
        shutil.copytree(checkout.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "gdkernels/randomness/seeded_orders.py"
    before = file.read_text("utf-8")
    file.write_text(before.replace('ORDER = "order"', 'ORDER = "another order"'), encoding="utf-8")
    assert file.read_text("utf-8") != before
    return tmp_path


def test_two_checkouts_are_told_apart_by_their_bits(changed_checkout):
    for other, code, last in (
        (checkout.ROOT, 0, "1 same, 0 different, 0 that neither can do here"),
        (changed_checkout, 1, "0 same, 1 different, 0 that neither can do here"),
    ):
        only = ("--only", "numpy, batches of one")
        command = [sys.executable, "-m", "benchmarks.same_bits", checkout.ROOT, other, *only]
        variables = os.environ | checkout.environment()
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert done.stdout.splitlines()[-1] == last


def test_the_table_of_least_squares_says_what_paths_say():
    from benchmarks.least_squares.summary import sooner, table_of_paths, thinned

    lm = [(0.1, 1e-2), (0.2, 1e-4), (0.5, 1e-6)]
    adam, worse = [(1.0, 1e-2), (2.0, 1e-4)], [(1.0, 1e-7)]
    assert sooner(lm, adam, 3.0) == 10.0
    assert sooner(lm, worse, 3.0) is None
    path = [(k / 1000, 1.0 / (1 + k // 2)) for k in range(1000)]
    short = thinned(path)
    assert len(short) <= 202
    assert short[-1] == path[998]
    assert all(a[1] > b[1] for a, b in itertools.pairwise(short))
    speed = {"parameters": 301, "compiled": 90.0, "definition": 60.0, "syrk": 80.0, "matrices": 100.0}
    paths = {f"sine, seed {k}": {"lm": lm, "adam": adam, "lbfgs": adam, "scipy-trf": worse} for k in range(2)}
    table = table_of_paths({"seconds": 3.0, "paths": paths, "products": [speed]})
    assert "| sine | 31 | 1.0e-06 (1.0e-06 to 1.0e-06) | 10.0 (10.0 to 10.0) | 10.0 (10.0 to 10.0) | never |" in table
    assert "| 301 | 90 | 0.90 | 0.60 | 0.80 |" in table
