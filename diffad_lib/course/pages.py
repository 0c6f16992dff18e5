"""Executed notebooks, and a summary of them, as web pages that need no network and no kernel."""

import re
from collections.abc import Collection
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from diffad_lib.files import write_text

# $$...$$ may span lines, $...$ may not. Code comes first: what stands in it is no formula.
_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL
)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_HARMLESS = {"text/plain", "image/png", "image/jpeg"}
_LEFT_OUT = "Left out, because this notebook was not executed now: it may hold scripts."
_NO_SCRIPTS = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "font-src data:; style-src 'unsafe-inline'\">"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def write_notebook_page(
    notebook: Path, page: Path, linked: Collection[str] = (), *, trusted: bool
) -> None:
    """Write an executed notebook as one HTML file.

    Formulas become MathML, which browsers draw by themselves; a sentence stands for a live widget.
    Links to notebooks whose stems are in `linked` lead to their pages. The page of a notebook that
    is not `trusted` has text and pictures only, and a browser runs no script in it.
    """
    content = nbformat.read(notebook, as_version=4)
    if not trusted:
        _leave_out_html(content)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(_with_page_links(cell.source, linked))
        for output in cell.get("outputs", ()):
            if _WIDGET in output.get("data", ()):
                output.data = {"text/plain": "This part is live in JupyterLab only."}
    content.metadata.pop("widgets", None)
    # Empty addresses: nbconvert would load these scripts from servers.
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jupyter_widgets_base_url="")
    body, _ = exporter.from_notebook_node(content)
    body = re.sub(r'<script src="">\s*</script>', "", body)
    write_text(page, body if trusted else body.replace("<head>", f"<head>{_NO_SCRIPTS}", 1))


def with_mathml(markdown: str) -> str:
    """Markdown whose TeX formulas are MathML; code stays as it is."""

    def formula(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        if match["inline"]:
            return convert(match["inline"])
        # On one line, because a blank line would end the block of HTML.
        return convert(" ".join(match["block"].split()), display="block")

    return _FORMULA.sub(formula, markdown)


def first_picture(notebook: Path) -> str | None:
    """The first figure of an executed notebook, as an address with the picture in it."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            for kind in ("image/png", "image/jpeg"):
                data = "".join(str(output.get("data", {}).get(kind, "")).split())
                if re.fullmatch("[A-Za-z0-9+/=]+", data):
                    return f"data:{kind};base64,{data}"
    return None


def failure(notebook: Path) -> str:
    """The cell that failed in an executed notebook, and its traceback, as plain text.

    Empty if no cell did, as when the kernel died.
    """
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                traceback = _ANSI.sub("", "\n".join(output.traceback))
                return f"cell [{cell.execution_count}]\n{cell.source}\n\n{traceback}"
    return ""


def _leave_out_html(content: nbformat.NotebookNode) -> None:
    """Leave text, code and pictures in a notebook; tags in markdown become text."""
    for cell in content.cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "markdown":
            without_comments = re.sub("<!--.*?-->", "", cell.source, flags=re.DOTALL)
            cell.source = re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", without_comments)
        for output in cell.get("outputs", ()):
            if "data" in output:
                kept = {kind: output.data[kind] for kind in output.data if kind in _HARMLESS}
                output.data = kept or {"text/plain": _LEFT_OUT}


def _with_page_links(markdown: str, linked: Collection[str]) -> str:
    for stem in linked:
        markdown = markdown.replace(f"({stem}.ipynb", f"({stem}.html")
    return markdown
