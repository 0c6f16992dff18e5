"""What was measured on a GPU as one page that needs no network."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffad_lib.files import write_text

PARTS = {
    "build": "The machine and PyTorch's build.",
    "agreement": "Largest differences of CPU and GPU with the same weights, images and random "
    "numbers; of losses as shares. In full float32 they have to stay below 0.001; with TF32 "
    "convolutions round more.",
    "steps": "An optimiser step at the paper's settings, with the synthesis of its batch. A "
    "micro-batch that does not fit is halved. hours: the paper's training of MVTec AD's bottle at "
    "this rate. peak_gib: of the step, as PyTorch counts it. planned_gib: as predicted.",
    "training": "A short real training at 256 px, cut off by time: no figures of the papers.",
}
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:88em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "td,th{border:1px solid #ccc;padding:.2em .5em;text-align:right;white-space:nowrap}"
    ".wrong{color:#b00020;font-weight:bold}img{max-width:100%}"
)


def write_page(content: Mapping[str, Any], path: Path) -> None:
    """Write the page of a report; figures are the PNG files that lie beside it."""
    parts = [f"<h1>GPU check: {_text(_device(content))}</h1>", _verdict(content)]
    for name, told in PARTS.items():
        rows = content.get(name, [])
        parts += [f"<h2>{name}</h2>", f"<p>{_text(told)}</p>", _table(rows)]
        parts += [_figures(path.parent, row["method"]) for row in rows if name == "training"]
    style = f"<meta charset='utf-8'><title>GPU check</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    write_text(
        path, f"<!doctype html><html lang='en'><head>{style}</head><body>{body}</body></html>"
    )


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
        lines = [
            f"<tr><th>{_text(key)}</th><td>{_text(one)}</td></tr>" for key, one in rows[0].items()
        ]
        return f"<table>{''.join(lines)}</table>"
    told = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    keys = list(told)  # without columns that are empty
    head = "".join(f"<th>{_text(key)}</th>" for key in keys)
    lines = ["".join(f"<td>{_text(row.get(key))}</td>" for key in keys) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


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
