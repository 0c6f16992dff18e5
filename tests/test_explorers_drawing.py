"""Strokes, verdicts and the easel, with a detector whose map is the darkness of the image."""

import base64

import cv2
import numpy as np
import pytest
import torch

from diffad_lib.course.explorers import drawing_explorer, easel, paint
from diffad_lib.course.explorers.drawing import judge, stroke
from diffad_lib.course.explorers.pictures import coloured, data_uri, rgb
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.settings import DetectorSettings
from diffad_lib.types import Prediction

MAP, METER = "anomaly map, black 0, yellow ≥ 0.5", "score; line: threshold"
LIGHT = torch.full((3, 32, 32), 0.8)


class Darkness(Detector):
    """Map: how far below 0.8 a pixel is; score: its maximum; reconstruction: 0.8 everywhere."""

    def __init__(self, rebuilds: bool = True, draws: bool = False) -> None:
        super().__init__(DetectorSettings(image_size=32))
        self.rebuilds, self.draws = rebuilds, draws

    def training_losses(self, batch):
        raise NotImplementedError

    def predict(self, images, generator=None):
        assert torch.is_inference_mode_enabled()
        dark = (0.8 - images.mean(dim=1, keepdim=True)).clamp(min=0)
        if self.draws:
            dark = dark + torch.rand(dark.shape, generator=generator)
        rebuilt = torch.full_like(images, 0.8) if self.rebuilds else None
        return Prediction(dark.amax(dim=(1, 2, 3)), dark, rebuilt)


def dark_explorer(threshold: float = 0.5):
    places = {"left": (8, 16), "right": (24, 16)}
    return drawing_explorer(LIGHT, Darkness(), threshold, places)


AT = {"shape": "spot", "place": "left", "colour": "black", "strength": 1.0}


def test_a_brush_covers_its_area_around_its_points():
    dot = stroke([[8, 8], [8, 8]], 3, 17)[0]
    assert dot.shape == (17, 17) and dot.dtype == torch.float32 and dot.max() == 1
    assert dot.sum() == pytest.approx(np.pi * 9, rel=0.03)
    rows, columns = torch.meshgrid(torch.arange(17.0), torch.arange(17.0), indexing="ij")
    assert [float((dot * axis).sum() / dot.sum()) for axis in (rows, columns)] == pytest.approx(
        [8, 8], abs=0.1
    )
    line = stroke([[2, 4], [12, 4], [12, 10]], 1, 17)[0]  # x first
    assert line[4, 3:12].min() > 0.9 and line[5:10, 12].min() > 0.9 and line[8:, :10].max() == 0


@pytest.mark.parametrize(("colour", "value"), [("black", 0.0), ("white", 1.0)])
def test_paint_mixes_its_colour_in_with_its_strength(colour, value):
    painted = paint(LIGHT, "spot", (20, 10), colour, 0.25)
    torch.testing.assert_close(painted[:, 10, 20], torch.full((3,), 0.75 * 0.8 + 0.25 * value))
    assert torch.equal(painted[:, 20, 10], LIGHT[:, 20, 10])  # x is 20, y is 10
    assert torch.equal(paint(LIGHT, "spot", (20, 10), colour, 0), LIGHT)


def test_a_batch_is_painted_as_its_images_are():
    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    painted = paint(batch, "ring", (16, 16), "black", 0.5)
    for image, one in zip(batch, painted, strict=True):
        assert torch.equal(paint(image, "ring", (16, 16), "black", 0.5), one)


@pytest.mark.parametrize(
    ("shape", "covered"), [("scratch", [(0, 0), (-6, -4)]), ("ring", [(4, 0), (0, -4)])]
)
def test_shapes_lie_where_they_are_said_to_lie_on_a_picture_of_64_pixels(shape, covered):
    share = 1 - paint(torch.ones(3, 64, 64), shape, (30, 40), "black", 1.0)[0]
    assert all(share[40 + y, 30 + x] > 0.5 for x, y in covered)
    assert (share[40, 30] > 0.5) == (shape == "scratch")
    assert share[40 + 4, 30 - 6] == 0


