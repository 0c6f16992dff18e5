"""The notebooks of the checkout, and what the tests read from them."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from diffad_lib.course.chapters import read_cards
from diffad_lib.runs.notebook import RUN_NOTEBOOK

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CARDED = list(read_cards(ROOT))
COURSE = [path for path in CARDED if path.name != RUN_NOTEBOOK]
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip", "raises-exception"}

every_notebook = pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: str(path.relative_to(FOLDER))
)
carded_notebook = pytest.mark.parametrize("path", CARDED, ids=lambda path: path.stem)
course_notebook = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def parameters(notebook: NotebookNode) -> dict[str, str]:
    """The parameters with their comments; each has to be an annotated literal.

    papermill's own list is not used: it passes over a line whose comment has an equals sign.
    """
    (cell,) = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    lines, found = cell.source.encode().splitlines(), {}
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.AnnAssign), f"{ast.unparse(node)} has no annotation"
        ast.literal_eval(node.value)
        rest = lines[node.end_lineno - 1][node.end_col_offset :].decode()
        found[node.target.id] = rest.strip().removeprefix("#").strip()
    return found


def printed(cell: NotebookNode) -> str:
    """Text and tables that a cell shows; nothing for a figure or an explorer."""
    streams = [output.text for output in cell.outputs if output.output_type == "stream"]
    bundles = [output.data for output in cell.outputs if "data" in output]
    return "".join([*streams, *(data["text/plain"] for data in bundles if not is_picture(data))])


def is_picture(data: NotebookNode) -> bool:
    shown = ("image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json")
    return any(kind in data for kind in shown) or "display.HTML object" in data["text/plain"]
