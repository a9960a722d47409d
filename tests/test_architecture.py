"""The floors of the package: imports only go down."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

PACKAGE = "adaptive_kernels"
FOLDER = Path(__file__).parents[1] / PACKAGE

# A room is a module or a sub-package. The package itself is the roof: its __init__
# imports what is public and is not checked, and only the top floor may import it.
FLOORS = (
    {"_array"},
    {"kernels", "_linalg"},
    {"theory", "sampling", "_starts", "_tuning"},
    {
        "_model",
        "_base",
        "_frame",
        "_inducing",
        "_regression",
        "_race",
        "_stacking",
        "_scaling_path",
        "_learning_curve",
        "_search",
        "_classification",
        "_classification_search",
        "_features",
        "_labels",
        "_ntk",
        "_spike_spectrum",
        "_row_blocks",
        "_target",
        "_modified_spectrum",
        "metrics",
        "datasets",
    },
    {"inspection"},
    {"_compare", "__main__", PACKAGE},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SEPARATE_ROOMS = {1}

ARRAY_LIBRARIES = {"array_api_compat", "cupy", "cupyx", "torch"}
MAY_PRINT = {"_compare", "__main__"}
MAX_LINES = 700


def module_of(path):
    parts = PurePosixPath(PACKAGE, path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    return module.split(".")[1] if "." in module else module


def imported_names(path, source):
    """Absolute dotted names of all that a file imports, also inside functions."""
    package = PurePosixPath(PACKAGE, path).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += (node.module,) if node.module else ()
            yield from (".".join([*base, alias.name]) for alias in node.names)


def arrows(sources):
    """Map each module to the modules of the package that it imports."""
    modules = {module_of(path) for path in sources} | {PACKAGE}

    def resolve(name):
        while name not in modules:
            name = name.rpartition(".")[0]
        return name

    return {
        module_of(path): {
            resolve(name)
            for name in imported_names(path, source)
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
        TopologicalSorter(arrows(sources)).prepare()
    except CycleError as error:
        yield "import cycle: " + " -> ".join(reversed(error.args[1]))


def one_file_names_array_libraries(sources):
    for path, source in sources.items():
        libraries = {name.split(".")[0] for name in imported_names(path, source)}
        if path != "_array.py" and libraries & ARRAY_LIBRARIES:
            yield f"{path} imports {sorted(libraries & ARRAY_LIBRARIES)}: use _array"


def only_the_command_line_prints(sources):
    for path, source in sources.items():
        if room_of(module_of(path)) in MAY_PRINT:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                yield f"{path}:{node.lineno} prints"


def files_are_short(sources):
    for path, source in sources.items():
        if (lines := len(source.splitlines())) > MAX_LINES:
            yield f"{path} has {lines} lines, more than {MAX_LINES}: split it"


RULES = (
    every_module_has_a_floor,
    imports_go_down,
    imports_have_no_cycle,
    one_file_names_array_libraries,
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
    assert list(files_are_short(sources_in(Path(__file__).parent))) == []


SOUND = {
    "__init__.py": "from ._regression import R",
    "_array.py": "import array_api_compat\nimport cupy as cp",
    "kernels/__init__.py": "from ._base import NNGP",
    "kernels/_base.py": "from .. import _array\nfrom ._recursion import nngp",
    "kernels/_recursion.py": "from .._array import xp\nimport numpy.linalg",
    "theory/__init__.py": "",
    "sampling.py": "from .theory import tree",
    "_regression.py": "from sklearn import base\nfrom .kernels._base import NNGP",
    "_search.py": "from ._regression import R",
    "_compare.py": "from . import R, __version__\nprint(R)",
    "__main__.py": "from adaptive_kernels._compare import compare",
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_accepts_a_sound_package(rule):
    assert list(rule(SOUND)) == []


@pytest.mark.parametrize(
    ("rule", "sources", "complaint"),
    [
        (every_module_has_a_floor, {"_new.py": ""}, "place '_new' in FLOORS"),
        (every_module_has_a_floor, {"new/_part.py": ""}, "place 'new' in FLOORS"),
        (imports_go_down, {"_array.py": "from .kernels import NNGP"}, "floor above"),
        (imports_go_down, {"_array.py": "from . import theory"}, "floor above"),
        (imports_go_down, {"_array.py": "import adaptive_kernels"}, "floor above"),
        (imports_go_down, {"_search.py": "from . import R"}, "floor above"),
        (
            imports_go_down,
            {"theory/__init__.py": "def late():\n    from .._search import S"},
            "adaptive_kernels.theory imports adaptive_kernels._search",
        ),
        (
            imports_go_down,
            {"kernels/_base.py": "from .._linalg import solve", "_linalg.py": ""},
            "another room of floor 1",
        ),
        (
            imports_have_no_cycle,
            {"_regression.py": "from ._search import S"},
            "adaptive_kernels._regression -> adaptive_kernels._search",
        ),
        (
            imports_have_no_cycle,
            {"kernels/_recursion.py": "from . import nngp"},
            "import cycle",
        ),
        (
            one_file_names_array_libraries,
            {"_search.py": "import torch.linalg"},
            "torch",
        ),
        (
            one_file_names_array_libraries,
            {"kernels/_array.py": "from cupyx.scipy import linalg"},
            "cupyx",
        ),
        (only_the_command_line_prints, {"_search.py": "x = 1\nprint(x)"}, ":2 prints"),
        (files_are_short, {"_search.py": "\n" * 701}, "701 lines"),
    ],
)
def test_rule_can_fail(rule, sources, complaint):
    (message,) = rule(SOUND | sources)
    assert complaint in message
