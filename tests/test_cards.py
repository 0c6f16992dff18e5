"""The links between notebooks and the READMEs' tables are those that the cards give."""

import shutil
import subprocess
import sys

import nbformat

from course_files import COURSE, ROOT, prose, read

CLAIMS = "It fails (claim 1a). Claim 10 holds, beside claims 2 and 4; no claim of ours."
CLAIMS_LINKED = (
    "It fails ([claim 1a](../docs/source_note.md#claim-1)). "
    "[Claim 10](../docs/source_note.md#claim-10) holds, beside "
    "[claim 2](../docs/source_note.md#claim-2) and [claim 4](../docs/source_note.md#claim-4); "
    "no claim of ours."
)


def test_links_and_tables_are_up_to_date():
    done = subprocess.run([sys.executable, "tools/cards.py", "--check"], cwd=ROOT, text=True)
    assert done.returncode == 0


def test_stale_links_and_tables_are_found_and_mended(tmp_path):
    for name in ("tools", "notebooks"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "tools" / "cards.py", tmp_path / "tools")
    for name, title in (("02_forward", "Forward"), ("03_reverse", "Reverse")):
        notebook = read(COURSE[0])
        notebook.metadata.diffad.title = title
        notebook.cells.append(nbformat.v4.new_markdown_cell(CLAIMS))
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    for readme in ("README.md", "README.ko.md"):
        (tmp_path / readme).write_text("<!-- course -->\n<!-- /course -->\n", encoding="utf-8")

    def cards(*options):
        command = [sys.executable, "tools/cards.py", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert cards("--check").returncode == 1
    assert cards().returncode == 0
    assert cards("--check").returncode == 0
    assert "[03 · Reverse](03_reverse.ipynb) →" in prose(
        read(tmp_path / "notebooks/02_forward.ipynb")
    )
    assert "← [02 · Forward](02_forward.ipynb)" in prose(
        read(tmp_path / "notebooks/03_reverse.ipynb")
    )
    assert CLAIMS_LINKED in prose(read(tmp_path / "notebooks/03_reverse.ipynb"))
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| [02 · Forward](notebooks/02_forward.ipynb) | " in readme
    notebook.metadata.diffad.minutes = "1"
    nbformat.write(notebook, tmp_path / "notebooks" / "03_reverse.ipynb")
    assert "03_reverse.ipynb: card, minutes" in cards("--check").stderr
