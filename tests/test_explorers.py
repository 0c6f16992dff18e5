"""The three faces, on an explorer whose pictures are plain colours."""

import base64
import io
import json
import re

import cv2
import ipywidgets
import numpy as np
import PIL.Image
import pytest

from diffad_lib.course.explorers import Explorer, Parameter, View, explorer
from diffad_lib.course.explorers.html import MAX_BYTES, slider_html
from diffad_lib.course.explorers.live import screen_html
from diffad_lib.course.explorers.pictures import data_uri, pixels_of, small_plot
from diffad_lib.errors import DiffadError


def flat(*colour: int) -> np.ndarray:
    return np.full((32, 32, 3), colour, np.uint8)


def render(step: int, tint: str) -> View:
    if step < 0:
        raise ValueError(f"step <{step}> is below 0")
    blue = {"none": 0, "blue": 200}[tint]
    return View({"fixed": flat(9, 9, 9), "moving": flat(40 * step, 0, blue)}, f"{step} & {tint}")


STEP = Parameter("step", "step s", (0, 1, 2, 3, 4, 5), start=2)
TINT = Parameter("tint", "tint", ("none", "blue"), choice=True)
TOY = Explorer("Toy", render, (STEP, TINT))


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def decoded(uri: str) -> np.ndarray:
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert uri.startswith("data:image/webp;base64,") and picture.format == "WEBP"
    return np.asarray(picture.convert("RGB"))


def test_a_start_outside_the_values_is_refused():
    with pytest.raises(ValueError, match="start 3"):
        Parameter("t", "t", (1, 2, 3), start=3)


def test_values_are_written_as_a_person_reads_them():
    assert Parameter("x", "x", (1.0, 0.25, 7, "on", (2, 16))).texts == [
        "1", "0.25", "7", "on", "2 × 16",
    ]  # fmt: skip


def test_the_sheet_varies_each_parameter_while_the_others_stay_at_their_start():
    settings = [(s["step"], s["tint"]) for s in TOY.sheet_settings()]
    assert settings == [(2, "none"), (0, "none"), (5, "none"), (2, "blue")]
    single = Explorer("Toy", render, (Parameter("step", "step", tuple(range(11)), start=3),))
    assert [s["step"] for s in single.sheet_settings()] == [0, 2, 4, 6, 8, 10]


def test_with_many_parameters_the_sheet_shows_the_end_farther_from_each_start():
    starts = {"a": 0, "b": 3, "c": 1, "d": 2}
    many = [Parameter(name, name, (0, 1, 2, 3), start=at) for name, at in starts.items()]
    settings = Explorer("Toy", render, tuple(many)).sheet_settings()
    assert [tuple(s.values()) for s in settings] == [
        (0, 3, 1, 2), (3, 3, 1, 2), (0, 0, 1, 2), (0, 3, 3, 2), (0, 3, 1, 0),
    ]  # fmt: skip


def test_the_sheet_draws_every_tile_with_its_caption_and_titles_once():
    figure = TOY.contact_sheet()
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["fixed", "moving", "2 & none", "0 & none", "5 & none", "2 & blue"]
    drawn = [np.asarray(axis.images[0].get_array())[0, 0].tolist() for axis in figure.axes]
    assert drawn[1::2] == [[80, 0, 0], [0, 0, 0], [200, 0, 0], [80, 0, 200]]
    assert drawn[::2] == [[9, 9, 9]] * 4
    places = [axis.get_position() for axis in figure.axes]
    for above, below in zip(places[::2], places[2::2], strict=False):
        assert below.y1 < above.y0  # rows do not overlap
    assert min(place.y0 for place in places) >= 0 and max(place.x1 for place in places) <= 1


def test_the_slider_stores_shared_pictures_once_and_finds_every_view():
    data = data_of(TOY.html())
    assert len(data["views"]) == 12 and len(data["images"]) == 1 + 12
    assert data["captions"][:3] == ["0 & none", "0 & blue", "1 & none"]  # the last varies fastest
    fixed, moving = (decoded(data["images"][n]) for n in data["views"][2 * 3 + 1])
    assert (fixed == 9).all() and (moving == flat(120, 0, 200)).all()
    assert data["parameters"][0] == {
        "label": "step s", "texts": list("012345"), "start": 2, "choice": False,
    }  # fmt: skip
    assert data["tiles"][1] == {"title": "moving", "height": 32, "width": 32}


