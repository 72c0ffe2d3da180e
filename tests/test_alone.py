"""Each test draws its own random numbers: workers share the tests out anew in each run, by the time that they take."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
DRAWS = re.compile("default_rng|Random")
GENERATORS = {"np.random.default_rng", "random.Random", "np.random.RandomState"}


def shared_generators(tree):
    """Return the names of a module's generators, and of its classes', that its functions draw from."""
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    made = {
        target.id
        for scope in scopes
        for node in scope.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and ast.unparse(node.value.func) in GENERATORS
    }
    drawn = set()
    for function in ast.walk(tree) if made else ():
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            inside = list(ast.walk(function))
            own = {node.arg for node in inside if isinstance(node, ast.arg)}
            own |= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            drawn |= {node.id for node in inside if isinstance(node, ast.Name)} - own
            drawn |= {node.attr for node in inside if isinstance(node, ast.Attribute)}
    return made & drawn


def test_no_test_draws_from_what_others_draw_from():
    texts = {str(path.relative_to(TESTS)): path.read_text() for path in TESTS.rglob("*.py")}
    found = {path: shared_generators(ast.parse(text)) for path, text in texts.items() if DRAWS.search(text)}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_generator_that_is_shared_is_found():
    module = ast.parse("R = np.random.default_rng(0)\nX = R.random()\ndef f(): return R.random()")
    of_class = ast.parse("class T:\n R = random.Random(0)\n def f(self): return self.R.random()")
    at_import = ast.parse("R = np.random.default_rng(0)\nX = R.random()\ndef f(): return X")
    assert [shared_generators(tree) for tree in (module, of_class, at_import)] == [{"R"}, {"R"}, set()]
