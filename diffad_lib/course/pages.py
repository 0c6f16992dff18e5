"""Executed notebooks, and a summary of them, as web pages that need no network and no kernel."""

import html
import re
from collections.abc import Collection
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from diffad_lib.errors import DiffadError
from diffad_lib.files import write_text

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
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def write_page(notebook: Path, page: Path) -> None:
    """A page as `diffad course` writes it; links to notebooks beside this one lead to their pages.

    Raises DiffadError for a file that is no notebook, and for a page that cannot be written.
    """
    try:
        nbformat.validate(nbformat.read(notebook, as_version=4))
    except (OSError, ValueError, TypeError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise DiffadError(f"{notebook}: no notebook ({reason}); give an .ipynb file") from None
    write_notebook_page(notebook, page, {path.stem for path in notebook.parent.glob("*.ipynb")})


def write_notebook_page(notebook: Path, page: Path, linked: Collection[str] = ()) -> None:
    """Write an executed notebook as one HTML file.

    Formulas become MathML, which browsers draw by themselves; a sentence stands for a live widget.
    The caption below a picture is its alternative text.
    Links to notebooks whose stems are in `linked` lead to their pages.
    """
    content = nbformat.read(notebook, as_version=4)
    captions = [*map(caption, content.cells[1:]), ""]
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
    write_text(page, body.replace("</head>", f"{_PAPER}</head>", 1))


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


def _picture(output: nbformat.NotebookNode) -> str | None:
    """The picture of an output as an address that holds it."""
    for kind in _PICTURES:
        if kind in output.get("data", ()):
            return f"data:{kind};base64,{''.join(output.data[kind].split())}"
    return None


def _with_page_links(markdown: str, linked: Collection[str]) -> str:
    for stem in linked:
        markdown = markdown.replace(f"({stem}.ipynb", f"({stem}.html")
    return markdown
