"""JupyterLab on the learner's own copy of the notebooks, so that those of git stay as they are."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary

from diffad_lib.files import sha256_of, write_json, write_text
from diffad_lib.runs.facts import project_root

COPIES = "work"  # beside notebooks/, so that links such as ../docs lead to the same files
_RECORD = ".copied.json"  # of every notebook: SHA-256 of the course's and of its copy as written


def open_lab(options: Sequence[str]) -> None:
    """Bring the copies up to date and become JupyterLab on the first one; options are its own."""
    root = project_root()
    outdated = copy_notebooks(root / "notebooks", root / COPIES)
    print(f"{COPIES}/: your copy of the notebooks; what you change there is kept")
    if outdated:
        names = ", ".join(str(path.relative_to(root)) for path in outdated)
        print(f"yours is kept, though the course has a newer one (delete yours for it): {names}")
    sys.stdout.flush()
    os.execv(sys.executable, lab_command(root, options))


def lab_command(root: Path, options: Sequence[str]) -> list[str]:
    """JupyterLab in the checkout, on the first copy; as root it starts only if it is told to."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    as_root = ["--allow-root"] if os.geteuid() == 0 else []
    return [*command, *as_root, *options, str(min((root / COPIES).glob("*.ipynb")))]


def copy_notebooks(source: Path, target: Path) -> list[Path]:
    """Copy chapters and solutions to `target`; gives the copies that stay older than `source`.

    A copy that is not as it was written here is the learner's and is left alone; the others follow
    `source`. JupyterLab trusts what is written here, so that its sliders work before a first run.
    Raises DiffadError for a file that cannot be written.
    """
    record = target / _RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    outdated = []
    with NotebookNotary() as notary:
        for path in sorted([*source.glob("*.ipynb"), *source.glob("solutions/*.ipynb")]):
            name, course = str(path.relative_to(source)), sha256_of(path)
            copy, before = target / name, known.get(name, {})
            if copy.exists() and sha256_of(copy) != before.get("copy"):
                outdated += [copy] * (course != before.get("course"))
                continue
            notebook = nbformat.read(path, as_version=4)
            # JupyterLab would mark a notebook of another Python as modified.
            notebook.metadata.language_info.version = platform.python_version()
            text = nbformat.writes(notebook) + "\n"
            if not copy.exists() or copy.read_text(encoding="utf-8") != text:
                write_text(copy, text)
            known[name] = {"course": course, "copy": sha256_of(copy)}
            write_json(record, known)
            notary.sign(notebook)
    return outdated
