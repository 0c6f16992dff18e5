"""A user's own folder: normal images, and a test set if there is one."""

from pathlib import Path

from diffad_lib.datasets.dataset import Dataset
from diffad_lib.datasets.folders import image_files, is_folder, kept_below
from diffad_lib.datasets.samples import Scan, add_normal, add_tests, training_folders


def is_own_category(folder: Path) -> bool:
    """True if the folder holds images, or a folder train."""
    return is_folder(folder / "train") or bool(image_files(folder))


def scan_own_folder(folder: Path) -> Scan:
    """Reads normal images from train/good, train or the folder itself, and test sets if any.

    Without a folder ground_truth the defective test images get no mask, with it each needs one.
    """
    scan = Scan()
    places = training_folders(folder, scan)
    if not any(map(image_files, places)):
        if image_files(folder / "train"):
            places = [folder / "train"]
        elif not is_folder(folder / "train"):
            places = [folder]
    for place in places:
        add_normal(place, "train", scan)
    truth = folder / "ground_truth"
    has_masks = is_folder(truth) and any(kept_below(truth))
    if is_folder(truth) and not has_masks:
        scan.problems.append(f"{truth} is empty; put the masks there, or remove it to go without")
    add_tests(folder, has_masks, scan=scan)
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
