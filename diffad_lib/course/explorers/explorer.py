"""An explorer: one render function and its parameters, with three faces."""

import io
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure

from diffad_lib.course.explorers.html import slider_html
from diffad_lib.course.explorers.live import live_widget
from diffad_lib.course.explorers.sheet import contact_sheet
from diffad_lib.course.explorers.view import Parameter, View
from diffad_lib.errors import DiffadError, nearest

_SHEET_ROWS = 6  # about; shared among the parameters
_JPEG_QUALITY = 85  # of the sheet, in which noise makes a PNG three times as large


@dataclass(frozen=True)
class Explorer:
    """As the last value of a cell it shows its slider and its sheet; `live()` gives the widget.

    render: keyword values of the parameters -> View. It does not depend on earlier calls.
    """

    title: str
    render: Callable[..., View]
    parameters: tuple[Parameter, ...]

    def contact_sheet(self) -> Figure:
        """A figure of a few settings: each parameter is varied, the others stay at their start."""
        return contact_sheet([self.render(**settings) for settings in self.sheet_settings()])

    def html(self) -> str:
        """A slider with every combination of values inline: no kernel, no network.

        What has one value only has no control here; `live` may offer more.
        """
        names = [p.name for p in self.parameters]
        grid = itertools.product(*(p.values for p in self.parameters))
        views = [self.render(**dict(zip(names, values, strict=True))) for values in grid]
        varied = [p for p in self.parameters if len(p.values) > 1]
        return slider_html(self.title, varied, views)

    def live(self, **values: Iterable[Any]) -> ipywidgets.VBox:
        """A widget that renders on demand, so it can offer more `values` of a parameter.

        Example: `explorer.live(t=range(1000))`. Raises DiffadError for an unknown parameter.
        """
        parameters = {p.name: p for p in self.parameters}
        for name, offered in values.items():
            if name not in parameters:
                raise DiffadError(
                    f'{self.title}: no parameter "{name}"; {nearest(name, parameters)}'
                )
            parameters[name] = _offering(parameters[name], tuple(offered))
        return live_widget(list(parameters.values()), self.render)

    def sheet_settings(self) -> list[dict[str, Any]]:
        """The settings of the contact sheet, in its order."""
        start = {p.name: p.values[p.start] for p in self.parameters}
        chosen = [start] if len(self.parameters) > 1 else []
        for p in self.parameters:
            for value in _spread(p, _SHEET_ROWS // len(self.parameters)):
                if (settings := start | {p.name: value}) not in chosen:
                    chosen.append(settings)
        return chosen

    def _ipython_display_(self) -> None:
        # Two outputs: where scripts do not run, as on GitHub, the figure is still there.
        display(HTML(self.html()))
        sheet = io.BytesIO()
        quality = {"quality": _JPEG_QUALITY}
        self.contact_sheet().savefig(sheet, format="jpeg", pil_kwargs=quality)
        display(Image(data=sheet.getvalue(), format="jpeg"))


def _spread(parameter: Parameter, count: int) -> list[Any]:
    """`count` values, evenly from the first to the last; one: the end farther from the start."""
    last = len(parameter.values) - 1
    if count <= 1:
        return [parameter.values[last if parameter.start <= last / 2 else 0]]
    indices = sorted({round(row * last / (count - 1)) for row in range(count)})
    return [parameter.values[index] for index in indices]


def _offering(parameter: Parameter, values: tuple[Any, ...]) -> Parameter:
    """The parameter with other values; it starts where it did, or at the nearest number."""
    before = parameter.values[parameter.start]
    if before in values:
        start = values.index(before)
    elif isinstance(before, int | float):
        start = min(range(len(values)), key=lambda index: abs(values[index] - before))
    else:
        start = len(values) // 2
    return replace(parameter, values=values, start=start)
