"""One picture with its exact ground truth."""

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.mini.camera import Camera, Picture, develop, draw_camera, photograph
from diffad_lib.mini.categories import Category
from diffad_lib.mini.fault import NO_FAULT, Fault
from diffad_lib.mini.surface import SIZE

_VISIBLE_CHANGE = 0.025  # of the brightness range, before noise: counts as changed
_SMALLEST_SPECK = 6  # pixels; changes in smaller groups are taken back
_MIN_AREA, _MAX_AREA = 0.004, 0.12  # share of the picture that a defect takes
_MIN_CONTRAST = 0.08  # mean change inside the mask, in the channel that changed most
_ATTEMPTS = 100  # most defects are kept at the first

Mask = NDArray[np.uint8]  # [SIZE, SIZE]


def take_picture(
    category: Category, seed: int, shot: str, defect: str | None
) -> tuple[NDArray[np.uint8], Mask]:
    """Picture uint8 [SIZE, SIZE, 3] RGB and mask uint8 [SIZE, SIZE] in {0, 1}.

    `shot` names the picture within its category; scene, light and sensor noise depend on it and
    on `seed` alone. So the same shot without a defect is the clean twin: outside the mask both
    are the same to the byte.
    """
    name = f"{category.dataset}/{category.name}/{shot}"
    camera = draw_camera(_generator(seed, name, "camera"))
    clean = photograph(category.draw(_generator(seed, name, "scene"), NO_FAULT), camera)
    picture, mask = clean, np.zeros(clean.shape[:2], np.uint8)
    if defect:
        picture, mask = _damaged(category, seed, name, defect, clean, camera)
    return develop(picture, camera, _generator(seed, name, "sensor")), mask


def take_foreground(category: Category, seed: int, shot: str) -> Mask:
    """Where the part is in the clean picture of a shot: uint8 [SIZE, SIZE] in {0, 1}.

    Its silhouette, so that holes of the part belong to it; all ones of a texture.
    """
    name = f"{category.dataset}/{category.name}/{shot}"
    surface = category.draw(_generator(seed, name, "scene"), NO_FAULT)
    solid = (surface.body > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, outlines, -1, 1, cv2.FILLED)
    share = cv2.resize(solid.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return (share >= 0.5).astype(np.uint8)


def changed(clean: Picture, damaged: Picture) -> Mask:
    """Where the defect altered the picture for the eye: uint8 {0, 1}, gaps and insides filled."""
    change = np.abs(damaged - clean).max(axis=2)
    mask = (change > _VISIBLE_CHANGE).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, contours, -1, 1, cv2.FILLED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    keep = stats[:, cv2.CC_STAT_AREA] >= _SMALLEST_SPECK
    keep[0] = False  # the background
    return keep[labels].astype(np.uint8)


def _damaged(
    category: Category, seed: int, name: str, defect: str, clean: Picture, camera: Camera
) -> tuple[Picture, Mask]:
    """The picture with the defect; one that nobody would see is drawn again."""
    for attempt in range(_ATTEMPTS):
        fault = Fault(defect, _generator(seed, name, f"{defect}/{attempt}"))
        damaged = photograph(category.draw(_generator(seed, name, "scene"), fault), camera)
        mask = changed(clean, damaged)
        if not _MIN_AREA <= mask.mean() <= _MAX_AREA:
            continue
        if np.abs(damaged - clean).max(axis=2)[mask > 0].mean() >= _MIN_CONTRAST:
            return np.where(mask[..., None] > 0, damaged, clean), mask
    raise RuntimeError(f"{name}: no visible {defect} in {_ATTEMPTS} attempts with seed {seed}")


def _generator(seed: int, name: str, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose of each picture, in whatever order they are drawn."""
    return np.random.default_rng([seed, zlib.crc32(f"{name}/{purpose}".encode())])
