"""An easel: a canvas in the browser, and what a detector says after every stroke.

ipywidgets have no canvas. An HTML widget runs no script, but it keeps the handler of a picture
that has loaded: this one builds the canvas and writes the painted pixels into a hidden text
widget, which carries them to the kernel. So it needs no further package.
"""

import base64
from importlib import resources

import cv2
import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from diffad_lib.course.explorers.drawing import judge
from diffad_lib.course.explorers.live import screen_html
from diffad_lib.course.explorers.pictures import checked_image, rgb
from diffad_lib.course.explorers.view import View
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError

_TEMPLATE = resources.files(__package__).joinpath("easel.html").read_text(encoding="utf-8")
_PNG = "data:image/png;base64,"  # no pixel changes on its way to the browser and back


def easel(image: Tensor, detector: Detector, threshold: float) -> widgets.VBox:
    """A canvas with the image, above the picture, reconstruction, map, score and verdict.

    image: normal, float [3,H,W] in [0,1], of the detector's size; it is judged in 8 bits, as it
    is painted. threshold: of the score, set on normal images.
    """
    start = _encoded(checked_image(image))
    canvas = widgets.HTML(_TEMPLATE.replace("__PICTURE__", start))
    painted = widgets.Text(start, continuous_update=False, layout={"display": "none"})
    screen = widgets.HTML()

    def render(picture: str) -> View:
        return judge(_decoded(picture, tuple(image.shape)), detector, threshold)

    def update(_: object = None) -> None:
        screen.value = screen_html(render, {"picture": painted.value})

    painted.observe(update, names="value")
    update()
    return widgets.VBox(
        [canvas, painted.add_class("diffad-painted"), screen], _dom_classes=["diffad-easel"]
    )


def _encoded(image: Tensor) -> str:
    """An image [3,H,W] in [0,1] as a PNG in a data URI."""
    png = cv2.imencode(".png", rgb(image)[..., ::-1])[1].tobytes()
    return _PNG + base64.b64encode(png).decode()


def _decoded(picture: str, shape: tuple[int, ...]) -> Tensor:
    """Float32 [3,H,W] in [0,1] from a PNG in a data URI. DiffadError for any other shape."""
    png = np.frombuffer(base64.b64decode(picture.removeprefix(_PNG)), np.uint8)
    bgr = cv2.imdecode(png, cv2.IMREAD_COLOR) if len(png) else None
    if bgr is None or bgr.shape != (*shape[1:], 3):
        raise DiffadError(
            f"the canvas sent no picture of {shape[2]} × {shape[1]} pixels; run this cell again"
        )
    return torch.from_numpy(bgr[..., ::-1].copy()).permute(2, 0, 1) / 255
