"""Procedural mini data: textures and parts with exact ground truth, in the official layouts."""

from diffad_lib.mini.categories import MINI_CATEGORIES, find_category
from diffad_lib.mini.sheet import contact_sheet
from diffad_lib.mini.write import exact_foregrounds, is_mini, make_mini

__all__ = [
    "MINI_CATEGORIES",
    "contact_sheet",
    "exact_foregrounds",
    "find_category",
    "is_mini",
    "make_mini",
]
