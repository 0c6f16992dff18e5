"""Tables and links of the pages that show what runs, or a machine, gave."""

import html
import os
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from diffad_lib.files import write_text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .9rem; text-align: right; vertical-align: top }
th, td { border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left }
td { white-space: pre-line }
.wide { overflow-x: auto }
.wrong { color: #b00020; font-weight: bold }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid #bbb; padding: .5rem }
img { max-width: 100% }
pre { overflow-x: auto; background: #f3f3f3; padding: 1rem }
"""


def write_page(page: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page that needs no other file; parts are HTML."""
    write_text(
        page,
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}"
        f"</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n",
    )


def link(text: str, target: Path, page: Path) -> str:
    """A link from a page to a file, relative; the text alone if the file is not there."""
    text = html.escape(text)
    if not target.exists():
        return text
    address = urllib.parse.quote(os.path.relpath(target, page.parent))
    return f"<a href='{html.escape(address)}'>{text}</a>"


def html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
