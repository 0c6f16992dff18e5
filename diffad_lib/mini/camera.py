"""From a scene to a picture: light, shadow, lens, sensor."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.mini.surface import GRID, SIZE, Map, Surface, X, Y

_SHADOW_STEPS = (0.02, 0.045, 0.08, 0.125, 0.18)  # distances toward the light at which we look
Picture = NDArray[np.floating]  # [SIZE, SIZE, 3] RGB in [0, 1]


@dataclass(frozen=True)
class Camera:
    """Lighting and optics of one shot.

    light: unit vector toward the lamp; (x, y) as in the scene, z toward the camera.
    tint: exposure times lamp colour, RGB.
    falloff: relative change of brightness per unit of x and y.
    blur: standard deviation of the lens blur in pixels.
    noise: standard deviation of the sensor noise.
    """

    light: NDArray[np.floating]
    tint: NDArray[np.floating]
    falloff: tuple[float, float]
    blur: float
    noise: float


def draw_camera(rng: np.random.Generator) -> Camera:
    """The normal spread of a station: a lamp at the upper left, nearly the same in every shot."""
    azimuth = np.deg2rad(rng.normal(-130, 9))
    elevation = np.deg2rad(rng.normal(52, 3))
    flat = np.cos(elevation)
    light = [flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)]
    tint = rng.normal(1, 0.05) * rng.normal(1, 0.007, 3)
    return Camera(
        light=np.array(light, np.float32),
        tint=tint.astype(np.float32),
        falloff=(rng.uniform(-0.09, 0.09), rng.uniform(-0.09, 0.09)),
        blur=rng.uniform(0.3, 0.65),
        noise=rng.uniform(0.006, 0.012),
    )


def photograph(surface: Surface, camera: Camera) -> Picture:
    """The picture that falls on the sensor, without noise."""
    slope_x, slope_y = _slopes(surface.height)
    inverse_length = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    lx, ly, lz = camera.light
    diffuse = np.maximum(lz - slope_x * lx - slope_y * ly, 0) * inverse_length / lz
    halfway = camera.light + np.array([0, 0, 1], np.float32)
    hx, hy, hz = halfway / np.linalg.norm(halfway)
    facing = (hz - slope_x * hx - slope_y * hy) * inverse_length
    # A narrow highlight on polished material, a wide one on brushed metal.
    sharp = np.exp((facing - 1) * (20 + 160 * surface.gloss))
    lit = 1 - _shadow(surface.height, camera.light)
    brightness = 0.35 * _openness(surface.height) + 0.65 * diffuse * lit
    brightness *= 1 + camera.falloff[0] * X + camera.falloff[1] * Y
    shine = 0.75 * surface.gloss * sharp * lit
    fine = cv2.merge(list(surface.colour * brightness + shine))  # [G, G, 3]
    picture = cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA) * camera.tint
    return np.clip(cv2.GaussianBlur(picture, (5, 5), camera.blur), 0, 1)


def develop(picture: Picture, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Sensor noise and quantisation → uint8 [SIZE, SIZE, 3] RGB."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * camera.noise
    return np.round(np.clip(picture + noise, 0, 1) * 255).astype(np.uint8)


def _slopes(height: Map) -> tuple[Map, Map]:
    scale = GRID / 2 / 8  # Sobel of size 3 sums to eight times the slope per sample
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale)
    return cast(Map, slope_x), cast(Map, slope_y)


def _shadow(height: Map, light: NDArray[np.floating]) -> Map:
    """0 in the light to 1 in shadow, with a soft edge."""
    flat = float(np.hypot(light[0], light[1]))
    rise = float(light[2]) / flat
    depth = np.zeros_like(height)
    for distance in _SHADOW_STEPS:
        dx, dy = (float(light[axis]) / flat * distance * GRID / 2 for axis in (0, 1))
        shift = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
        toward = cv2.warpAffine(height, shift, (GRID, GRID), borderMode=cv2.BORDER_REPLICATE)
        np.maximum(depth, toward - height - distance * rise, out=depth)
    return cast(Map, cv2.blur(np.minimum(depth * 25, 0.85), (5, 5)))


def _openness(height: Map) -> Map:
    """Share of the ambient light that reaches a point: less in grooves and beside walls."""
    surround = cv2.blur(height, (13, 13))
    return np.clip(1 - 5 * (surround - height), 0.3, 1.15)
