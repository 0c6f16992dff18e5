"""A user's own folder: normal images, and a test set if there is one."""

from pathlib import Path

from diffad_lib.datasets.dataset import Dataset
from diffad_lib.datasets.samples import GOOD, Scan, add_defects, add_normal, add_unread, image_files


def is_own_category(folder: Path) -> bool:
    """True if the folder holds images, or a folder train."""
    return (folder / "train").is_dir() or bool(image_files(folder))


def scan_own_folder(folder: Path) -> Scan:
    """Reads normal images from train/good, train or the folder itself, and test sets if any.

    Without a folder ground_truth the defective test images get no mask, with it each needs one.
    """
    scan = Scan()
    places = (folder / "train" / GOOD, folder / "train", folder)
    normal = next((place for place in places if image_files(place)), places[0])
    add_unread(folder, normal, scan)
    add_normal(normal, "train", scan)
    if (folder / "test" / GOOD).is_dir():
        add_normal(folder / "test" / GOOD, "test", scan)
    add_defects(folder, has_masks=(folder / "ground_truth").is_dir(), scan=scan)
    return scan


DATASET = Dataset(
    key="custom",
    title="own folders",
    folder=".",  # a category is a folder directly below --data-root
    licence="",
    citation="",
    homepage="",
    one_size=False,
    categories={},
    archives=(),
    is_category=is_own_category,
    scan=scan_own_folder,
)
