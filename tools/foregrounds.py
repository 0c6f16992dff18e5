"""How well each method finds the parts of the mini data: the table of docs/foregrounds.md.

    python tools/foregrounds.py         # writes it
    python tools/foregrounds.py plate   # prints the rows of one category

Every normal training image of a category is compared with the exact silhouette of its part. A row
holds the mean intersection over union, the lowest one, and how many masks are implausible.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from cards import between_marks
from diffad_lib.files import write_text
from diffad_lib.mini import MINI_CATEGORIES
from diffad_lib.runs.foregrounds import Foregrounds, Images, Source, write_foregrounds

PAGE = Path(__file__).resolve().parents[1] / "docs" / "foregrounds.md"
METHODS = ("auto", "otsu", "grabcut", "random-region")  # IS-Net is not in the lock


def cell(found: Foregrounds) -> str:
    """Mean and lowest overlap; how many masks look wrong, if any do."""
    overlaps = [one.overlap or 0.0 for one in found.masks]
    wrong = sum(map(len, found.faults.values()))
    told = f"{np.mean(overlaps):.3f} ({min(overlaps):.3f})"
    return told + (f", {wrong} of {len(overlaps)} implausible" if wrong else "")


def row(dataset: str, category: str) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        cells = [
            cell(write_foregrounds(Images(dataset, category), Source(name), Path(scratch, name)))
            for name in METHODS
        ]
    return f"| {dataset} {category} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", nargs="?", help="print its row, write nothing")
    chosen = parser.parse_args().category
    objects = [key for key, kind in MINI_CATEGORIES.items() if kind == "object"]
    rows = [row(*key) for key in objects if chosen in (None, key[1])]
    print("\n".join(rows))
    if chosen is None:
        heads = [f"| part | {' | '.join(METHODS)} |", "|---" * (len(METHODS) + 1) + "|"]
        text = PAGE.read_text(encoding="utf-8")
        write_text(PAGE, between_marks(text, "overlaps", "\n".join([*heads, *rows]), PAGE.name))


if __name__ == "__main__":
    main()
