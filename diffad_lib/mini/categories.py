"""The categories of the mini data: what is drawn, and what can be wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffad_lib.datasets.dataset import Kind
from diffad_lib.errors import DiffadError, nearest
from diffad_lib.mini.board import draw_board
from diffad_lib.mini.fault import Fault
from diffad_lib.mini.metal import draw_bracket, draw_plate, draw_tube_end
from diffad_lib.mini.pill_pack import draw_pill_pack
from diffad_lib.mini.surface import Surface
from diffad_lib.mini.textures import draw_leather, draw_milled, draw_timber, draw_weave


@dataclass(frozen=True)
class Category:
    """One category.

    draw: the scene, from the generator of the normal variation and a fault.
    defects: names of the fault types.
    """

    dataset: str
    name: str
    kind: Kind
    draw: Callable[[np.random.Generator, Fault], Surface]
    defects: tuple[str, ...]


# No name is one of the real datasets, except DAGM's, where the layout demands ClassN.
CATEGORIES = (
    Category(
        "mvtec",
        "weave",
        "texture",
        draw_weave,
        ("cut", "hole", "missing_thread", "pulled_thread", "stain"),
    ),
    Category(
        "mvtec", "timber", "texture", draw_timber, ("crack", "dent", "hole", "scratch", "stain")
    ),
    Category(
        "mvtec",
        "plate",
        "object",
        draw_plate,
        ("bent_corner", "misplaced_hole", "missing_hole", "missing_screw", "scratch", "stain"),
    ),
    Category(
        "visa",
        "board",
        "object",
        draw_board,
        ("missing_part", "misplaced_part", "bent_pin", "solder_bridge", "scratch", "burn"),
    ),
    Category(
        "visa",
        "pill_pack",
        "object",
        draw_pill_pack,
        ("missing_pill", "broken_pill", "wrong_pill", "crushed_pocket", "stain"),
    ),
    Category("dagm", "Class1", "texture", draw_leather, ("scar", "blister", "crack")),
    Category("dagm", "Class2", "texture", draw_milled, ("pores", "crack", "burnish")),
    Category(
        "mpdd",
        "bracket",
        "object",
        draw_bracket,
        ("bent_edge", "extra_hole", "missing_rivet", "rust", "scratch"),
    ),
    Category(
        "mpdd", "tube_end", "object", draw_tube_end, ("chip", "crack", "dent", "stain", "swarf")
    ),
)

MINI_CATEGORIES: dict[tuple[str, str], Kind] = {
    (category.dataset, category.name): category.kind for category in CATEGORIES
}


def find_category(name: str) -> Category:
    """A category by its name; raises DiffadError that names the nearest one."""
    for category in CATEGORIES:
        if category.name == name:
            return category
    names = [category.name for category in CATEGORIES]
    raise DiffadError(f'the mini data has no category "{name}"; {nearest(name, names)}')
