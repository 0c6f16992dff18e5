"""Sources of anomalies: a folder of texture images."""

from pathlib import Path

from diffad_lib.datasets.folders import is_folder, is_image, kept_below, natural_key
from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError


def texture_samples(folder: Path) -> list[Sample]:
    """The files of `texture_files`, nested in any way, as samples; `load_split` reads them."""
    return [Sample(path, None, 0, GOOD, "train") for path in texture_files(folder)]


def texture_files(folder: Path, option: str = "--textures") -> list[Path]:
    """Image files below a folder, without hidden ones, in natural order; DiffadError if none.

    option: what named the folder, for the error.
    """
    if not is_folder(folder):
        raise DiffadError(f"{folder}: no such folder; {option} needs a folder of images")
    names = [path.relative_to(folder) for path in kept_below(folder) if is_image(path)]
    if not names:
        raise DiffadError(f"{folder}: holds no image; {option} needs a folder of images")
    return [folder / name for name in sorted(names, key=lambda name: natural_key(str(name)))]
