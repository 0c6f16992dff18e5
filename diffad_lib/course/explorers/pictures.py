"""Tensors, maps and figures as pixels, and pixels as data URIs."""

import base64

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffad_lib.course.explorers.view import Pixels
from diffad_lib.errors import DiffadError

Range = tuple[float, float]
_QUALITY, _LOSSLESS = 80, 101  # OpenCV's scale for WebP; above 100 nothing is lost
_PLOT_INCHES, _PLOT_DPI = (2.6, 1.6), 144  # more pixels than a tile, for dense screens


def checked_image(image: Tensor, value_range: Range = (0, 1)) -> Tensor:
    """`image` itself if it is one float image [3,H,W] with values in value_range.

    Raises DiffadError otherwise.
    """
    if not (isinstance(image, Tensor) and image.is_floating_point()):
        raise DiffadError(
            "the explorer's image is no float tensor; give torch.from_numpy(pixels) / 255"
        )
    if image.ndim != 3 or len(image) != 3:
        raise DiffadError(f"the explorer's image is {list(image.shape)}; give one image [3,H,W]")
    low, high = value_range
    if not (image >= low).logical_and(image <= high).all():
        raise DiffadError(
            f"the explorer's image has values from {image.min():.3g} to {image.max():.3g}, "
            f"outside [{low:g}, {high:g}]; scale it, or set value_range"
        )
    return image


def checked_mask(mask: ArrayLike, image: Tensor) -> NDArray[np.bool_]:
    """Bool [H,W] from a mask [H,W] or [1,H,W] in {0,1}.

    Raises DiffadError where it does not fit the image [...,H,W], marks nothing or everything.
    """
    marks = np.asarray(mask).squeeze()
    if marks.shape != tuple(image.shape[-2:]):
        raise DiffadError(f"the mask {marks.shape} does not fit the image {list(image.shape)}")
    if set(values := np.unique(marks).tolist()) != {0, 1}:
        raise DiffadError(f"the mask holds {values[:4]}; it needs both 0 and 1, and nothing else")
    return marks.astype(bool)


def rgb(image: Tensor, value_range: Range = (0, 1)) -> Pixels:
    """Pixels of an image [3,H,W]; what lies outside the range (a noisy x_t) is clipped."""
    low, high = value_range
    scaled = (image.detach().float().cpu() - low) / (high - low)
    return (255 * scaled.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()


def coloured(values: ArrayLike, value_range: Range, colours: str = "inferno") -> Pixels:
    """Pixels of a map [H,W] in a colour map that spans value_range."""
    low, high = value_range
    scaled = (np.asarray(values, np.float64) - low) / (high - low)
    return (255 * matplotlib.colormaps[colours](scaled)[..., :3]).round().astype(np.uint8)


def black_white(mask: ArrayLike) -> Pixels:
    """Pixels of a mask [H,W] in {0,1}."""
    return coloured(mask, (0, 1), "gray")


def small_plot() -> Figure:
    """An empty figure of a tile's size, outside of pyplot."""
    return Figure(figsize=_PLOT_INCHES, dpi=_PLOT_DPI, layout="constrained")


def pixels_of(figure: Figure) -> Pixels:
    """Pixels of a figure in 8 levels a channel, which nobody sees and which saves half of it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    levels = np.asarray(canvas.buffer_rgba())[..., :3] / 255 * 7
    return (levels.round() / 7 * 255).round().astype(np.uint8)


def data_uri(pixels: Pixels) -> str:
    """A WebP image as a data URI: lossless if that is the shorter one, as for masks and plots."""
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    encoded = [
        cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        for quality in (_QUALITY, _LOSSLESS)
    ]
    return "data:image/webp;base64," + base64.b64encode(min(encoded, key=len)).decode()
