"""The house: its rooms, imports that only go down, and one name for each class."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a room imports only from rooms that stand before it.
ROOMS = {
    "gdkernels": (
        "errors",
        "logs",
        "system",
        "groups",
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
        "many",
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
    "gdkernels/tables": ("cells", "column", "table", "rows", "formats", "read", "features", "preparation", "__init__"),
    "gdkernels/tabular": (
        "settings",
        "model",
        "evaluating",
        "networks",
        "trials",
        "in_parts",
        "estimator",
        "fitted",
        "results",
        "description",
        "ranks",
        "in_memory",
        "out_of_core",
        "from_data",
        "predictor",
        "__init__",
    ),
    "backends/gdkernels_numpy": ("select", "namespace", "threads", "host", "__init__"),
    "backends/gdkernels_numba": (
        "cpu",
        "ir",
        "kernels",
        "vm",
        "plan",
        "compilation",
        "orders",
        "bytecode",
        "many",
        "executable",
        "products",
        "shards",
        "ceilings",
        "__init__",
    ),
    "backends/gdkernels_mpi": ("calls_apart", "__init__"),
    "backends/gdkernels_cupy": (
        "cuda",
        "graphs",
        "persistent",
        "many",
        "batches",
        "beside",
        "choice",
        "shards",
        "__init__",
    ),
}
MODULES_IN_THE_ROOT = 6


@cache
def nodes(path):
    """Return the nodes of a file's syntax tree, which several tests look at."""
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


@cache
def imports(path):
    """Return the modules that a file imports, in functions too, but not for type checkers alone, and the line."""
    unread = {
        id(inner)
        for node in nodes(path)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found = []
    for node in nodes(path):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            found += ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += ((f"{node.module}.{name.name}", node.lineno) for name in node.names)
    return found


def room_of(module, package, rooms):
    """Return the room that a module of `package` is in, or None for a module of another package."""
    if not f"{module}.".startswith(f"{package}."):
        return None
    name = module.removeprefix(package).lstrip(".").split(".")[0]
    return name if name in rooms else "__init__"


def package_of(folder):
    """Return the name by which the modules of a folder import each other."""
    return folder.removeprefix("backends/").replace("/", ".")


@pytest.mark.parametrize("folder", ROOMS)
def test_imports_only_go_down(folder):
    rooms, package = ROOMS[folder], package_of(folder)
    upward = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        here = rooms.index(parts[0])
        for module, line in imports(path):
            room = room_of(module, package, rooms)
            if room is not None and rooms.index(room) > here:
                upward.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize("folder", ROOMS)
def test_modules_import_each_other_in_no_circle(folder):
    package = package_of(folder)
    paths = {_name_of(path, ROOT / folder, package): path for path in sorted((ROOT / folder).rglob("*.py"))}
    needs = {
        name: {found for module, _ in imports(path) if (found := _module_in(module, paths)) not in (None, name)}
        for name, path in paths.items()
    }
    try:
        tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")


def _name_of(path, folder, package):
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join((package, *parts)).removesuffix(".__init__")


def _module_in(name, modules):
    """Return the module that a name such as ``package.module.function`` is in, or None for that of another package."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    paths = {path for folder in (*ROOMS, "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    for path in sorted(paths):
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 300
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice, "\n".join(f"{name}: {', '.join(found)}" for name, found in twice.items())


def test_the_core_imports_no_backend():
    for path in sorted((ROOT / "gdkernels").rglob("*.py")):
        for module, line in imports(path):
            assert not module.startswith(("gdkernels_", "numba", "cupy")), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("folder", ROOMS)
def test_each_room_says_what_belongs_there(folder):
    rooms = sorted((ROOT / folder).rglob("*/__init__.py"))
    for path in rooms if folder == "gdkernels" else (ROOT / folder / "__init__.py", *rooms):
        told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert told.count(".") >= 2, f"{path.relative_to(ROOT)} must say in two or three sentences what belongs there"


def test_few_modules_stand_in_the_root():
    assert len(list((ROOT / "gdkernels").glob("*.py"))) <= MODULES_IN_THE_ROOT
