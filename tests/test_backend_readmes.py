"""The tables in the READMEs of the backends say what the code declares.

``python tests/test_backend_readmes.py`` writes them anew.
"""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
from gdkernels_cupy.graphs.operations import Operation

ROOT = Path(__file__).parents[1]
BACKENDS = ROOT / "backends"
TABLE = re.compile(r"(<!-- table: from the code -->\n).*?(<!-- end of table -->)", re.DOTALL)


def first_sentence(kind):
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text)[0].replace("|", "\\|")


def rows(kinds, fields_of):
    """Return a table with a row for each class: its name, what it does, its fields."""
    lines = ["| name | what it does | fields |", "|---|---|---|"]
    for kind in kinds:
        fields = ", ".join(f"`{name}`" for name in fields_of(kind)) or "none"
        lines.append(f"| `{kind.__name__}` | {first_sentence(kind)} | {fields} |")
    return "\n".join(lines) + "\n"


def instructions():
    from gdkernels_numba.vm.instructions import INSTRUCTIONS

    return rows(INSTRUCTIONS, lambda kind: kind._fields)


def device_operations():
    return rows(get_args(Operation), lambda kind: [field.name for field in dataclasses.fields(kind)])


TABLES = {"gdkernels_numba": instructions, "gdkernels_cupy": device_operations}


def with_table(name):
    """Return the README of a backend with its table as it should be."""
    text = (BACKENDS / name / "README.md").read_text("utf-8")
    assert TABLE.search(text), f"{name}/README.md has no place for the table"
    return TABLE.sub(lambda found: found[1] + TABLES[name]() + found[2], text)


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_code_declares(name):
    if name == "gdkernels_numba":
        pytest.importorskip("llvmlite", reason="the CPU engine's instructions need llvmlite")
    assert (BACKENDS / name / "README.md").read_text("utf-8") == with_table(name)


@pytest.mark.parametrize("name", [*TABLES, "gdkernels_numpy"])
def test_every_file_that_a_readme_names_is_there(name):
    text = (BACKENDS / name / "README.md").read_text("utf-8")
    for path in re.findall(r"`([\w/]+\.(?:py|cu|cuh|md)|\w+/)`", text):
        assert (BACKENDS / name / path).exists() or (ROOT / path).exists(), f"{name}/README.md names {path}"


if __name__ == "__main__":
    for backend in TABLES:
        (BACKENDS / backend / "README.md").write_text(with_table(backend), "utf-8")