def test_shapes_are_as_large_a_part_of_every_picture():
    for shape in ("scratch", "ring", "spot"):
        small, large = (
            1 - paint(torch.ones(3, side, side), shape, (side // 2, side // 2), "black", 1.0)[0]
            for side in (32, 128)
        )
        assert small.mean() == pytest.approx(large.mean(), rel=0.15)


def test_a_score_above_the_threshold_is_judged_defective_and_one_at_it_is_not():
    painted = paint(LIGHT, "spot", (16, 16), "black", 0.75)  # 0.6 darker
    score = float((0.8 - painted).max())
    for threshold, verdict in ((score, "normal"), (score - 1e-3, "defective")):
        caption = judge(painted, Darkness(), threshold).caption
        assert caption == f"score 0.600, threshold {threshold:.3f}: judged {verdict}"


def test_the_explorer_shows_what_the_detector_says_of_the_painted_picture():
    view = dark_explorer().render(**AT)
    painted = paint(LIGHT, "spot", (8, 16), "black", 1.0)
    assert np.array_equal(view.tiles["picture"], rgb(painted))
    assert (view.tiles["reconstruction"] == 204).all()  # 0.8 of 255
    assert np.array_equal(view.tiles[MAP], coloured(0.8 - painted.mean(dim=0), (0, 0.5)))
    assert view.caption == (
        "black spot, left, strength 1: score 0.800, threshold 0.500: judged defective"
    )
    white = dark_explorer().render(**AT | {"place": "right", "colour": "white"})
    assert white.caption == (
        "white spot, right, strength 1: score 0.000, threshold 0.500: judged normal"
    )
    assert (white.tiles["picture"][16, 24] == 255).all()


def test_the_meter_rises_past_its_line_with_the_verdict():
    def column(strength: float) -> np.ndarray:
        return dark_explorer().render(**AT | {"strength": strength}).tiles[METER]

    heights, colours = [], set()
    for strength in (0.0, 0.3, 0.6, 0.9):
        pixels = column(strength)
        assert (pixels[31:33] == 0).all()  # the line, at half of the height
        filled = (pixels[:, 16] != 255).any(axis=1)
        heights.append(int(filled.sum()))
        colours.add(tuple(pixels[63, 16].tolist()))
    # 0.8 · strength / 0.5 of 32 pixels, and the two pixels of the line above it
    assert heights == [2, 15 + 2, 31 + 2, 46] and len(colours) == 3  # white, blue, vermilion


def test_a_method_without_a_reconstruction_has_one_tile_less():
    assert list(judge(LIGHT, Darkness(rebuilds=False), 0.5).tiles) == ["picture", MAP, METER]


def test_a_detector_that_draws_numbers_says_the_same_of_the_same_picture():
    views = [judge(LIGHT, Darkness(draws=True), 0.5) for _ in range(2)]
    assert views[0].caption == views[1].caption
    assert np.array_equal(views[0].tiles[MAP], views[1].tiles[MAP])


def test_the_slider_of_noise_stays_small():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    noisy = Darkness(draws=True)
    explorer = drawing_explorer(image, noisy, 0.5, dict.fromkeys("abcd", (32, 32)))
    assert len(explorer.html()) < 600_000 and len(explorer.sheet_settings()) <= 7


def test_an_image_that_is_none_is_refused_by_both_faces():
    with pytest.raises(DiffadError, match=r"255 to 255, outside \[0, 1\]"):
        drawing_explorer(255 * torch.ones(3, 32, 32), Darkness(), 0.5, {"here": (1, 1)})
    with pytest.raises(DiffadError, match=r"\[1, 3, 32, 32\]; give one image"):
        easel(LIGHT[None], Darkness(), 0.5)


def sent(pixels: np.ndarray) -> str:
    """What the canvas sends for RGBA pixels [H,W,4]."""
    png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(png).decode()


def test_the_easel_starts_with_the_image_as_it_is():
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    canvas, painted, screen = easel(image, Darkness(), 0.5).children
    assert data_uri(rgb(image)) in screen.value  # in colour, through PNG and back
    assert painted.value in canvas.value


def test_the_easel_judges_the_pixels_that_the_canvas_sends():
    box = easel(LIGHT, Darkness(), 0.5)
    canvas, painted, screen = box.children
    assert "score 0.000, threshold 0.500: judged normal" in screen.value
    assert painted.value in canvas.value and painted.layout.display == "none"
    assert "diffad-easel" in box._dom_classes and "diffad-painted" in painted._dom_classes
    pixels = np.full((32, 32, 4), 255, np.uint8)
    pixels[..., :3] = 204
    pixels[4:8, 4:8, :3] = (51, 0, 0)  # red, of mean 1/15
    painted.value = sent(pixels)
    assert f"score {0.8 - 1 / 15:.3f}, threshold 0.500: judged defective" in screen.value
    assert data_uri(pixels[..., :3]) in screen.value  # red, not blue


@pytest.mark.parametrize(
    "picture",
    [
        sent(np.zeros((32, 16, 4), np.uint8)),
        "data:image/png;base64,",
        "data:image/png;base64,AAAA",
    ],
)
def test_what_is_no_picture_of_the_canvas_is_told(picture):
    _, painted, screen = easel(LIGHT, Darkness(), 0.5).children
    painted.value = picture
    assert "the canvas sent no picture of 32 × 32 pixels; run this cell again" in screen.value
