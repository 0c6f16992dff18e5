"""Foreground masks: where on a normal image an anomaly may be pasted.

DiffusionAD's masks were made with IS-Net (DIS) and never published in full. Here they are made
from the images themselves, read from a folder in the official layout, or made with IS-Net.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.datasets.decode import decode_image, resize_mask
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError
from diffad_lib.synthesis.perlin import uniform

PLAUSIBLE_SHARE = (0.05, 0.95)  # outside it a mask is replaced by the whole image
_WORKING_SIZE = 128  # GrabCut is slow, and a foreground needs no finer border
_GRABCUT_ROUNDS = 2
_SMALLEST_PART = 0.01  # of the image; smaller components are dropped


def automatic_masks(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N,1,H,W] in {0,1} for objects before a background; images uint8 [N,3,H,W] RGB.

    The border tells the background's colour; Otsu's threshold on the distance to it gives a first
    mask, GrabCut refines it, holes are filled. An implausible one becomes the whole image.
    """
    with ThreadPoolExecutor() as threads:  # OpenCV releases the interpreter lock
        masks = threads.map(_automatic_mask, images)
        return np.stack(list(masks))[:, None]


def _automatic_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[1:]
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))  # [H,W,3]
    scale = min(1.0, _WORKING_SIZE / max(height, width))
    reduced = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = np.asarray(reduced, np.uint8)
    mask = _filled(_refined(small, _far_from_border_colour(small)))
    if not PLAUSIBLE_SHARE[0] <= mask.mean() <= PLAUSIBLE_SHARE[1]:
        mask = np.ones_like(mask)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


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


def _refined(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """GrabCut from a first mask; the first mask itself where one side of it is empty."""
    if not PLAUSIBLE_SHARE[0] <= mask.mean() <= PLAUSIBLE_SHARE[1]:
        return mask
    labels = np.where(mask == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)  # GrabCut's k-means
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    none = (0, 0, 0, 0)  # no rectangle, as there is a mask
    cv2.grabCut(bgr, labels, none, models[0], models[1], _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
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


def load_mask_folder(folder: Path, samples: Sequence[Sample], size: int) -> NDArray[np.uint8]:
    """Precomputed masks uint8 [N,1,S,S] in the official layout, for training images.

    In an image's path "train" becomes "DISthresh", so that the mask of CATEGORY/train/good/000.png
    is CATEGORY/DISthresh/good/000.png; `folder` is this DISthresh. Raises DiffadError that names a
    mask which is missing, holds no foreground or cannot be decoded.
    """
    masks = []
    for sample in samples:
        candidates = [folder / sample.image.parent.name / sample.image.name]
        candidates.append(candidates[0].with_suffix(".png"))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise DiffadError(f"{candidates[0]}: no foreground mask for {sample.image}; add it")
        masks.append(resize_mask(_decode_foreground(path), size))
    return np.stack(masks)[:, None]


def _decode_foreground(path: Path) -> NDArray[np.uint8]:
    """[H,W] in {0,1}: 1 above half of the brightest pixel.

    Not above 0, as in a mask of defects: VisA's foregrounds are JPEG files, with noise in the dark.
    """
    values = decode_image(path).max(axis=2)
    if not values.any():
        raise DiffadError(f"{path} holds no foreground, every pixel is 0; mark the object in it")
    return (values > values.max() / 2).astype(np.uint8)


def isnet_masks(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N,1,H,W] in {0,1} by IS-Net through rembg, an extra; images uint8 [N,3,H,W] RGB.

    rembg fetches the weights at its first use. DiffadError without rembg or the weights.
    """
    try:
        import rembg
    except ImportError:
        raise DiffadError(
            'foreground "rembg" needs an extra package; in the checkout of the project: '
            '.venv/bin/python -m pip install -e ".[rembg]"'
        ) from None
    try:
        session = rembg.new_session("isnet-general-use")
    except OSError as error:  # no network; an error of requests is an OSError too
        raise DiffadError(
            f"rembg cannot fetch the weights of IS-Net ({type(error).__name__}); "
            "put isnet-general-use.onnx into ~/.u2net by hand"
        ) from error
    masks = [
        rembg.remove(np.ascontiguousarray(image.transpose(1, 2, 0)), session, only_mask=True)
        for image in images
    ]
    return (np.stack(masks)[:, None] > 127).astype(np.uint8)
