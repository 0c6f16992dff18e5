"""The second face: a slider that needs scripts, but neither a kernel nor a network."""

import json
from collections.abc import Sequence
from importlib import resources

from diffad_lib.course.explorers.pictures import data_uri
from diffad_lib.course.explorers.view import Parameter, View
from diffad_lib.errors import DiffadError

MAX_BYTES = 600_000  # a notebook with its sheet stays below 1.5 MB
_TEMPLATE = resources.files(__package__).joinpath("slider.html").read_text(encoding="utf-8")


def slider_html(title: str, parameters: Sequence[Parameter], views: Sequence[View]) -> str:
    """HTML with all pictures inline; views in row-major order of the parameters' values.

    A picture that several views share is stored once. Raises DiffadError above MAX_BYTES.
    """
    images: dict[str, int] = {}  # data URI -> its number
    numbers = [
        [images.setdefault(data_uri(tile), len(images)) for tile in view.tiles.values()]
        for view in views
    ]
    data = {
        "title": title,
        "parameters": [
            {"label": p.label, "texts": p.texts, "start": p.start, "choice": p.choice}
            for p in parameters
        ],
        "tiles": [
            {"title": name, "height": tile.shape[0], "width": tile.shape[1]}
            for name, tile in views[0].tiles.items()
        ],
        "images": list(images),
        "views": numbers,
        "captions": [view.caption for view in views],
    }
    # A "<" could end the script element that holds the data.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _TEMPLATE.replace("__DATA__", text)
    size = len(page.encode())
    if size > MAX_BYTES:
        names = ", ".join(p.name for p in parameters)
        raise DiffadError(
            f"{title}: {len(views)} views take {size // 1000} kB, more than "
            f"{MAX_BYTES // 1000}; give fewer values of {names}, or a smaller image"
        )
    return page
