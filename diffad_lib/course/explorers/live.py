"""The third face: an ipywidget that renders whatever is set, as long as a kernel runs."""

import html
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from diffad_lib.course.explorers.pictures import data_uri
from diffad_lib.course.explorers.view import Parameter, View

_STEP_MS = 600


def live_widget(parameters: Sequence[Parameter], render: Callable[..., View]) -> widgets.VBox:
    """Controls above the pictures of `render`, which is called after every change."""
    controls = {p.name: _control(p) for p in parameters}
    screen = widgets.HTML()

    def update(_: object = None) -> None:
        settings = {name: control.value for name, control in controls.items()}
        screen.value = screen_html(render, settings)

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return widgets.VBox([*map(_row, controls.values()), screen])


def screen_html(render: Callable[..., View], settings: dict[str, Any]) -> str:
    """Pictures and caption of `render(**settings)`, or the error that it raised.

    A kernel drops what a widget's callback raises, so an error has to become something to see.
    """
    try:
        view = render(**settings)
    except Exception as error:
        told = html.escape("".join(traceback.format_exception_only(error)).strip())
        steps = html.escape(traceback.format_exc())
        return (
            f'<div role="alert" style="border-left: 4px solid #D55E00; padding: 4px 10px">'
            f"<b>{told}</b><details><summary>Traceback</summary><pre>{steps}</pre></details></div>"
        )
    tiles = "".join(
        '<figure style="margin: 0; width: min-content">'
        f'<img src="{data_uri(tile)}" alt="{html.escape(title)}" style="height: 160px; '
        f'max-width: none; image-rendering: {"pixelated" if len(tile) < 160 else "auto"}">'
        f'<figcaption style="line-height: 1.3">{html.escape(title)}</figcaption></figure>'
        for title, tile in view.tiles.items()
    )
    return (
        f'<div style="display: flex; flex-wrap: wrap; gap: 10px">{tiles}</div>'
        f'<p role="status" style="line-height: 1.4">{html.escape(view.caption)}</p>'
    )


def _control(parameter: Parameter) -> widgets.Widget:
    kind = widgets.Dropdown if parameter.choice else widgets.SelectionSlider
    return kind(
        options=list(zip(parameter.texts, parameter.values, strict=True)),
        index=parameter.start,
        description=parameter.label,
        style={"description_width": "16em"},
        layout={"width": "42em"},
    )


def _row(control: widgets.Widget) -> widgets.Widget:
    if isinstance(control, widgets.Dropdown):
        return control
    play = widgets.Play(max=len(control.options) - 1, value=control.index, interval=_STEP_MS)
    widgets.link((play, "value"), (control, "index"))
    return widgets.HBox([control, play])
