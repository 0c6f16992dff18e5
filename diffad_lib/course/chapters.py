"""The chapters of the course: a chapter is a notebook with a card."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_lib.errors import DiffadError


class Card(BaseModel):
    """What a notebook says about itself, in the entry "diffad" of its metadata.

    title: without its number. objectives: the list under "What you will learn"; objectives_ko: the
    same in Korean. minutes: to run at the mini budget. exercises: their ids. writes: files and
    folders it leaves, relative to the checkout. other_parameters: values for a second, small run
    in the tests.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: str
    objectives: list[str] = Field(min_length=3, max_length=4)
    objectives_ko: list[str] = Field(min_length=3, max_length=4)
    minutes: int = Field(ge=1)
    exercises: list[str] = Field(max_length=4)
    writes: list[str]
    other_parameters: dict[str, Any] = Field(min_length=1)


def read_cards(root: Path) -> dict[Path, Card]:
    """Cards by notebook in `root`/notebooks, in the order of the course.

    Raises DiffadError that names a card which is not valid.
    """
    cards = {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        if "diffad" in metadata:
            try:
                cards[path] = Card.model_validate(metadata["diffad"])
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(str(part) for part in first["loc"])
                raise DiffadError(f"{path.name}: card, {key}: {first['msg']}") from None
    return cards


def label(path: Path, card: Card) -> str:
    """Number and title, such as "02 · Forward diffusion"."""
    return f"{path.name[:2]} · {card.title}"
