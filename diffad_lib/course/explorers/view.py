"""What an explorer shows at one setting, and what can be set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H,W,3] RGB


@dataclass(frozen=True)
class Parameter:
    """One thing to set.

    name: keyword of the render function. label: what a person reads beside the control.
    values: what it can be, in the order of the slider. start: index of the first one shown.
    choice: a list to choose from, not a slider.
    """

    name: str
    label: str
    values: tuple[Any, ...]
    start: int = 0
    choice: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < len(self.values):
            raise ValueError(f"{self.name}: start {self.start} is no index of {self.values}")

    @property
    def texts(self) -> list[str]:
        """The values as a person reads them."""
        return [_text(value) for value in self.values]


@dataclass(frozen=True)
class View:
    """Tiles by their title, beside each other, and a sentence with the numbers.

    Titles and sizes of the tiles are the same at every setting of an explorer.
    """

    tiles: dict[str, Pixels]
    caption: str


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " × ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
