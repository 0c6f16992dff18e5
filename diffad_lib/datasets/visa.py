"""Reader of VisA as shipped: one csv says which image is in which split."""

import csv
from pathlib import Path

from diffad_lib.datasets.samples import GOOD, Sample, Scan, add_listed, add_unlisted
from diffad_lib.errors import DiffadError

VISA_CSV = Path("split_csv", "1cls.csv")  # the one-class split
_COLUMNS = ("object", "split", "label", "image", "mask")


def scan_visa(folder: Path) -> Scan:
    """Reads the rows of one category (`<visa>/CATEGORY`) from `<visa>/split_csv/1cls.csv`.

    Paths in the csv are relative to `<visa>`. Problems: a malformed row, a listed file that is
    missing or listed twice, a defective image without a mask, and an image or mask of the
    category that is not listed. Raises DiffadError if the csv lacks a column.
    """
    scan = Scan()
    root = folder.parent
    path = root / VISA_CSV
    listed: set[Path] = set()
    for line, row in _rows(path):
        if row["object"] != folder.name:
            continue
        where = f"{path} line {line}"
        split, label, image, mask = (row[name] for name in _COLUMNS[1:])
        if split not in ("train", "test") or label not in ("normal", "anomaly") or not image:
            scan.problems.append(f"{where} is not: object, train|test, normal|anomaly, image, mask")
        elif (label == "anomaly") != bool(mask):
            has = "a mask" if mask else "no mask"
            scan.problems.append(f"{where}: {label} image {root / image} has {has}")
            listed.add(root / image)
        elif label == "normal":
            add_listed(Sample(root / image, None, 0, GOOD, split), where, listed, scan)
        else:
            add_listed(Sample(root / image, root / mask, 1, label, split), where, listed, scan)
    data = folder / "Data"
    folders = [data / "Images" / "Normal", data / "Images" / "Anomaly", data / "Masks" / "Anomaly"]
    add_unlisted(folders, listed, path, scan)
    return scan


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DiffadError(f"{path} has no column {', '.join(missing)}; get it again")
        return [(reader.line_num, row) for row in reader]
