"""A backend that somebody else wrote, installed as theirs would be."""

import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plugins import environment

# Asked without an import: setuptools, where pip is imported, leaves distutils to the standard library for the rest of
# the process, and then torch.compile, which imports setuptools, fails.
pytestmark = pytest.mark.skipif(
    not any(entry.name == "pip" for entry in pkgutil.iter_modules()), reason="needs pip to install the example package"
)

EXAMPLE = Path(__file__).with_name("example_backend")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with the example package installed in it."""
    folder = tmp_path_factory.mktemp("third-party")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site", source]
    subprocess.run([*pip, *options], check=True, env=environment(), timeout=300)
    return folder / "site"


def test_it_is_small():
    assert len((EXAMPLE / "gdkernels_loops.py").read_text().splitlines()) <= 45


def test_it_is_found_and_can_be_asked_for(installed):
    program = (
        "from gdkernels.dispatch import choosing, registry; found = registry.find()['loops'];"
        "print(found.source, found.devices, found.problem, choosing.choose('loops').device)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(installed), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "gdkernels-loops 1.0 ('cpu',) None cpu"


def run_suite(installed, folder, backend):
    """Run the one command from a folder that knows nothing of our settings."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "gdkernels.testing"]
    return subprocess.run(
        [*command, "-q", "-x", "-W", "error", "-p", "no:cacheprovider"],
        env=environment(installed, GDKERNELS_BACKEND=backend),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_it_passes_the_conformance_suite_with_one_command(installed, tmp_path):
    done = run_suite(installed, tmp_path, "loops")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_command_fails_for_a_name_that_is_not_there(installed, tmp_path):
    done = run_suite(installed, tmp_path, "lops")
    assert done.returncode == 1
    assert "unknown backend 'lops'. Did you mean 'loops'?" in done.stdout
