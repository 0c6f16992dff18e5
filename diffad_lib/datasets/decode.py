"""Image files to uint8 arrays: strict decoding, and resizing."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets import jpeg
from diffad_lib.datasets.header import (
    format_of,
    is_whole,
    misread,
    orientation,
    other_format,
    size_of,
    white_of,
)
from diffad_lib.errors import DiffadError
from diffad_lib.files import is_utf8, read_bytes

Read = Callable[[Path], bytes]

MOST_PIXELS = 100_000_000  # 300 MB in memory, times the threads that read
MIN_SIDE = 8  # pixels; smaller is a placeholder or an accident, never a photograph

# OpenCV would add lines of its own to the one error message.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_ADVICE = "copy it again, or convert it to PNG"
# Grey values of a mask that a lossy format has gone over.
_NOISE, _FAINT = 32, 64
_FLAT_NOISE = 12  # more is no noise where it is flat, or far from a mark
_BLOCK = 8  # pixels, the reach of a JPEG's noise; twice that where it halves its colours
_STEEP = 24  # over 3 pixels: the noise on a flat region, and far less than an edge
_LEVEL = 0.7  # of the level of the marks; a lower one is cut off at the border
_LEVEL_PIXELS = 16  # of the inside of a region
_STRONG = 0.05  # of the marks, that lies apart from them as noise


def decode_image(path: Path, read: Read = read_bytes) -> NDArray[np.uint8]:
    """Reads an image as uint8 [H,W,3] RGB; a greyscale image gets three equal channels.

    It is turned as its EXIF orientation says, as officially. Raises DiffadError that names a file
    that cannot be read, is cut off or damaged, is of another format than PNG, JPEG, BMP, TIFF, WebP
    and PNM, holds several pictures, has an alpha channel, more than 8 bits a channel or a white
    other than 255 (no rule is stated to convert them), has more than 100 megapixels or a side below
    8 pixels.
    """
    data = read(path)
    pixels = _decode(path, data)
    if white_of(data) != 255:
        raise DiffadError(f"{path} has {white_of(data)} as its white, not 255; convert it to PNG")
    order = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, order), np.uint8)


def decode_mask(path: Path, read: Read = read_bytes) -> NDArray[np.uint8]:
    """Reads a mask as uint8 [H,W] in {0,1}: 1 where a channel is not 0.

    Of a mask that a lossy format has gone over, 1 where it has more than half of its highest value.
    Raises as decode_image, and for a lossy mask in which noise hides the marks or a further level.
    """
    data = read(path)
    pixels = _decode(path, data)
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    is_lossy = _is_lossy(data)
    if not (is_lossy or _has_noise(pixels)):
        return (pixels > 0).astype(np.uint8)  # class ids (VisA) and smooth edges are defects
    told = "is a lossy mask" if is_lossy else "is a mask with the noise of a JPEG,"
    highest = int(pixels.max())
    if 0 < highest <= _FAINT:
        raise DiffadError(f"{path} {told} with values to {highest} only; save it as PNG")
    marks = pixels > highest / 2
    if _has_level(pixels, marks, _FLAT_NOISE if is_lossy else 0):
        raise DiffadError(
            f"{path} {told} with a second level of grey, or with strong noise; save it as PNG with "
            "0 and 255"
        )
    return marks.astype(np.uint8)  # compression leaves small values around a mark


def _has_noise(pixels: NDArray[np.uint8]) -> bool:
    """Whether a mask was a JPEG before: beside its marks, single pixels stand out from all around.

    Classes are flat, however many; a smooth edge only falls; what has one value alone above half of
    its highest has sharp edges.
    """
    marks = pixels > _NOISE
    beside = (pixels > 0) & _near(marks, _BLOCK) & ~_near(marks)
    if not beside.any() or np.unique(pixels[pixels > pixels.max() / 2]).size == 1:
        return False
    around = np.ones((3, 3), np.uint8)
    around[1, 1] = 0
    return bool((beside & (pixels > cv2.dilate(pixels, around))).any())


def _has_level(pixels: NDArray[np.uint8], marks: NDArray[np.bool_], faint: int) -> bool:
    """Whether a mask with noise has more than its marks [H,W]: a level of grey, or strong noise.

    A level lies farther from the marks than noise does and is above `faint`, or it is flat.
    """
    if not marks.any():
        return False
    if ((pixels > faint) & ~_near(marks, 2 * _BLOCK)).any():
        return True
    if (pixels > _NOISE)[~_near(marks)].sum() > _STRONG * marks.sum():
        return True
    steepness = _steepness(pixels)
    # Noise overshoots, but not where it is flat.
    top = pixels[marks & (steepness == 0)].max(initial=int(np.percentile(pixels[marks], 90)))
    below = pixels < _LEVEL * top
    if ((steepness == 0) & below & (pixels > _FLAT_NOISE)).any():
        return True
    inside = (steepness <= _STEEP) & below & (pixels > _NOISE)
    sizes = cv2.connectedComponentsWithStats(inside.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    return bool((sizes >= _LEVEL_PIXELS).any())


def _steepness(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Largest less smallest value of 3×3 pixels."""
    steepness = cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(steepness, np.uint8)


