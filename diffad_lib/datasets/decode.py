"""Image files to uint8 arrays: strict decoding, and resizing that keeps every defect."""

import os
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.errors import DiffadError
from diffad_lib.files import is_utf8

MOST_REGIONS = np.iinfo(np.uint16).max  # of a mask
MIN_SIDE = 8  # pixels; smaller is a placeholder or an accident, never a photograph

# OpenCV would add lines of its own to the one error message.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Grey values of a mask that a lossy format has gone over.
_NOISE, _FAINT = 32, 64
_CLASSES = 6  # more different small values are noise
_BLOCK = 8  # pixels, the reach of a JPEG's noise
_LEVEL_SHARE = 0.05  # of the marks, that lies apart from them at another level
# A marker in entropy-coded data is 0xFF and neither a stuffed zero, a restart marker nor padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def decode_image(path: Path) -> NDArray[np.uint8]:
    """Reads an image as uint8 [H,W,3] RGB; a greyscale image gets three equal channels.

    A JPEG is turned as its EXIF orientation says, as officially. Raises DiffadError that names a
    file that cannot be read, is cut off or damaged, has an alpha channel or more than 8 bits a
    channel (no rule is stated to convert them), or a side below 8 pixels.
    """
    pixels = _decode(path)
    order = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, order), np.uint8)


def decode_mask(path: Path) -> NDArray[np.uint8]:
    """Reads a mask as uint8 [H,W] in {0,1}: 1 where a channel is not 0.

    Of a mask that a lossy format has gone over, 1 where it has more than half of its highest value.
    Raises as decode_image, and for a lossy mask in which noise hides the marks or a further level.
    """
    pixels = _decode(path)
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    if not (_is_lossy(path) or _has_noise(pixels)):
        return (pixels > 0).astype(np.uint8)  # class ids (VisA) and anti-aliased edges are defects
    highest = int(pixels.max())
    if 0 < highest <= _FAINT:
        raise DiffadError(f"{path} is a lossy mask with values to {highest} only; save it as PNG")
    marks = pixels > highest / 2
    if (pixels > _NOISE)[~_near(marks)].sum() > _LEVEL_SHARE * marks.sum():
        raise DiffadError(
            f"{path} is a lossy mask with a second level of grey, or with strong noise; save it as "
            "PNG with 0 and 255"
        )
    return marks.astype(np.uint8)  # compression leaves small values around a mark


def _has_noise(pixels: NDArray[np.uint8]) -> bool:
    """Whether a mask was saved in a lossy format before: small values that are no class ids.

    Ids are few, and lie flat or far from white. Values of a smooth edge lie beside larger ones.
    """
    marks = pixels > _NOISE
    small = (pixels > 0) & ~_near(marks)
    if pixels.max() <= _FAINT or not small.any():
        return False
    if np.unique(pixels[small]).size > _CLASSES:
        return True
    is_flat = cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) == 0
    return not (small & (is_flat | ~_near(marks, pixels=_BLOCK))).any()


def _near(marks: NDArray[np.bool_], pixels: int = 2) -> NDArray[np.bool_]:
    """The marks and what is near one, by default as near as a smooth edge."""
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.dilate(marks.astype(np.uint8), square) > 0


def mask_doubt(mask: NDArray[np.uint8]) -> str | None:
    """Why a mask [H,W] in {0,1} of a defect looks wrong, or None.

    It marks nothing, everything, or most of the image and most of its border, as the inverse of a
    mask does, also where the defect touches the border.
    """
    if not mask.any():
        return "marks no pixel"
    if mask.all():
        return "marks every pixel; is it the mask of a defect?"
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if mask.mean() <= 0.5 or border.mean() < 0.75:
        return None
    return f"marks {mask.mean():.0%} of the image and {border.mean():.0%} of its border; inverted?"


