"""VisA: its facts and its reader. As shipped, one csv says which image is in which split."""

import csv
import io
from pathlib import Path

from diffad_lib.datasets.dataset import Archive, Dataset, categories_of, holds_train_or_test
from diffad_lib.datasets.folders import is_file, is_folder
from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import Sample, Scan, Split, add_listed, add_unlisted, scan_tree
from diffad_lib.errors import DiffadError
from diffad_lib.files import read_text

VISA_CSV = Path("split_csv", "1cls.csv")  # the one-class split
REARRANGED = "1cls"  # the folder that the authors' script makes, in the layout of MVTec AD
_COLUMNS = ("object", "split", "label", "image", "mask")
_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}


def scan_visa(folder: Path) -> Scan:
    """Reads a category, as shipped or rearranged by the authors' script.

    As shipped, its samples are rows of `<visa>/split_csv/1cls.csv`, with paths relative to
    `<visa>`. Problems: a malformed row, a defect without a mask, and as `add_listed` and
    `add_unlisted`. Raises DiffadError if the csv lacks a column.
    """
    if folder.parent.name == REARRANGED:
        return scan_tree(folder)
    scan = Scan()
    root = folder.parent
    path = root / VISA_CSV
    listed: set[Path] = set()
    for line, row in _rows(path):
        if row["object"] != folder.name:
            continue
        where = f"{path} line {line}"
        named, label, image, mask = (row[name] for name in _COLUMNS[1:])
        split = _SPLITS.get(named)
        if split is None or label not in ("normal", "anomaly") or not image:
            scan.problems.append(f"{where} is not: object, train|test, normal|anomaly, image, mask")
        elif (label == "anomaly") != bool(mask):
            has = "a mask" if mask else "no mask"
            scan.problems.append(f"{where}: {label} image {root / image} has {has}")
            listed.add(root / image)
        elif label == "normal":
            add_listed(Sample(root / image, None, 0, GOOD, split), where, listed, scan, folder)
        else:
            add_listed(
                Sample(root / image, root / mask, 1, label, split), where, listed, scan, folder
            )
    data = folder / "Data"
    folders = [data / "Images" / "Normal", data / "Images" / "Anomaly", data / "Masks" / "Anomaly"]
    add_unlisted(folders, listed, path, scan)
    return scan


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DiffadError(f"{path} has no column {', '.join(missing)}; get it again")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DiffadError(f"{path} line {reader.line_num}: {error}; get it again") from None


def _category_root(folder: Path) -> Path:
    if is_file(folder / VISA_CSV):
        return folder
    if not is_folder(folder / REARRANGED):
        raise DiffadError(
            f"{folder} holds neither {VISA_CSV} nor {REARRANGED}; data/README.md shows the layout"
        )
    return folder / REARRANGED


def _is_category(folder: Path) -> bool:
    return holds_train_or_test(folder) or is_folder(folder / "Data")


DATASET = Dataset(
    key="visa",
    title="VisA",
    folder="visa",
    licence="CC BY 4.0",
    citation=(
        "Y. Zou, J. Jeong, L. Pemula, D. Zhang, O. Dabeer. SPot-the-Difference Self-Supervised "
        "Pre-training for Anomaly Detection and Segmentation. ECCV 2022."
    ),
    homepage="https://github.com/amazon-science/spot-diff",
    one_size=False,
    categories=categories_of(
        "object",
        "candle 900/100/100, capsules 542/60/100, cashew 450/50/100, chewinggum 453/50/100, "
        "fryum 450/50/100, macaroni1 900/100/100, macaroni2 900/100/100, pcb1 904/100/100, "
        "pcb2 901/100/100, pcb3 905/101/100, pcb4 904/101/100, pipe_fryum 450/50/100",
    ),
    archives=(
        Archive(
            urls=("https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",),
            filename="VisA_20220922.tar",
            extract_to="visa",
            sha256="2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
            bytes=1_929_840_640,
            manual=(
                "get VisA_20220922.tar from the link at https://github.com/amazon-science/spot-diff"
            ),
        ),
    ),
    category_root=_category_root,
    is_category=_is_category,
    scan=scan_visa,
)
