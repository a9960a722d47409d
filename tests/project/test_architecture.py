"""The floors of the package: imports only go down."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

PACKAGE = "adaptive_kernels"
FOLDER = Path(__file__).parents[2] / PACKAGE

# A room is a module or a sub-package. The package itself is the roof: its __init__
# imports what is public and is not checked, and only the top floor may import it.
FLOORS = (
    {"_sklearn", "_arrays", "_persistence"},
    {"kernels"},
    {"inference"},
    {"theory", "sampling", "metrics", "datasets"},
    {"estimators"},
    {"model_selection"},
    {"analysis"},
    {"inspection"},
    {"_cli", "__main__", "_skops_types", PACKAGE},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SEPARATE_ROOMS = {3}

ARRAY_LIBRARIES = {"array_api_compat", "cupy", "cupyx", "torch"}
MAY_PRINT = {"_cli", "__main__"}
MAX_LINES = 400
MAX_TEST_LINES = 700


def module_of(path):
    parts = PurePosixPath(PACKAGE, path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    return module.split(".")[1] if "." in module else module


class _WithoutTypes(ast.NodeTransformer):
    """Drops what only a type checker runs, which may go in circles."""

    def visit_If(self, node):
        if getattr(node.test, "id", "") == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def imported_names(path, source, types=True):
    """Absolute dotted names of all that a file imports, also inside functions."""
    package = PurePosixPath(PACKAGE, path).parent.parts
    tree = ast.parse(source)
    for node in ast.walk(tree if types else _WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += (node.module,) if node.module else ()
            yield from (".".join([*base, alias.name]) for alias in node.names)


def arrows(sources, types=True):
    """Map each module to the modules of the package that it imports."""
    modules = {module_of(path) for path in sources} | {PACKAGE}

    def resolve(name):
        while name not in modules:
            name = name.rpartition(".")[0]
        return name

    return {
        module_of(path): {
            resolve(name)
            for name in imported_names(path, source, types)
            if name.split(".")[0] == PACKAGE
        }
        for path, source in sources.items()
        if module_of(path) != PACKAGE
    }


def every_module_has_a_floor(sources):
    for module in map(module_of, sources):
        if room_of(module) not in FLOOR_OF:
            yield f"{module} has no floor: place {room_of(module)!r} in FLOORS"


def imports_go_down(sources):
    for module, targets in arrows(sources).items():
        for target in targets:
            here, there = room_of(module), room_of(target)
            if here == there or not {here, there} <= FLOOR_OF.keys():
                continue
            floor = FLOOR_OF[here]
            if FLOOR_OF[there] > floor:
                yield f"{module} imports {target}, from a floor above"
            elif FLOOR_OF[there] == floor and floor in SEPARATE_ROOMS:
                yield f"{module} imports {target}, from another room of floor {floor}"


def imports_have_no_cycle(sources):
    try:
        TopologicalSorter(arrows(sources, types=False)).prepare()
    except CycleError as error:
        yield "import cycle: " + " -> ".join(reversed(error.args[1]))


def one_room_names_array_libraries(sources):
    for path, source in sources.items():
        libraries = {name.split(".")[0] for name in imported_names(path, source)}
        used = sorted(libraries & ARRAY_LIBRARIES)
        if used and room_of(module_of(path)) != "_arrays":
            yield f"{path} imports {used}: use _arrays"


def one_file_names_private_parts_of_sklearn(sources):
    for path, source in sources.items():
        names = {
            name
            for name in imported_names(path, source)
            if name.startswith("sklearn.") and "._" in name
        }
        if names and path != "_sklearn.py":
            yield f"{path} imports {sorted(names)}: use _sklearn"


def _attributes_called(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            of_self = isinstance(owner, ast.Name) and owner.id in {"self", "cls"}
            of_super = isinstance(owner, ast.Call)
            if not (of_self or of_super):
                yield node.func.attr, node.lineno


def private_methods(sources):
    """Map the name of each private method to the floors of the classes that have it."""
    floors = {}
    for path, source in sources.items():
        floor = FLOOR_OF.get(room_of(module_of(path)), 0)
        for owner in ast.walk(ast.parse(source)):
            if isinstance(owner, ast.ClassDef):
                for node in owner.body:
                    if isinstance(node, ast.FunctionDef) and is_private(node.name):
                        floors.setdefault(node.name, set()).add(floor)
    return floors


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


def private_calls_do_not_go_up(sources):
    """No private method is called whose classes are all on higher floors."""
    floors = private_methods(sources)
    for path, source in sources.items():
        here = FLOOR_OF.get(room_of(module_of(path)), 0)
        for name, line in _attributes_called(ast.parse(source)):
            if name in floors and min(floors[name]) > here:
                yield f"{path}:{line} calls {name}() of a class on a floor above"


def only_the_command_line_prints(sources):
    for path, source in sources.items():
        if room_of(module_of(path)) in MAY_PRINT:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                yield f"{path}:{node.lineno} prints"


def files_are_short(sources, limit=MAX_LINES):
    for path, source in sources.items():
        if (lines := len(source.splitlines())) > limit:
            yield f"{path} has {lines} lines, more than {limit}: split it"


RULES = (
    every_module_has_a_floor,
    imports_go_down,
    imports_have_no_cycle,
    one_room_names_array_libraries,
    one_file_names_private_parts_of_sklearn,
    private_calls_do_not_go_up,
    only_the_command_line_prints,
    files_are_short,
)


def sources_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


@pytest.mark.parametrize("rule", RULES)
def test_package_obeys(rule):
    sources = sources_in(FOLDER)
    assert "__init__.py" in sources
    assert list(rule(sources)) == []


def test_test_files_are_short():
    sources = sources_in(Path(__file__).parents[1])
    assert list(files_are_short(sources, MAX_TEST_LINES)) == []


SOUND = {
    "__init__.py": "from .estimators.regressor import R",
    "_arrays/__init__.py": "",
    "_arrays/namespaces.py": "import array_api_compat\nimport cupy as cp",
    "kernels/__init__.py": "from ._base import NNGP",
    "kernels/_base.py": "from .. import _arrays\nfrom ._recursion import nngp",
    "kernels/_recursion.py": "from .._arrays.namespaces import xp\nimport numpy.linalg",
    "inference/__init__.py": "",
    "theory/__init__.py": "",
    "sampling.py": "from .inference import evidence",
    "estimators/__init__.py": "",
    "estimators/regressor.py": "from sklearn import base\n"
    "from ..kernels._base import NNGP\n"
    "class R:\n    def _fit(self):\n        self._fit()",
    "model_selection/__init__.py": "",
    "model_selection/search.py": "from ..estimators.regressor import R\nR()._fit()",
    "_cli.py": "from . import R, __version__\nprint(R)",
    "__main__.py": "from adaptive_kernels._cli import compare",
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_accepts_a_sound_package(rule):
    assert list(rule(SOUND)) == []


ARRAYS = "_arrays/namespaces.py"


@pytest.mark.parametrize(
    ("rule", "sources", "complaint"),
    [
        (every_module_has_a_floor, {"_new.py": ""}, "place '_new' in FLOORS"),
        (every_module_has_a_floor, {"new/_part.py": ""}, "place 'new' in FLOORS"),
        (imports_go_down, {ARRAYS: "from ..kernels import NNGP"}, "floor above"),
        (imports_go_down, {ARRAYS: "from .. import theory"}, "floor above"),
        (imports_go_down, {ARRAYS: "import adaptive_kernels"}, "floor above"),
        (imports_go_down, {"model_selection/search.py": "from .. import R"}, "above"),
        (
            imports_go_down,
            {"theory/__init__.py": "def late():\n    from ..model_selection import S"},
            "adaptive_kernels.theory imports adaptive_kernels.model_selection",
        ),
        (
            imports_go_down,
            {"sampling.py": "from .theory import tree"},
            "another room of floor 3",
        ),
        (
            imports_have_no_cycle,
            {"estimators/regressor.py": "from ..model_selection.search import S"},
            "adaptive_kernels.estimators.regressor -> "
            "adaptive_kernels.model_selection.search",
        ),
        (
            imports_have_no_cycle,
            {"kernels/_recursion.py": "from . import nngp"},
            "import cycle",
        ),
        (
            one_room_names_array_libraries,
            {"model_selection/search.py": "import torch.linalg"},
            "torch",
        ),
        (
            one_room_names_array_libraries,
            {"kernels/_arrays.py": "from cupyx.scipy import linalg"},
            "cupyx",
        ),
        (
            one_file_names_private_parts_of_sklearn,
            {"model_selection/search.py": "from sklearn.base import _fit_context"},
            "_fit_context",
        ),
        (
            private_calls_do_not_go_up,
            {"inference/search.py": "def run(model):\n    model._fit()"},
            "inference/search.py:2 calls _fit()",
        ),
        (
            only_the_command_line_prints,
            {"model_selection/search.py": "x = 1\nprint(x)"},
            ":2 prints",
        ),
        (files_are_short, {"model_selection/search.py": "\n" * 401}, "401 lines"),
    ],
)
def test_rule_can_fail(rule, sources, complaint):
    (message,) = rule(SOUND | sources)
    assert complaint in message
