"""An explorer: one render function and its parameters, with three faces."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
from IPython.display import HTML, display
from matplotlib.figure import Figure

from diffad_lib.errors import DiffadError, nearest
from diffad_lib.explorers.html import slider_html
from diffad_lib.explorers.live import live_widget
from diffad_lib.explorers.sheet import contact_sheet
from diffad_lib.explorers.view import Parameter, View

_ROWS = 6  # of a sheet with one parameter
_ROWS_EACH = 3  # of a sheet with several


@dataclass(frozen=True)
class Explorer:
    """As the last value of a cell it shows its sheet and its slider; `live()` gives the widget.

    render: keyword values of the parameters -> View. It does not depend on earlier calls.
    """

    title: str
    render: Callable[..., View]
    parameters: tuple[Parameter, ...]

    def contact_sheet(self) -> Figure:
        """A figure of a few settings: each parameter is varied, the others stay at their start."""
        return contact_sheet([self.render(**settings) for settings in self.sheet_settings()])

    def html(self) -> str:
        """A slider with every combination of values inline: no kernel, no network."""
        names = [p.name for p in self.parameters]
        grid = itertools.product(*(p.values for p in self.parameters))
        views = [self.render(**dict(zip(names, values, strict=True))) for values in grid]
        return slider_html(self.title, self.parameters, views)

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
        rows = _ROWS if len(self.parameters) == 1 else _ROWS_EACH
        chosen: list[dict[str, Any]] = []
        for p in self.parameters:
            last, count = len(p.values) - 1, min(rows, len(p.values))
            for row in range(count):
                settings = start | {p.name: p.values[round(row * last / max(count - 1, 1))]}
                if settings not in chosen:
                    chosen.append(settings)
        return chosen

    def _ipython_display_(self) -> None:
        # Two outputs: where scripts do not run, as on GitHub, the figure is still there.
        display(self.contact_sheet())
        display(HTML(self.html()))


def _offering(parameter: Parameter, values: tuple[Any, ...]) -> Parameter:
    """The parameter with other values; it starts where it did if that is still among them."""
    before = parameter.values[parameter.start]
    return replace(parameter, values=values, start=values.index(before) if before in values else 0)
