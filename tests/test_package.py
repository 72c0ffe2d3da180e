"""The content of the wheel, and the cost of an import."""

import importlib
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gdkernels

ROOT = Path(__file__).parents[1]
SHORT = ("activations", "blocks", "losses", "optimizers", "schedules", "solvers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


def test_top_level_names_of_the_wheel(wheel):
    packages = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert packages == {"gdkernels", "gdkernels_cupy", "gdkernels_mpi", "gdkernels_numba", "gdkernels_numpy"}


def test_the_wheel_is_typed_and_carries_the_licence(wheel):
    for package in ("gdkernels", "gdkernels_cupy", "gdkernels_numba", "gdkernels_numpy"):
        assert f"{package}/py.typed" in wheel
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert {"gdkernels_cupy/graphs/primitives.cuh", "gdkernels_cupy/graphs/fixed.cu"} <= set(wheel)


def test_what_is_in_the_wheel_besides_python(wheel):
    """Studies, tests and their C++ stay in the checkout."""
    other = {name for name in wheel if not name.endswith(".py") and ".dist-info/" not in name}
    assert other == {
        *(f"{p}/py.typed" for p in ("gdkernels", "gdkernels_cupy", "gdkernels_numba", "gdkernels_numpy")),
        *(f"gdkernels/dispatch/calibrations/{precision}.json" for precision in ("float32", "float64")),
        *(f"gdkernels/tables/data/{name}" for name in ("ORIGIN.md", "penguins.csv")),
        *(f"gdkernels_cupy/graphs/{name}" for name in ("fixed.cu", "primitives.cuh")),
        "gdkernels_cupy/batches/models.cu",
        "gdkernels_cupy/cuda/keyed_order.cuh",
        *(f"gdkernels_cupy/persistent/{name}.cuh" for name in ("bf16", "float32", "primitives", "tf32", "tile")),
        "gdkernels/bench/report/page.html",
        *(f"gdkernels/{name}.pyi" for name in SHORT),
    }
    tests = {name for name in wheel if Path(name).name.startswith("test_")}
    assert tests == {"gdkernels/testing/test_backend.py"}


def test_every_public_name_is_there():
    for name in gdkernels.__all__:
        assert getattr(gdkernels, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'perceptron'"):
        _ = gdkernels.perceptron


@pytest.mark.parametrize("name", SHORT)
def test_a_short_name_imports_the_one_module(name):
    home = importlib.import_module(f"gdkernels.definition.{name}")
    spec = home.__spec__
    assert importlib.import_module(f"gdkernels.{name}") is home is getattr(gdkernels, name)
    assert (home.__spec__, home.__name__) == (spec, f"gdkernels.definition.{name}")
    if hasattr(home, "__path__"):
        inner = next(info.name for info in pkgutil.iter_modules(home.__path__))
        modules = [importlib.import_module(f"gdkernels{within}.{name}.{inner}") for within in ("", ".definition")]
        assert modules[0] is modules[1]
    with pytest.raises(ModuleNotFoundError, match=f"gdkernels.{name}"):
        importlib.import_module(f"gdkernels.{name}.nothing")


def test_an_import_loads_nothing_before_it_is_asked_for():
    code = """
import sys, gdkernels
assert not {"numpy", "gdkernels.definition", "gdkernels.models.mlp"} & set(sys.modules), sorted(sys.modules)
assert set(gdkernels.__all__) <= set(dir(gdkernels))
made = gdkernels.MLP
unused = {"numpy.random", "_hashlib", "gdkernels.training", "gdkernels.backend.verification"}
unused |= {"socket", "gdkernels.checking.check"}
assert not unused & set(sys.modules), unused & set(sys.modules)
made([2, 1])
uncomputed = {"gdkernels.dispatch", "gdkernels.data.records", "gdkernels.files", "gdkernels.system.machine"}
uncomputed |= {"gdkernels.definition.schedules", "gdkernels.definition.solvers", "gdkernels.groups"}
assert not uncomputed & set(sys.modules), uncomputed & set(sys.modules)
assert not {"numba", "cupy", "polars", "matplotlib", "gdkernels_numba"} & set(sys.modules), sorted(sys.modules)
slow = {"importlib.metadata", "importlib.resources", "subprocess", "gdkernels.interchange.foreign"}  # to load
assert not slow & set(sys.modules), slow & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_system_without_what_only_unix_has(tmp_path):
    """Windows has none of these modules: nothing is known to fail there, but nobody has tried."""
    code = """
import sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import gdkernels as gd
from gdkernels.cli import main
folder = sys.argv[1]
for backend in ("numpy", "numba"):
    mlp = gd.MLP([3, 4, 1], seed=0, backend=backend)
    x = np.ones((32, 3))
    assert len(mlp.fit(x, x[:, :1], epochs=2, checkpoint=f"{folder}/{backend}").epochs) == 2
    mlp.save(f"{folder}/{backend}.gd")
    assert (gd.load(f"{folder}/{backend}.gd").predict(x) == mlp.predict(x)).all()
assert main(["cache"]) == 0
"""
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
