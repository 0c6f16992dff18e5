"""DAGM 2007: its facts and its reader. Labels.txt says which image is defective."""

from pathlib import Path

from diffad_lib.datasets.dataset import Archive, CategoryInfo, Dataset
from diffad_lib.datasets.folders import is_file, is_folder
from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import Sample, Scan, Split, add_listed, add_unlisted
from diffad_lib.files import read_text


def scan_dagm(folder: Path) -> Scan:
    """Reads ClassN/{Train,Test}/NNNN.PNG with Label/Labels.txt and Label/NNNN_label.PNG.

    The samples hold the defective training images too. Problems: a missing Labels.txt, a
    malformed line, a defect without a mask, and as `add_listed` and `add_unlisted`.
    """
    scan = Scan()
    _scan_split(folder / "Train", "train", scan)
    _scan_split(folder / "Test", "test", scan)
    return scan


def _scan_split(folder: Path, split: Split, scan: Scan) -> None:
    labels = folder / "Label" / "Labels.txt"
    if not is_file(labels):
        scan.problems.append(f"{labels} does not exist; without it no image has a label")
        return
    scan.others[labels] = "list of labels"
    listed: set[Path] = set()
    for number, line in enumerate(read_text(labels).splitlines(), start=1):
        fields = line.split()
        if not fields or (number == 1 and len(fields) == 1 and fields[0].isdecimal()):
            continue  # the file starts with a line "1"
        where = f"{labels} line {number}"
        if len(fields) != 5 or fields[1] not in ("0", "1"):
            scan.problems.append(
                f"{where} is not: number, 0 or 1, image, 0, mask or 0, with blanks between them"
            )
            continue
        _, label, image, _, mask = fields
        if (label == "1") == (mask == "0"):
            has = "no mask" if mask == "0" else "a mask"
            scan.problems.append(f"{where}: {folder / image} has label {label} but {has}")
            listed.add(folder / image)
        elif label == "0":
            add_listed(
                Sample(folder / image, None, 0, GOOD, split), where, listed, scan, folder.parent
            )
        else:
            sample = Sample(folder / image, labels.parent / mask, 1, "defect", split)
            add_listed(sample, where, listed, scan, folder.parent)
    add_unlisted([folder, labels.parent], listed, labels, scan)


def _is_category(folder: Path) -> bool:
    return is_folder(folder / "Train") or is_folder(folder / "Test")


# Images in a split, defective ones in training and in test. In all 16,100 images, 2,100 of them
# defective: 14,000 normal ones. The figure of 15,000, which is sometimes given, is wrong.
_COUNTS = [
    (575, 79, 71), (575, 66, 84), (575, 66, 84), (575, 82, 68), (575, 70, 80), (575, 83, 67),
    *[(1150, 150, 150)] * 4,
]  # fmt: skip

DATASET = Dataset(
    key="dagm",
    title="DAGM 2007",
    folder="dagm",
    licence="publicly available; no licence text found",
    citation=(
        "M. Wieler, T. Hahn. Weakly Supervised Learning for Industrial Optical Inspection. "
        "Competition at the 29th Annual Symposium of the German Association for Pattern "
        "Recognition (DAGM), 2007."
    ),
    homepage="https://hci.iwr.uni-heidelberg.de",
    one_size=True,
    categories={
        f"Class{number}": CategoryInfo(
            "texture", images - train_defect, images - test_defect, test_defect, train_defect
        )
        for number, (images, train_defect, test_defect) in enumerate(_COUNTS, start=1)
    },
    archives=(
        Archive(
            filename="dagm-2007-competition-dataset-optical-inspection.zip",
            extract_to="dagm",
            manual=(
                "get the archive from https://www.kaggle.com/datasets/mhskjelvareid/"
                "dagm-2007-competition-dataset-optical-inspection (free account) or from "
                "https://hci.iwr.uni-heidelberg.de"
            ),
        ),
    ),
    is_category=_is_category,
    scan=scan_dagm,
)
