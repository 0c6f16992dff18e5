"""What was measured on a GPU as one page that needs no network."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffad_lib.runs.html import html_table, write_page

PARTS = {
    "build": "The machine and PyTorch's build.",
    "agreement": "Largest differences of CPU and GPU with the same weights, images and random "
    "numbers; of losses as shares. In full float32 they have to stay below 0.001; with TF32 "
    "convolutions round more.",
    "steps": "An optimiser step at the paper's settings, with the synthesis of its batch. A "
    "micro-batch that does not fit is halved. hours: the paper's training of MVTec AD's bottle at "
    "this rate. synthesis_s: of a step's batches, when nothing else is done. peak_gib: of the "
    "step, as PyTorch counts it. planned_gib: as predicted. 32: convolutions may use TF32, as in a "
    "run.",
    "training": "A short real training at 256 px, cut off by time: no figures of the papers.",
}


def write_report(content: Mapping[str, Any], path: Path) -> None:
    """Write the page of a report; figures are the PNG files that lie beside it."""
    title = f"GPU check: {_device(content)}"
    parts = [f"<h1>{_text(title)}</h1>", _verdict(content)]
    for name, told in PARTS.items():
        rows = content.get(name, [])
        table = f"<div class='wide'>{_table(rows)}</div>"
        parts += [f"<h2>{name}</h2>", f"<p>{_text(told)}</p>", table]
        parts += [_figures(path.parent, row["method"]) for row in rows if name == "training"]
    write_page(path, title, parts)


def _device(content: Mapping[str, Any]) -> str:
    build = content["build"][0]
    return str(build.get("name") or build["type"])


def _verdict(content: Mapping[str, Any]) -> str:
    lists = [rows for rows in content.values() if isinstance(rows, list)]
    wrong = [row["problem"] for rows in lists for row in rows if row.get("problem")]
    if not wrong:
        return f"<p>Nothing is wrong. All of it took {content['seconds']:.0f} s.</p>"
    return "".join(f"<p class='wrong'>{_text(one)}</p>" for one in wrong)


def _table(rows: list[dict[str, Any]]) -> str:
    """A row each; where there is one only, a line each."""
    if len(rows) == 1:
        return html_table(("", ""), ((_text(key), _text(one)) for key, one in rows[0].items()))
    told = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    keys = list(told)  # without columns that are empty
    return html_table(map(_text, keys), ([_text(row.get(key)) for key in keys] for row in rows))


def _figures(folder: Path, method: str) -> str:
    images = []
    for path in sorted(folder.glob(f"{method}_*.png")):
        data = base64.b64encode(path.read_bytes()).decode()
        told = _text(path.stem.replace("_", ": "))
        images.append(f"<h3>{told}</h3><img alt='{told}' src='data:image/png;base64,{data}'>")
    return "".join(images)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        value = f"{value:.3g}" if abs(value) < 0.01 else f"{value:g}"
    return html.escape(str(value))
