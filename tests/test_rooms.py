"""The rooms of the library, in the order of docs/design.md: imports go down, names stay inside."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.methods import method_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "diffad_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
MOST_LINES, MOST_CORE_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 300, 6500, 60, 7
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


def imports(path: Path) -> list[str]:
    """Rooms that a module imports from."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "diffad_lib":
            found += [f"diffad_lib.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name.split(".")[1] for name in found if name.startswith("diffad_lib.")]


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            node.body = body[1:] or [ast.Pass()]
    return tree


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef))


def test_the_page_lists_every_room_and_no_other() -> None:
    there = {room_of(path) for path in MODULES} - {"__init__"}
    assert set(ORDER) == there
    assert sum(map(len, rooms())) == len(ORDER), "a room stands twice on the page"


@ids
def test_imports_go_down_the_rooms_only(path: Path) -> None:
    name = room_of(path)
    for imported in imports(path) if name != "__init__" else ():
        upward = ORDER[imported] > ORDER[name] or (
            ORDER[imported] == ORDER[name] and imported != name and is_circle(imported, name)
        )
        assert not upward, f"{path.name} imports {imported}"


def is_circle(first: str, second: str) -> bool:
    """True if `first`, a room of the same floor, imports `second` as well."""
    return any(second in imports(path) for path in MODULES if room_of(path) == first)


@ids
def test_a_method_is_named_in_its_room_and_in_the_school_only(path: Path) -> None:
    if room_of(path) not in ("methods", "course"):
        assert_names_none(path, method_names())


@ids
def test_a_dataset_is_named_in_its_room_and_in_the_mini_data_only(path: Path) -> None:
    if room_of(path) not in ("datasets", "mini"):
        assert_names_none(path, [key for key in CATALOG if key != "custom"])
        assert '"custom"' not in path.read_text(encoding="utf-8")


def assert_names_none(path: Path, names: list[str]) -> None:
    code = ast.unparse(without_docstrings(parsed(path))).lower()
    assert [name for name in names if re.search(rf"(?<![a-z]){name}(?![a-z])", code)] == []


def test_no_other_module_of_a_method_knows_another_method() -> None:
    for path in (PACKAGE / "methods").rglob("*.py"):
        own = path.relative_to(PACKAGE / "methods").parts[0].removesuffix(".py")
        modules = re.findall(r"diffad_lib\.methods\.(\w+)", path.read_text(encoding="utf-8"))
        assert not {*modules} & {*method_names()} - {own}, path


@ids
def test_files_and_functions_are_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < MOST_LINES or room_of(path) == "course"  # two chapters of exercises
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        is_network = function.name == "__init__" and room_of(path) == "networks"
        assert length <= MOST_FUNCTION_LINES or is_network, f"{function.name}: {length} lines"


@ids
def test_parameter_lists_are_short(path: Path) -> None:
    for function in functions(path) if room_of(path) != "cli" else ():
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        named = [one.arg for one in given if one.arg not in ("self", "cls")]
        assert len(named) <= MOST_PARAMETERS, f"{function.name}: {named}"


def test_the_library_without_the_school_stays_small() -> None:
    core = [path for path in MODULES if room_of(path) not in SCHOOL]
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in core]
    assert sum(lines) <= MOST_CORE_LINES
