"""Drawing: a stroke on a normal picture, and what a detector then says of it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import checked_image, coloured, rgb
from diffad_lib.course.explorers.view import Parameter, Pixels, View
from diffad_lib.detector import Detector
from diffad_lib.plots import BLACK, BLUE, VERMILION
from diffad_lib.types import Prediction

_MAP_RANGE = (0.0, 0.5)
_FINE = 8  # parts of a pixel that a stroke is drawn in
_SHAPES_SIDE = 64  # pixels of the pictures that the sizes below are for
_TURN = np.linspace(0, 2 * np.pi, 33)
_SHAPES = {  # points (x, y) around the place, and the radius of the brush
    "scratch": (np.array([[-6.0, -4.0], [6.0, 4.0]]), 0.75),
    "ring": (4 * np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1), 0.75),
    "spot": (np.zeros((2, 2)), 2.5),  # a line without length is a dot
}
_COLOURS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
_STRENGTHS = (0.3, 0.6, 1.0)


def stroke(points: ArrayLike, radius: float, side: int) -> Tensor:
    """Share of each pixel that a round brush covers, float32 [1,side,side] in [0,1].

    points: [N,2], N >= 2, x and y in pixels, joined by lines; 0 is the middle of the first pixel.
    """
    fine = np.zeros((side * _FINE, side * _FINE), np.uint8)
    corners = np.round((np.asarray(points, np.float64) + 0.5) * _FINE).astype(np.int32)
    cv2.polylines(fine, [corners], False, 255, 2 * round(radius * _FINE))
    share = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(share)[None].float() / 255


def paint(
    images: Tensor, shape: str, place: tuple[int, int], colour: str, strength: float
) -> Tensor:
    """Square images [...,3,H,H] in [0,1] with one stroke, mixed in with the share `strength`.

    shape: scratch, ring or spot. place: its middle, x and y in pixels. colour: black or white.
    """
    side = images.shape[-1]
    points, radius = _SHAPES[shape]
    scale = side / _SHAPES_SIDE
    share = strength * stroke(place + scale * points, scale * radius, side)
    return images * (1 - share) + torch.tensor(_COLOURS[colour])[:, None, None] * share


@torch.inference_mode()
def judge(image: Tensor, detector: Detector, threshold: float) -> View:
    """The image [3,H,H] in [0,1], its reconstruction, map and score, and the verdict.

    Above the threshold it is judged defective. A detector that draws random numbers draws the
    same ones for every image.
    """
    prediction = detector.predict(image[None], torch.Generator().manual_seed(0))
    score = prediction.image_score.item()
    verdict = "defective" if score > threshold else "normal"
    return View(
        {
            "picture": rgb(image),
            **_reconstruction(prediction),
            "anomaly map, black 0, yellow ≥ 0.5": coloured(
                prediction.anomaly_map[0, 0], _MAP_RANGE
            ),
            "score; line: threshold": _meter(score, threshold),
        },
        f"score {score:.3f}, threshold {threshold:.3f}: judged {verdict}",
    )


def drawing_explorer(
    image: Tensor,
    detector: Detector,
    threshold: float,
    places: Mapping[str, tuple[int, int]],
    strengths: Sequence[float] = _STRENGTHS,
) -> Explorer:
    """Strokes of three shapes and two colours on an image: picture, reconstruction, map, score.

    image: normal, float [3,H,H] in [0,1], of the detector's size. threshold: of the score, set
    on normal images. places: x and y of the middle of a stroke in pixels, by a name to read.
    strengths: shares of the colour, 1 hides the image.
    """
    checked_image(image)

    def render(shape: str, place: str, colour: str, strength: float) -> View:
        painted = paint(image, shape, places[place], colour, strength)
        view = judge(painted, detector, threshold)
        drawn = f"{colour} {shape}, {place}, strength {strength:g}: "
        return View(view.tiles, drawn + view.caption)

    parameters = (
        Parameter("shape", "shape", tuple(_SHAPES), choice=True),
        Parameter("place", "place", tuple(places), choice=True),
        Parameter("colour", "colour", tuple(_COLOURS), choice=True),
        Parameter("strength", "strength", tuple(strengths), start=len(strengths) - 1),
    )
    return Explorer("Draw a defect", render, parameters)


def _reconstruction(prediction: Prediction) -> dict[str, Pixels]:
    """The tile, or none of a method that does not reconstruct."""
    if prediction.reconstruction is None:
        return {}
    return {"reconstruction": rgb(prediction.reconstruction[0])}


def _meter(score: float, threshold: float) -> Pixels:
    """A column as high as the score, and the threshold as a line at half of the height."""
    pixels = np.full((64, 32, 3), 255, np.uint8)
    height = round(32 * min(max(score / threshold, 0), 2))
    colour = VERMILION if score > threshold else BLUE
    pixels[64 - height :, 8:24] = np.round(255 * np.array(to_rgb(colour)))
    pixels[31:33] = np.round(255 * np.array(to_rgb(BLACK)))
    return pixels