def _near(marks: NDArray[np.bool_], pixels: int = 2) -> NDArray[np.bool_]:
    """The marks and what is near one, by default as near as a smooth edge."""
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.dilate(marks.astype(np.uint8), square) > 0


def mask_doubt(mask: NDArray[np.uint8]) -> str | None:
    """Why a mask [H,W] in {0,1} of a defect looks wrong, or None.

    It marks nothing, everything, all of its border, or most of the image and of its border: as the
    inverse of a mask does, also where the defect touches the border.
    """
    if not mask.any():
        return "marks no pixel"
    if mask.all():
        return "marks every pixel; is it the mask of a defect?"
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if not border.all() and (mask.mean() <= 0.5 or border.mean() < 0.75):
        return None
    return f"marks {mask.mean():.0%} of the image and {border.mean():.0%} of its border; inverted?"


def decode_pair(
    image: Path, mask: Path | None, read: Read = read_bytes
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image uint8 [H,W,3], mask uint8 [H,W] in {0,1}, 0 without a file; raises if sizes differ."""
    pixels = decode_image(image, read)
    if mask is None:
        return pixels, np.zeros(pixels.shape[:2], np.uint8)
    marks = decode_mask(mask, read)
    if marks.shape != pixels.shape[:2]:
        turned = orientation(read(image))
        told = f", turned by its EXIF orientation {turned}" if turned > 1 else ""
        raise DiffadError(
            f"{mask} is {format_size(marks)} pixels but {image} is {format_size(pixels)}{told}; "
            "a mask needs the size of its image"
        )
    return pixels, marks


def resize_image(image: NDArray, size: int) -> NDArray:
    """[H,W] or [H,W,C] to size × size: areas averaged where it shrinks, linear where it grows."""
    height, width = image.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def resize_linearly(image: NDArray, size: int) -> NDArray:
    """[H,W] or [H,W,C] to size × size as both official codes do, by `cv2.resize` without a rule.

    An output pixel is made of 2×2 pixels at most: where more lie below it, they are left out.
    """
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def check_name(path: Path) -> None:
    """Raises DiffadError if a name is not UTF-8, as an old zip file may leave it."""
    if not is_utf8(path):
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DiffadError(f"{shown} has a name that is not UTF-8; rename it")


def _decode(path: Path, data: bytes) -> NDArray[np.uint8]:
    """uint8 [H,W] or [H,W,3] BGR, turned as the orientation says."""
    check_name(path)
    _check_header(path, data)
    try:
        given = jpeg.to_decode(data) if format_of(data) == "JPEG" else data
        # The only flag that keeps alpha and 16 bits; it turns a TIFF and nothing else.
        pixels = cv2.imdecode(np.frombuffer(given, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # more rows or columns than OpenCV takes
        pixels = None
    if pixels is None:
        raise DiffadError(f"{path} is damaged, or no image that OpenCV can decode; {_ADVICE}")
    if pixels.dtype != np.uint8:
        raise DiffadError(f"{path} has {8 * pixels.itemsize} bits a channel; convert it to 8 bits")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        channels = pixels.shape[2]
        raise DiffadError(f"{path} has {channels} channels (RGBA?); convert it to RGB or greyscale")
    return _turned(
        np.asarray(pixels, np.uint8), 1 if format_of(data) == "TIFF" else orientation(data)
    )


def _is_lossy(data: bytes) -> bool:
    kind = format_of(data)
    return kind == "JPEG" or (kind == "WebP" and b"VP8L" not in data)


def _check_header(path: Path, data: bytes) -> None:
    """Raises DiffadError for what is not to reach a decoder."""
    if data and format_of(data) is None:
        other = other_format(data)
        told = f"{other} file, whatever its name; convert it to PNG" if other else ""
        raise DiffadError(f"{path} is {told or f'not an image that is read; {_ADVICE}'}")
    size = size_of(data)
    if size is None or not is_whole(data):
        raise DiffadError(f"{path} is cut off or damaged; copy or download it again")
    width, height = size
    if width * height > MOST_PIXELS:
        most = f"{MOST_PIXELS // 10**6} megapixels"
        raise DiffadError(f"{path} is {width}×{height} pixels, more than {most}; make it smaller")
    if min(size) < MIN_SIDE:
        raise DiffadError(f"{path} is {width}×{height} pixels; a side needs at least {MIN_SIDE}")
    if wrong := misread(data):
        raise DiffadError(f"{path} {wrong}")


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture as it is to be seen, from the one that is stored; orientation: 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def format_size(pixels: NDArray) -> str:
    """Size of [H,W] or [H,W,C] for a person, width first."""
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
