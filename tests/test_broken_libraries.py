"""Libraries that are installed and broken: auto falls back and says why; what was named fails in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plugins import environment

from gdkernels.system.libraries import first_line, lack_of

REASON = "needs NumPy 2.3 or less"
TEXTS = {
    "ImportError": f"raise ImportError({REASON!r})",
    "a binary that does not fit": f"raise ValueError('numpy.dtype size changed\\n{REASON}')",
    "a module that it lacks": "import a_module_that_is_not_there",
}
FIT = """
import sys
import numpy as np, gdkernels as gd
X = np.random.default_rng(0).random((64, 3))
history = gd.MLP([3, 4, 1], seed=0, backend=sys.argv[1]).fit(X, X[:, :1], epochs=2)
print(history.backend, history.origin)
"""


@pytest.fixture
def broken(tmp_path):
    """Return what makes the environment of a process in which a package raises at its import."""

    def make(package, text=TEXTS["ImportError"], **variables):
        folder = tmp_path / f"broken-{package}"
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(text)
        return environment(folder, GDKERNELS_CACHE=str(tmp_path / "cache"), **variables)

    return make


def run(*arguments, env, cwd=None):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, env=env, cwd=cwd
    )


def command(*arguments, env, cwd=None):
    """Run the command, and return its exit code and its one line on stderr."""
    done = run("-m", "gdkernels", *arguments, env=env, cwd=cwd)
    assert done.stderr.count("\n") <= 1, done.stderr
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("text", TEXTS)
def test_a_broken_llvmlite(broken, text):
    env = broken("llvmlite", TEXTS[text])
    auto = run("-c", FIT, "auto", env=env)
    assert auto.stdout == "numpy definition\n", auto.stderr
    named = run("-c", FIT, "numba", env=env).stderr.splitlines()[-1]
    assert named.startswith("gdkernels.errors.BackendError: backend 'numba' cannot run here: it takes")
    assert "llvmlite, which is installed but cannot be imported" in named
    assert named.endswith('run pip install --upgrade "gdkernels[numba]"')


@pytest.mark.parametrize("variable", ["NUMBA_DISABLE_JIT=1", "NUMBA_NUM_THREADS=0"])
def test_the_engine_needs_nothing_of_numba(broken, variable):
    """Its name is of the time when Numba compiled its interpreter. The cache is empty here."""
    done = run("-c", FIT, "numba", env=broken("numba", **dict([variable.split("=")])))
    assert (done.stdout, done.stderr) == ("numba compiled\n", "")


def test_the_tools_say_so_too(broken):
    env = broken("llvmlite")
    backends = run("-m", "gdkernels", "backends", env=env)
    assert backends.returncode == 0, backends.stderr
    assert f"it takes llvmlite, which is installed but cannot be imported (ImportError: {REASON})" in backends.stdout
    assert "numpy  cpu  PASS" in backends.stdout
    doctor = run("-m", "gdkernels", "doctor", env=env)
    assert "PROBLEM  default" in doctor.stdout
    assert "Traceback" not in doctor.stderr


def test_a_broken_polars_is_not_a_damaged_file(broken, tmp_path):
    import polars

    polars.DataFrame({"a": [1.0, 2, 3] * 10, "y": [1.0, 2, 4] * 10}).write_parquet(tmp_path / "t.parquet")
    for text in TEXTS.values():
        env = broken("polars", text)
        code, error = command("describe", tmp_path / "t.parquet", "--target", "y", env=env)
        assert code == 2
        assert "t.parquet takes polars, which is installed but cannot be imported (" in error
        assert "damaged" not in error
        assert error.endswith("run pip install --upgrade polars")
        shutil.rmtree(tmp_path / "broken-polars")


@pytest.mark.parametrize(
    ("package", "arguments", "mend"),
    [
        ("polars", ("predict", "m", "penguins", "--out", "p.parquet"), "pip install --upgrade polars"),
        ("matplotlib", ("plot", "slope", "--out", "s.png"), 'pip install --upgrade "gdkernels[plot]"'),
        ("sklearn", ("describe", "digits"), 'pip install --upgrade "gdkernels[sklearn]"'),
        ("onnx", ("export", "m", "m.onnx"), "pip install --upgrade 'gdkernels[onnx]'"),
    ],
)
def test_other_libraries(broken, tmp_path, package, arguments, mend):
    if "m" in arguments:
        train = ("train", "penguins", "--epochs", "2", "--hidden", "3", "--backend", "numpy", "--out", "m")
        assert command(*train, env=environment(), cwd=tmp_path) == (0, "")
    code, error = command(*arguments, env=broken(package), cwd=tmp_path)
    assert code == 2
    assert f"which is installed but cannot be imported (ImportError: {REASON}): run {mend}" in error
    assert "not installed" not in error


def test_estimators_without_a_sound_scikit_learn(broken):
    error = run("-c", "import gdkernels.estimators", env=broken("sklearn")).stderr.splitlines()[-1]
    assert error.startswith("ImportError: gdkernels.estimators needs scikit-learn, which is installed but cannot be")


def test_a_broken_progress_bar_ends_nothing(broken):
    code = FIT.replace("epochs=2", "epochs=2, progress=True")
    assert run("-c", code, "numpy", env=broken("tqdm")).stdout == "numpy definition\n"


def test_missing_and_broken_are_told_apart():
    missing = ModuleNotFoundError("No module named 'polars'", name="polars")
    assert lack_of("polars.io", missing, "pip install polars") == "which is not installed: run pip install polars"
    other = ModuleNotFoundError("No module named 'narwhals'", name="narwhals")
    assert lack_of("polars", other, "pip install polars").startswith("which is installed but cannot be imported")
    assert first_line(ValueError("\n  \nsecond\nthird")) == "ValueError: second"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 201


def test_polars_that_reads_nothing_here_is_said(monkeypatch, tmp_path):
    from gdkernels.errors import InputError
    from gdkernels.tables.formats import frames

    monkeypatch.setattr(frames, "command", lambda: [sys.executable, "-c", "raise SystemExit(3)"])
    monkeypatch.setattr(frames, "_idle", {})
    path = Path(tmp_path / "t.parquet")
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="ends before it begins, with exit code 3; .* shows why"):
        list(frames.read_frame(path, 10))
    assert os.path.exists(path)


@pytest.mark.parametrize(("arguments", "code"), [(("compare", "A.json", "B.json"), 70), (("backends",), 1)])
@pytest.mark.parametrize("text", TEXTS)
def test_a_broken_numpy_is_a_failure_and_no_verdict(broken, arguments, code, text):
    found, said = command(*arguments, env=broken("numpy", TEXTS[text]))
    assert found == code
    assert said.startswith("gdkernels: cannot start: ")
    assert said.endswith("mend the installation of what it names")