def decode_pair(image: Path, mask: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image uint8 [H,W,3], mask uint8 [H,W] in {0,1}, 0 without a file; raises if sizes differ."""
    pixels = decode_image(image)
    if mask is None:
        return pixels, np.zeros(pixels.shape[:2], np.uint8)
    marks = decode_mask(mask)
    if marks.shape != pixels.shape[:2]:
        raise DiffadError(
            f"{mask} is {format_size(marks)} pixels but {image} is {format_size(pixels)}; "
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


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes a mask [H,W] in {0,1} to size × size so that no defect vanishes.

    A pixel is 1 where at least half of it is covered, which leaves areas nearly unbiased. Each
    8-connected component that would leave no pixel is then drawn where it covers at least half as
    much as where it covers most: a speck becomes a pixel or a few, a hairline stays a line.
    """
    return (resize_regions(mask, size) > 0).astype(np.uint8)


def resize_regions(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint16]:
    """The regions of a mask [H,W] in {0,1} at size × size: `resize_mask`, with their numbers.

    Regions are the 8-connected components of the mask as it is, numbered from 1. A pixel has the
    number of the region that covers most of it. So a thin region that is torn by resizing stays
    one region, and two that come to touch stay two.
    """
    coverage = resize_image(mask.astype(np.float32), size)  # [size,size] in [0,1]
    marked = coverage >= 0.5
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    if count > MOST_REGIONS:
        raise DiffadError(f"{count - 1} regions are more than a mask can have; is it noise?")
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    component = labels[rows, columns].astype(np.int64)  # times size² it is beyond int32
    # The flat index of the output pixel below the centre of each defective pixel.
    cell = (2 * rows + 1) * size // (2 * height) * size + (2 * columns + 1) * size // (2 * width)
    pairs, shares = np.unique(component * size**2 + cell, return_counts=True)
    owner, place = pairs // size**2, pairs % size**2
    survives = np.zeros(count, bool)
    survives[owner[marked.flat[place]]] = True
    largest = np.zeros(count, np.int64)
    np.maximum.at(largest, owner, shares)
    is_drawn = ~survives[owner] & (2 * shares >= largest[owner])
    marked.flat[place[is_drawn]] = True
    order = np.argsort(shares + size**2 * is_drawn, kind="stable")  # the last one wins
    regions = np.zeros(size * size, np.uint16)
    regions[place[order]] = owner[order]
    regions = np.where(marked, regions.reshape(size, size), 0)
    return _spread(regions, marked)


def _spread(regions: NDArray[np.uint16], marked: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Marked pixels without a number get that of a neighbour: no centre of a pixel lies in them."""
    while (missing := marked & (regions == 0)).any():
        grown = np.where(missing, cv2.dilate(regions, np.ones((3, 3), np.uint8)), regions)
        if np.array_equal(grown, regions):  # an island of them
            grown = np.where(missing, min(int(regions.max()) + 1, MOST_REGIONS), regions)
        regions = grown.astype(np.uint16)
    return regions


def check_name(path: Path) -> None:
    """Raises DiffadError if a name is not UTF-8, as an old zip file may leave it."""
    if not is_utf8(path):
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DiffadError(f"{shown} has a name that is not UTF-8; rename it")


def _decode(path: Path) -> NDArray[np.uint8]:
    """uint8 [H,W] or [H,W,3] BGR as stored."""
    check_name(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DiffadError(f"{path} cannot be read: {error.strerror}") from None
    # Some versions of OpenCV fill what is missing with grey and say nothing.
    is_jpeg, is_png = data.startswith(_JPEG), data.startswith(_PNG)
    cut_off = (is_jpeg and not _jpeg_is_whole(data)) or (is_png and not _png_is_whole(data))
    if not data or cut_off:
        raise DiffadError(f"{path} is cut off or damaged; copy or download it again")
    # Only IMREAD_COLOR turns a JPEG, and only IMREAD_UNCHANGED keeps alpha and 16 bits.
    flags = cv2.IMREAD_COLOR if is_jpeg else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # larger than OpenCV's limit
        pixels = None
    if pixels is None:
        raise DiffadError(
            f"{path} is not an image that OpenCV can decode; copy it again, or convert it to PNG"
        )
    if pixels.dtype != np.uint8:
        raise DiffadError(f"{path} has {8 * pixels.itemsize} bits a channel; convert it to 8 bits")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        channels = pixels.shape[2]
        raise DiffadError(f"{path} has {channels} channels (RGBA?); convert it to RGB or greyscale")
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise DiffadError(
            f"{path} is {format_size(pixels)} pixels; a side needs at least {MIN_SIDE}"
        )
    return np.asarray(pixels, np.uint8)


def _is_lossy(path: Path) -> bool:
    data = path.read_bytes()
    return data.startswith(_JPEG) or (data[8:12] == b"WEBP" and b"VP8L" not in data)


def _png_is_whole(data: bytes) -> bool:
    """True if every chunk up to IEND is there and the checksums of the critical ones agree."""
    start = len(_PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        name = data[start + 4 : start + 8]
        checksum = int.from_bytes(data[end - 4 : end], "big")
        critical = name[:1].isupper()
        if end > len(data) or (critical and zlib.crc32(data[start + 4 : end - 4]) != checksum):
            return False
        if name == b"IEND":
            return True
        start = end
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    """True if the segments and scans follow each other up to the end-of-image marker."""
    start = len(_JPEG)
    while marker := _JPEG_MARKER.search(data, start):
        kind = data[marker.end() - 1]
        if kind == 0xD9:  # end of image
            return True
        # A segment says its length; the scan's data after it is passed by the search above.
        start = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def format_size(pixels: NDArray) -> str:
    """Size of [H,W] or [H,W,C] for a person, width first."""
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
