"""The easel in a real browser: its canvas alone, and with a kernel in JupyterLab."""

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_lib.course.explorers import easel
from test_explorers_browser import WAIT_MS, browser, jupyterlab, page, run_all_cells
from test_explorers_drawing import LIGHT, Darkness

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
__all__ = ["browser", "page"]  # fixtures

GREY = 204  # of LIGHT, in 8 bits
NOTEBOOK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_explorers_drawing_browser import dark_easel
"""


def dark_easel():
    return easel(LIGHT, Darkness(), 0.5)


@pytest.fixture
def canvas(page):
    """The canvas of an easel without a kernel, beside the text field that it writes to."""
    surface, *_ = dark_easel().children
    field = '<div class="diffad-painted"><input id="sent"></div>'
    page.set_content(f'<div class="diffad-easel">{surface.value}{field}</div>')
    return page.get_by_role("img", name="picture to paint on")


def pixels_sent(page) -> np.ndarray:
    """RGB [H,W,3] of what the text field holds."""
    uri = page.locator("#sent").input_value()
    png = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_UNCHANGED)[..., 2::-1]


def drag(page, canvas, *places: tuple[float, float]) -> None:
    """One stroke over places (x, y), in shares of the canvas."""
    box = canvas.bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point)
    page.mouse.up()


def test_a_stroke_is_sent_with_its_colour_and_width_and_the_rest_is_untouched(page, canvas):
    page.get_by_label("colour").fill("#ff0000")
    page.get_by_label("width").fill("4")
    drag(page, canvas, (0.25, 0.5), (0.75, 0.5))
    pixels = pixels_sent(page)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[14:18, 9:23] == (255, 0, 0)).all()
    untouched = np.delete(pixels, range(13, 19), axis=0)
    assert (untouched == GREY).all() and (pixels[:, :5] == GREY).all()


def test_a_click_is_a_dot(page, canvas):
    page.get_by_label("width").fill("6")
    drag(page, canvas, (0.5, 0.25))
    pixels = pixels_sent(page)
    assert (pixels[7:9, 15:17] == 0).all() and 20 < (pixels[..., 0] < GREY).sum() < 50


def test_a_weak_stroke_that_crosses_itself_is_nowhere_darker(page, canvas):
    page.get_by_label("strength").fill("0.5")
    page.get_by_label("width").fill("4")
    drag(page, canvas, (0.25, 0.5), (0.75, 0.5), (0.25, 0.5), (0.5, 0.5))
    assert abs(int(pixels_sent(page).min()) - GREY / 2) <= 1


def test_undo_takes_the_last_step_back_and_clear_them_all(page, canvas):
    page.get_by_label("strength").fill("0.5")  # of strokes; Clear is to bring back all
    sizes = []

    def count() -> int:
        return int((pixels_sent(page) < GREY).any(axis=2).sum())

    for x in (0.25, 0.75):
        drag(page, canvas, (x, 0.25), (x, 0.75))
        sizes.append(count())
    assert 0 < sizes[0] < sizes[1]
    page.get_by_role("button", name="Clear").click()
    assert count() == 0
    for size in (sizes[1], sizes[0], 0, 0):  # clearing is a step too
        page.get_by_role("button", name="Undo").click()
        assert count() == size


def test_a_move_without_a_button_paints_nothing(page, canvas):
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    assert page.locator("#sent").input_value() == ""


def test_without_a_brush_it_says_what_to_use(browser):
    surface, *_ = dark_easel().children
    context = browser.new_context(java_script_enabled=False, offline=True)
    still = context.new_page()
    still.set_content(surface.value)
    expect(still.get_by_text("Use the sliders of the explorer.")).to_be_visible()
    context.close()


@pytest.mark.timeout(600)
def test_in_jupyterlab_a_stroke_moves_the_score_and_the_verdict(browser, tmp_path):
    with jupyterlab(tmp_path, NOTEBOOK.strip(), "dark_easel()") as address:
        lab = run_all_cells(browser, address)
        status = lab.locator(".diffad-easel").get_by_role("status")
        clean = "score 0.000, threshold 0.500: judged normal"
        expect(status).to_have_text(clean, timeout=WAIT_MS)
        canvas = lab.get_by_role("img", name="picture to paint on")
        canvas.scroll_into_view_if_needed()
        lab.get_by_label("width").fill("4")
        lab.get_by_label("strength").fill("0.5")
        drag(lab, canvas, (0.25, 0.5), (0.75, 0.5))
        expect(status).to_have_text("score 0.400, threshold 0.500: judged normal", timeout=WAIT_MS)
        lab.get_by_label("strength").fill("1")
        drag(lab, canvas, (0.25, 0.75), (0.75, 0.75))
        expect(status).to_have_text(
            "score 0.800, threshold 0.500: judged defective", timeout=WAIT_MS
        )
        lab.screenshot(path=tmp_path / "easel.png")
        lab.get_by_role("button", name="Clear").click()
        expect(status).to_have_text(clean, timeout=WAIT_MS)
        lab.context.close()
