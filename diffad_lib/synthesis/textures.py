"""Sources of anomalies: a folder of texture images."""

from pathlib import Path

from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import IMAGE_SUFFIXES, Sample, files_below, natural_key
from diffad_lib.errors import DiffadError


def texture_samples(folder: Path) -> list[Sample]:
    """The files of `texture_files`, nested in any way, as samples; `load_split` reads them."""
    return [Sample(path, None, 0, GOOD, "train") for path in texture_files(folder)]


def texture_files(folder: Path, option: str = "--textures") -> list[Path]:
    """Image files below a folder, without hidden ones, in natural order; DiffadError if none.

    option: what named the folder, for the error.
    """
    if not folder.is_dir():
        raise DiffadError(f"{folder}: no such folder; {option} needs a folder of images")
    paths = [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    names = [path.relative_to(folder) for path in paths]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not visible:
        raise DiffadError(f"{folder}: holds no image; {option} needs a folder of images")
    return [folder / name for name in sorted(visible, key=lambda name: natural_key(str(name)))]
