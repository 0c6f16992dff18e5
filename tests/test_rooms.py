"""The rooms of the library, in the order of docs/design.md: imports go down, names stay inside."""

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from course_files import ROOT
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.methods import method_names

PACKAGE = ROOT / "diffad_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 300, 60, 7
MOST_CORE_LINES = 13600  # of what does not grow when a method, a dataset or a chapter is added
SCHOOL = ("course", "mini")


def rooms() -> list[set[str]]:
    """The second column of the table "The library, from the ground up"."""
    table = DESIGN.split("## The library, from the ground up", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    return [set(re.findall(r"`([a-z_]+)(?:\.py|/)?`", row)) for row in rows]


ORDER = {name: index for index, room in enumerate(rooms()) for name in room}
ids = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> list[str]:
    """Dotted names that a module imports, in functions too; a relative import is an error."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: {ast.unparse(node)} is relative"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def upward_imports(room: str, tree: ast.Module) -> list[str]:
    """Rooms above its own that a module imports from."""
    used = [name.split(".")[1] for name in imports(tree) if name.startswith("diffad_lib.")]
    return [name for name in used if ORDER[name] > ORDER[room]]


def import_graph(package: Path) -> dict[str, set[str]]:
    """For each module of a package those that have to be loaded before it."""
    paths = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in package.rglob("*.py")
    }
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    return {
        name: {part for used in imports(parsed(path)) for part in loaded(used, name, paths)}
        for name, path in paths.items()
    }


def loaded(imported: str, importer: str, modules: Mapping[str, Path]) -> list[str]:
    """Modules that an import loads: the one that is named, before it the packages around it.

    Packages around the importer do not count: Python has begun with them before.
    """
    parts = imported.split(".")
    found = [".".join(parts[: end + 1]) for end in range(len(parts))]
    found = [name for name in found if name in modules]
    return [
        name for name in found if name == found[-1] or not f"{importer}.".startswith(f"{name}.")
    ]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first one again at the end; [] if none do."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def without_docstrings(tree: ast.Module) -> ast.Module:
    with_docstring = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, with_docstring) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def named(names: list[str], tree: ast.Module) -> list[str]:
    """Those of the names that stand in code, docstrings and comments left out."""
    code = ast.unparse(without_docstrings(tree)).lower()
    return [name for name in names if re.search(rf"(?<![a-z]){name}(?![a-z])", code)]


def core_lines(package: Path) -> int:
    """Lines of a package without the files that are added with a method, dataset or chapter."""
    core = [path for path in package.rglob("*.py") if is_core(path.relative_to(package).parts)]
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in core)


def is_core(parts: tuple[str, ...]) -> bool:
    if parts[0] == "methods":
        return parts[1:] in (("__init__.py",), ("method.py",))
    if parts[:2] == ("datasets", "catalog"):
        return parts[2:] == ("__init__.py",)
    return parts[0] not in SCHOOL


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef))


def test_the_page_lists_every_room_and_no_other() -> None:
    there = {room_of(path) for path in MODULES} - {"__init__"}
    assert set(ORDER) == there
    assert sum(map(len, rooms())) == len(ORDER), "a room stands twice on the page"


@ids
def test_imports_go_down_the_rooms_only(path: Path) -> None:
    if room_of(path) == "__init__":
        assert imports(parsed(path)) == []
    else:
        assert upward_imports(room_of(path), parsed(path)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = import_graph(PACKAGE)
    assert "diffad_lib.errors" in graph["diffad_lib.methods.method"]  # it sees the imports
    assert circle(graph) == []


@ids
def test_a_method_is_named_in_its_room_and_in_the_school_only(path: Path) -> None:
    if room_of(path) not in ("methods", "course"):
        assert named(method_names(), parsed(path)) == []


@ids
def test_a_dataset_is_named_in_its_room_and_in_the_mini_data_only(path: Path) -> None:
    if room_of(path) not in ("datasets", "mini"):
        assert named([key for key in CATALOG if key != "custom"], parsed(path)) == []
        assert '"custom"' not in path.read_text(encoding="utf-8")


def test_no_other_module_of_a_method_knows_another_method() -> None:
    for path in (PACKAGE / "methods").rglob("*.py"):
        own = path.relative_to(PACKAGE / "methods").parts[0].removesuffix(".py")
        used = [name.split(".") for name in imports(parsed(path))]
        modules = {parts[2] for parts in used if parts[:2] == ["diffad_lib", "methods"]}
        assert not modules & {*method_names()} - {own}, path


@ids
def test_files_and_functions_are_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < MOST_LINES
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        is_network = function.name == "__init__" and room_of(path) == "networks"
        assert length <= MOST_FUNCTION_LINES or is_network, f"{function.name}: {length} lines"


@ids
def test_parameter_lists_are_short(path: Path) -> None:
    for function in functions(path) if room_of(path) != "cli" else ():
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        names = [one.arg for one in given if one.arg not in ("self", "cls")]
        assert len(names) <= MOST_PARAMETERS, f"{function.name}: {names}"


def test_the_library_without_what_is_added_stays_small() -> None:
    assert core_lines(PACKAGE) <= MOST_CORE_LINES


# The checks themselves, on a few lines that break a rule.


@pytest.mark.parametrize("source", ["from . import cli", "def f():\n    from .cli import main"])
def test_a_relative_import_is_an_error(source: str) -> None:
    with pytest.raises(AssertionError, match=r"from \.(cli)? import \w+ is relative"):
        upward_imports("files", ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import diffad_lib.cli",
        "from diffad_lib import cli",
        "from diffad_lib.cli import main",
        "def f():\n    if f:\n        from diffad_lib.cli import main",
    ],
)
def test_an_upward_import_is_found(source: str) -> None:
    assert upward_imports("files", ast.parse(source)) == ["cli"]
    assert upward_imports("cli", ast.parse(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        'if cli: print("draem")',
        'for x in y: f("draem")',
        'print("draem")',
        'def f():\n    print("draem")',
        'class A:\n    """A class."""\n    name = "draem"',
        "import DRAEM",
    ],
)
def test_a_name_in_code_is_found(source: str) -> None:
    assert named(["draem", "autoencoder"], ast.parse(source)) == ["draem"]


@pytest.mark.parametrize(
    "source",
    [
        '"""Such as draem."""',
        'def f():\n    """Such as draem."""',
        'class A:\n    """Such as draem."""\n    async def f(): "draem"',
        "f()  # such as draem",
        "draemon = 1",
    ],
)
def test_a_name_in_a_docstring_or_a_comment_does_not_count(source: str) -> None:
    assert named(["draem"], ast.parse(source)) == []


def write_package(folder: Path, files: Mapping[str, str]) -> Path:
    package = folder / "diffad_lib"
    for name, text in {"__init__.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("files", "length"),
    [
        (
            {
                "a.py": "import diffad_lib.b",
                "b.py": "from diffad_lib import c",
                "c.py": "def f():\n    from diffad_lib.a import g",
            },
            3,
        ),
        ({"a.py": "from diffad_lib.b import x", "b.py": "from diffad_lib.a import y"}, 2),
        ({"p/__init__.py": "from diffad_lib.p.a import x", "p/a.py": "import diffad_lib.p"}, 2),
        (  # to load p.b, p is loaded first
            {
                "a.py": "from diffad_lib.p.b import x",
                "p/__init__.py": "import diffad_lib.p.c",
                "p/b.py": "",
                "p/c.py": "from diffad_lib.a import y",
            },
            3,
        ),
    ],
)
def test_a_circle_is_found(files: dict[str, str], length: int, tmp_path: Path) -> None:
    ring = circle(import_graph(write_package(tmp_path, files)))
    assert len(ring) == length + 1 and ring[0] == ring[-1]


def test_what_is_no_circle_is_none(tmp_path: Path) -> None:
    """A package and its modules; a module found by importlib; two ways to the same module."""
    files = {
        "p/__init__.py": "from diffad_lib.p import a\nfrom diffad_lib.p.b import x",
        "p/a.py": "import diffad_lib.p.b",
        "p/b.py": "from diffad_lib.c import y",
        "c.py": "import importlib\nx = importlib.import_module('diffad_lib.p')",
        "d.py": "from diffad_lib.p import x\nfrom diffad_lib.c import y",
    }
    graph = import_graph(write_package(tmp_path, files))
    assert graph["diffad_lib.d"] == {"diffad_lib.p", "diffad_lib.c"}
    assert circle(graph) == []


def test_only_files_that_are_not_added_count_as_lines(tmp_path: Path) -> None:
    added = ["methods/a.py", "methods/b/__init__.py", "methods/b/method.py", "mini/a.py"]
    added += ["datasets/catalog/a.py", "course/exercises/chapter_09.py"]
    kept = ["methods/__init__.py", "methods/method.py", "datasets/catalog/__init__.py"]
    kept += ["datasets/images.py", "training.py", "runs/method.py"]
    files = dict.fromkeys(added, "x = 1\n" * 100) | dict.fromkeys(kept, "x = 1\n")
    assert core_lines(write_package(tmp_path, files)) == len(kept)
