"""Executed notebooks, and a summary of them, as web pages that need no network and no kernel."""

import html
import re
from collections.abc import Collection
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbformat.sign import NotebookNotary

from diffad_lib.errors import DiffadError
from diffad_lib.files import write_text
from diffad_lib.runs.facts import project_root

# $$...$$ may span lines, $...$ may not. Code comes first: what stands in it is no formula.
_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL
)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg")
# The sentences in italics that begin a cell; a single asterisk ends them.
_CAPTION = re.compile(r"\*(?=[^*\s])(.+?)(?<![*\s])\*(?!\*)", re.DOTALL)
# On paper nothing scrolls and nothing unfolds: lines are broken, answers are open.
_PAPER = """<style>
@media print {
  .jp-Cell pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  .jp-InputPrompt, .jp-OutputPrompt { display: none !important; }
  .jp-RenderedImage, .jp-RenderedHTML img { break-inside: avoid; }
  math[display="block"] { font-size: 0.85em; }
}
</style>
<script>
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((answer) => { answer.open = true; });
});
</script>
"""
_HARMLESS = {"text/plain", *_PICTURES}
_LEFT_OUT = "Left out, because this notebook was not executed now, or is not trusted."
_NO_SCRIPTS = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "font-src data:; style-src 'unsafe-inline'\">"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def write_page(notebook: Path, page: Path) -> bool:
    """A page as `diffad course` writes it; links to notebooks beside this one lead to their pages.

    Gives whether the notebook is trusted: it is one of the course, or Jupyter trusts it. Raises
    DiffadError for a file that is no notebook, and for a page that cannot be written.
    """
    try:
        content = nbformat.read(notebook, as_version=4)
        nbformat.validate(content)
    except (OSError, ValueError, TypeError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise DiffadError(f"{notebook}: no notebook ({reason}); give an .ipynb file") from None
    with NotebookNotary() as notary:
        trusted = notary.check_signature(content)
    trusted = trusted or notebook.resolve().is_relative_to(project_root() / "notebooks")
    beside = {path.stem for path in notebook.parent.glob("*.ipynb")}
    write_notebook_page(notebook, page, beside, trusted=trusted)
    return trusted


def write_notebook_page(
    notebook: Path, page: Path, linked: Collection[str] = (), *, trusted: bool
) -> None:
    """Write an executed notebook as one HTML file.

    Formulas become MathML, which browsers draw by themselves; a sentence stands for a live widget.
    The caption below a picture is its alternative text.
    Links to notebooks whose stems are in `linked` lead to their pages. The page of a notebook that
    is not `trusted` has text and pictures only, and a browser runs no script in it.
    """
    content = nbformat.read(notebook, as_version=4)
    captions = [*map(caption, content.cells[1:]), ""]
    if not trusted:
        _leave_out_html(content)
    for cell, below in zip(content.cells, captions, strict=False):
        if cell.cell_type == "markdown":
            cell.source = with_mathml(_with_page_links(cell.source, linked))
        for output in cell.get("outputs", ()):
            if below and (address := _picture(output)):
                alt = html.escape(below)
                output.data = {"text/html": f'<img src="{html.escape(address)}" alt="{alt}">'}
            if _WIDGET in output.get("data", ()):
                output.data = {"text/plain": "This part is live in JupyterLab only."}
    content.metadata.pop("widgets", None)
    # Empty addresses: nbconvert would load these scripts from servers.
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jupyter_widgets_base_url="")
    body, _ = exporter.from_notebook_node(content)
    body = re.sub(r'<script src="">\s*</script>', "", body)
    head = _PAPER if trusted else _NO_SCRIPTS
    write_text(page, body.replace("<head>", f"<head>{head}", 1))


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
            if address := _picture(output):
                return address
    return None


def caption(cell: nbformat.NotebookNode) -> str:
    """The sentences in italics that begin a markdown cell, as plain text; empty without them."""
    source = re.sub("<!--.*?-->", "", cell.source)
    found = _CAPTION.match(source) if cell.cell_type == "markdown" else None
    return " ".join(re.sub(r"[*`$\\]", "", found[1]).split()) if found else ""


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


def _picture(output: nbformat.NotebookNode) -> str | None:
    """The picture of an output as an address that holds it."""
    for kind in _PICTURES:
        data = "".join(str(output.get("data", {}).get(kind, "")).split())
        if re.fullmatch("[A-Za-z0-9+/=]+", data):
            return f"data:{kind};base64,{data}"
    return None


def _with_page_links(markdown: str, linked: Collection[str]) -> str:
    for stem in linked:
        markdown = markdown.replace(f"({stem}.ipynb", f"({stem}.html")
    return markdown