def test_what_has_one_value_has_no_control_in_the_slider_and_may_have_more_in_the_widget():
    tint = Parameter("tint", "tint", ("blue",), choice=True)
    explorer = Explorer("Toy", render, (tint, Parameter("step", "step", (0, 3))))
    data = data_of(explorer.html())
    assert [p["label"] for p in data["parameters"]] == ["step"]
    assert data["captions"] == ["0 & blue", "3 & blue"]
    box = explorer.live(tint=("none", "blue"))
    assert [value for _, value in box.children[0].options] == ["none", "blue"]


def test_no_text_can_end_the_script_that_holds_the_data():
    view = View({"</script>": flat(0, 0, 0)}, "a </script><b>")
    page = slider_html("</script>", [Parameter("x", "x", (1,))], [view])
    assert page.count("</script>") == 2  # the template's own
    assert data_of(page)["captions"] == ["a </script><b>"]


def test_a_slider_that_would_bloat_the_notebook_is_refused():
    rng = np.random.default_rng(0)

    def noisy(step: int) -> View:
        return View({"noise": rng.integers(0, 256, (256, 256, 3), np.uint8)}, "")

    with pytest.raises(DiffadError, match=r"Noise: 20 views take \d+ kB, more than 600; .* step"):
        Explorer("Noise", noisy, (Parameter("step", "s", tuple(range(20))),)).html()
    assert MAX_BYTES == 600_000


def test_a_mask_is_stored_lossless_and_a_photograph_small():
    rng = np.random.default_rng(0)
    mask = np.repeat(255 * (rng.random((64, 64, 1)) > 0.9).astype(np.uint8), 3, axis=2)
    assert (decoded(data_uri(mask)) == mask).all()
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    assert len(data_uri(noise)) < noise.size / 2
    colour = cv2.GaussianBlur(noise, (0, 0), 8)
    assert np.abs(decoded(data_uri(colour)).astype(int) - colour).mean() < 4  # RGB, not BGR


def test_a_plot_keeps_its_white_and_black():
    figure = small_plot()
    figure.subplots().axvline(0.5, color="black", linewidth=3)
    pixels = pixels_of(figure)
    assert pixels.min() == 0 and pixels.max() == 255 and len(np.unique(pixels)) <= 8


def test_as_the_value_of_a_cell_it_shows_the_slider_and_then_the_sheet(monkeypatch):
    shown = []
    monkeypatch.setattr(explorer, "display", shown.append)
    TOY._ipython_display_()
    slider, sheet = shown
    picture = PIL.Image.open(io.BytesIO(sheet.data))
    width, height = TOY.contact_sheet().get_size_inches() * 90
    assert picture.format == "JPEG" and np.abs(np.subtract(picture.size, (width, height))).max() < 2
    assert slider.data == TOY.html()


def controls(widget: ipywidgets.VBox) -> list:
    rows = [row.children if isinstance(row, ipywidgets.HBox) else (row,) for row in widget.children]
    return [child for row in rows for child in row]


def test_the_widget_shows_what_its_controls_are_set_to():
    slider, play, tint, screen = controls(TOY.live())
    assert (slider.value, tint.value) == (2, "none") and "2 &amp; none" in screen.value
    slider.value = 4
    assert "4 &amp; none" in screen.value and data_uri(flat(160, 0, 0)) in screen.value
    tint.value = "blue"
    assert "4 &amp; blue" in screen.value and data_uri(flat(160, 0, 200)) in screen.value
    play.value = 1  # what its Play button counts up
    assert slider.value == 1 and "1 &amp; blue" in screen.value
    assert play.max == 5


def test_the_widget_offers_more_values_than_the_slider():
    slider, _, _, screen = controls(TOY.live(step=range(1, 100)))
    assert len(slider.options) == 99 and slider.value == 2 and "2 &amp; none" in screen.value
    slider, *_ = controls(TOY.live(step=[-3, 0, 1.5, 6, 7, 8, 9]))
    assert slider.value == 1.5  # nearest to the start, which is not among the values
    _, _, tint, _ = controls(TOY.live(tint=["red", "blue", "green"]))
    assert tint.value == "blue"
    with pytest.raises(DiffadError, match=r'Toy: no parameter "steps"; did you mean "step"\?'):
        TOY.live(steps=[1])


def test_an_error_of_the_callback_is_shown_and_goes_away():
    slider, _, _, screen = controls(TOY.live(step=[6, -1]))
    assert 'role="alert"' in screen.value
    assert "ValueError: step &lt;-1&gt; is below 0" in screen.value
    assert "line" in screen.value and "in render" in screen.value  # the traceback
    slider.value = 6
    assert "alert" not in screen.value and "6 &amp; none" in screen.value


def test_screen_html_is_plain_to_call():
    assert "5 &amp; blue" in screen_html(render, {"step": 5, "tint": "blue"})
    assert "KeyError" in screen_html(render, {"step": 5, "tint": "green"})
