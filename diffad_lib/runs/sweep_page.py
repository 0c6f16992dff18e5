"""What a sweep gave, as a web page made from the records."""

import html
from collections.abc import Sequence
from pathlib import Path

from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.html import html_table, link, write_page
from diffad_lib.runs.notebook import executed_notebook
from diffad_lib.runs.record import Record
from diffad_lib.runs.sweep import Outcome, title
from diffad_lib.runs.tables import CAPTION, cells, headings


def write_sweep_page(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """Write index.html: what failed and why, then a row for each finished run with its notebook."""
    page = folder / "index.html"
    failed = [one for one in outcomes if one.error]
    done = len(outcomes) - len(failed)
    parts = ["<h1>A sweep</h1>", f"<p>{done} of {len(outcomes)} runs are finished.</p>"]
    if failed:
        reasons = [
            (html.escape(title(one.config)), html.escape(one.error), link("log", one.log, page))
            for one in failed
        ]
        parts += ["<h2>Failed</h2>", html_table(("run", "reason", "log"), reasons)]
    if rows := [_row(one.config, one.record, page) for one in outcomes if one.record]:
        category, method, *others = headings()
        titles = (category, method, "budget", "seed", *others)
        parts += ["<h2>Finished</h2>", f"<p>{CAPTION}.</p>", html_table(titles, rows)]
    write_page(page, "A sweep", parts)
    return page


def _row(config: RunConfig, record: Record, page: Path) -> list[str]:
    """Cells that are HTML; the first one leads to the executed notebook."""
    category, method, *others = cells(record)
    texts = (method, config.budget, str(config.seed), *others)
    return [link(category, executed_notebook(config.run_folder), page), *map(html.escape, texts)]
