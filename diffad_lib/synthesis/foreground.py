"""Foreground masks: where on a normal image an anomaly may be pasted.

DiffusionAD's masks were made with IS-Net (DIS) and never published in full. Here they are made
from the images themselves, or with IS-Net; `mask_folder.py` reads those that lie in a folder.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.errors import DiffadError, lacks
from diffad_lib.synthesis.perlin import uniform

PLAUSIBLE_SHARE = (0.05, 0.95)  # outside it a mask is replaced by the whole image
_WORKING_SIZE = 128  # GrabCut is slow, and a foreground needs no finer border
_GRABCUT_ROUNDS, _RECTANGLE_ROUNDS = 2, 5  # from a rectangle the way is longer
_SMALLEST_PART = 0.01  # of the image; smaller components are dropped


Pixels = NDArray[np.uint8]  # an image [H,W,3] RGB
Mask = NDArray[np.uint8]  # [H,W] in {0,1}


def automatic_masks(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N,1,H,W] in {0,1} for objects before a background; images uint8 [N,3,H,W] RGB.

    By `automatic_mask`; an implausible one becomes the whole image.
    """
    with ThreadPoolExecutor() as threads:  # OpenCV releases the interpreter lock
        pixels = (np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images)
        masks = threads.map(lambda one: whole_if_implausible(automatic_mask(one)), pixels)
        return np.stack(list(masks))[:, None]


def automatic_mask(image: Pixels) -> Mask:
    """`otsu_mask`, which GrabCut refines before holes are filled."""
    return _found(image, lambda small: _refined(small, _far_from_border_colour(small)))


def otsu_mask(image: Pixels) -> Mask:
    """Otsu's threshold on the distance from the colours of the border; holes are filled."""
    return _found(image, _far_from_border_colour)


def grabcut_mask(image: Pixels) -> Mask:
    """GrabCut from a rectangle: all but a margin of 1/16 of each side; holes are filled."""

    def find(small: Pixels) -> Mask:
        height, width = small.shape[:2]
        first = np.zeros((height, width), np.uint8)
        first[height // 16 : height - height // 16, width // 16 : width - width // 16] = 1
        return _refined(small, first, _RECTANGLE_ROUNDS)

    return _found(image, find)


def whole_if_implausible(mask: Mask) -> Mask:
    """The mask, or all ones where its share of the image is implausible: no object was found."""
    is_plausible = PLAUSIBLE_SHARE[0] <= mask.mean() <= PLAUSIBLE_SHARE[1]
    return mask if is_plausible else np.ones_like(mask)


def _found(image: Pixels, find: Callable[[Pixels], Mask]) -> Mask:
    """The mask of a smaller image, with gaps closed, holes filled and specks dropped, enlarged."""
    height, width = image.shape[:2]
    scale = min(1.0, _WORKING_SIZE / max(height, width))
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    mask = _filled(find(np.asarray(reduced, np.uint8)))
    if mask.shape == (height, width):
        return mask
    soft = cv2.resize(255 * mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return (soft > 127).astype(np.uint8)


def _far_from_border_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W] in {0,1}: Otsu on the distance in CIELAB to the nearest of the border's colours."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])  # [P,3]
    # Several colours, because a background may be uneven or of two parts.
    levels = np.quantile(border, (0.2, 0.5, 0.8), axis=0)
    distance = np.linalg.norm(lab[:, :, None] - levels, axis=3).min(axis=2)  # [H,W]
    scaled = np.clip(distance * 255 / max(float(distance.max()), 1e-6), 0, 255).astype(np.uint8)
    smooth = cv2.GaussianBlur(scaled, (5, 5), 0)
    mask = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    return np.asarray(mask, np.uint8)


def _refined(image: Pixels, mask: Mask, rounds: int = _GRABCUT_ROUNDS) -> Mask:
    """GrabCut from a first mask; the first mask itself where one side of it is empty."""
    if not PLAUSIBLE_SHARE[0] <= mask.mean() <= PLAUSIBLE_SHARE[1]:
        return mask
    labels = np.where(mask == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)  # GrabCut's k-means
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    none = (0, 0, 0, 0)  # no rectangle, as there is a mask
    cv2.grabCut(bgr, labels, none, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Close small gaps, fill holes, drop specks."""
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [o for o in outlines if cv2.contourArea(o) >= _SMALLEST_PART * mask.size]
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, large, -1, 1, thickness=cv2.FILLED)
    return filled


def random_regions(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """float32 [B,1,H,W] in {0,1}: for textures, an upright ellipse at a random place.

    Its half axes are U(0.25, 0.75) of the sides. DiffusionAD's random regions were not published.
    """
    y = torch.arange(height, device=generator.device)[:, None] / height  # [H,1]
    x = torch.arange(width, device=generator.device) / width  # [W]
    centre_y, centre_x = (uniform(generator, count).reshape(-1, 1, 1) for _ in range(2))
    half_y, half_x = (uniform(generator, count, 0.25, 0.75).reshape(-1, 1, 1) for _ in range(2))
    inside = ((y - centre_y) / half_y) ** 2 + ((x - centre_x) / half_x) ** 2 <= 1  # [B,H,W]
    return inside[:, None].float()


def isnet_masks(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N,1,H,W] in {0,1} by `isnet_finder`; images uint8 [N,3,H,W] RGB."""
    find = isnet_finder()
    return np.stack([find(np.ascontiguousarray(one.transpose(1, 2, 0))) for one in images])[:, None]


def isnet_finder() -> Callable[[Pixels], Mask]:
    """What finds an object by IS-Net through rembg, an extra.

    rembg fetches the weights at its first use. DiffadError without rembg or the weights.
    """
    try:
        import rembg
    except ImportError:
        raise lacks("IS-Net", "rembg", "rembg") from None
    try:
        session = rembg.new_session("isnet-general-use")
    except OSError as error:  # no network; an error of requests is an OSError too
        raise DiffadError(
            f"rembg cannot fetch the weights of IS-Net ({type(error).__name__}); "
            "put isnet-general-use.onnx into ~/.u2net by hand"
        ) from error

    def find(image: Pixels) -> Mask:
        found = np.asarray(rembg.remove(image, session, only_mask=True))
        return (found > 127).astype(np.uint8)

    return find
