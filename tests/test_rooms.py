"""The house: which rooms there are, and that imports only go down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a room imports only from rooms that stand before it.
ROOMS = {
    "gdkernels": (
        "errors",
        "logs",
        "system",
        "randomness",
        "metrics",
        "graph",
        "definition",
        "backend",
        "checking",
        "lowering",
        "files",
        "dispatch",
        "tables",
        "data",
        "network",
        "interchange",
        "training",
        "models",
        "tabular",
        "loading",
        "estimators",
        "plots",
        "diagnostics",
        "testing",
        "__init__",
        "bench",
        "cli",
        "__main__",
    ),
    "backends/gdkernels_numpy": ("select", "namespace", "threads", "__init__"),
    "backends/gdkernels_numba": (
        "cpu",
        "ir",
        "kernels",
        "vm",
        "compilation",
        "plan",
        "bytecode",
        "executable",
        "ceilings",
        "__init__",
    ),
    "backends/gdkernels_cupy": ("cuda", "graphs", "persistent", "choice", "__init__"),
}
MODULES_IN_THE_ROOT = 6


def imports(path):
    """Yield the modules that a file imports, in functions too, but not for type checkers alone, and the line."""
    tree = ast.parse(path.read_text("utf-8"))
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((f"{node.module}.{name.name}", node.lineno) for name in node.names)


def room_of(module, package, rooms):
    """Return the room that a module of `package` is in, or None for a module of another package."""
    first, _, rest = module.partition(".")
    if first != package:
        return None
    name = rest.split(".")[0]
    return name if name in rooms else "__init__"


@pytest.mark.parametrize("folder", ROOMS)
def test_imports_only_go_down(folder):
    rooms, package = ROOMS[folder], folder.rpartition("/")[2]
    upward = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        here = rooms.index(parts[0])
        for module, line in imports(path):
            room = room_of(module, package, rooms)
            if room is not None and rooms.index(room) > here:
                upward.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not upward, "\n".join(upward)


def test_the_core_imports_no_backend():
    for path in sorted((ROOT / "gdkernels").rglob("*.py")):
        for module, line in imports(path):
            assert not module.startswith(("gdkernels_", "numba", "cupy")), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("folder", ROOMS)
def test_each_room_says_what_belongs_there(folder):
    for path in sorted((ROOT / folder).rglob("*/__init__.py")):
        told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert told.count(".") >= 2, f"{path.relative_to(ROOT)} must say in two or three sentences what belongs there"


def test_few_modules_stand_in_the_root():
    assert len(list((ROOT / "gdkernels").glob("*.py"))) <= MODULES_IN_THE_ROOT
