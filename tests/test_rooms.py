"""A module imports only from its own room and from rooms before it (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "diffad_lib"
ROOMS = (
    {"errors", "files", "types"},
    {"datasets"},
    {"synthesis"},
    {"diffusion"},
    {"losses", "metrics"},
    {"models"},
    {"batches", "checkpoint", "training", "evaluation"},
    {"runs", "plots"},
    {"explorers"},
    {"exercises"},
    {"cli"},
)
ORDER = {name: index for index, room in enumerate(ROOMS) for name in room}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(dotted: str) -> str:
    return dotted.split(".")[1]


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("diffad_lib.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_rooms_only(path: Path) -> None:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if name == "__init__":
        return
    for imported in imports(path):
        assert ORDER[room_of(imported)] <= ORDER[name], f"{path.name} imports {imported}"


def test_the_training_loop_and_the_evaluation_know_no_method() -> None:
    for module in ("training", "checkpoint", "evaluation", "batches"):
        text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8").lower()
        code = ast.unparse(_without_docstrings(ast.parse(text)))
        for method in ("draem", "diffusionad", "autoencoder"):
            assert method not in code, f"{module}.py names {method}"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            node.body = body[1:] or [ast.Pass()]
    return tree
