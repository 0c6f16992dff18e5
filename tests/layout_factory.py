"""Makes tiny datasets in the official folder layouts, for tests.

Every function writes one category below `root` (the --data-root) and returns its folder. Images
are 32 × 32 noise; a defect is a 6 × 6 square. Each category has 3 normal training images, 2
normal and 4 defective test images.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest

SIDE = 32
TRAIN_GOOD, TEST_GOOD, TEST_DEFECT = 3, 2, 4


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels as they are: [H,W] grey, [H,W,3] BGR or [H,W,4] BGRA, uint8 or uint16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, pixels)
    assert encoded
    path.write_bytes(data.tobytes())


def write_noise(path: Path, seed: int, grey: bool = False, side: int = SIDE) -> None:
    shape = (side, side) if grey else (side, side, 3)
    write_pixels(path, np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def write_mask(path: Path, value: int = 255, side: int = SIDE) -> None:
    mask = np.zeros((side, side), np.uint8)
    mask[4:10, 12:18] = value
    write_pixels(path, mask)


def make_mvtec(
    root: Path, category: str = "bottle", folder: str = "mvtec", grey: bool = False
) -> Path:
    """MVTec AD (also MPDD, with its folder): defects "crack" and "stain", two images each."""
    base = root / folder / category
    for index in range(TRAIN_GOOD):
        write_noise(base / "train" / "good" / f"{index:03}.png", index, grey)
    for index in range(TEST_GOOD):
        write_noise(base / "test" / "good" / f"{index:03}.png", 10 + index, grey)
    for number, defect in enumerate(("crack", "stain")):
        for index in range(2):
            name = f"{index:03}"
            write_noise(base / "test" / defect / f"{name}.png", 20 + 2 * number + index, grey)
            write_mask(base / "ground_truth" / defect / f"{name}_mask.png")
    return base


def make_mpdd(root: Path, category: str = "metal_plate") -> Path:
    return make_mvtec(root, category, folder="mpdd")


def make_visa(root: Path, category: str = "candle") -> Path:
    """VisA as shipped: masks hold class ids, the csv is appended to and in no order."""
    visa = root / "visa"
    data = visa / category / "Data"
    rows = []
    for index in range(TRAIN_GOOD + TEST_GOOD):
        write_noise(data / "Images" / "Normal" / f"{index:04}.JPG", index)
        split = "train" if index < TRAIN_GOOD else "test"
        rows.append(f"{category},{split},normal,{category}/Data/Images/Normal/{index:04}.JPG,")
    for index in range(TEST_DEFECT):
        write_noise(data / "Images" / "Anomaly" / f"{index:03}.JPG", 20 + index)
        write_mask(data / "Masks" / "Anomaly" / f"{index:03}.png", value=1 + index)
        rows.append(
            f"{category},test,anomaly,{category}/Data/Images/Anomaly/{index:03}.JPG,"
            f"{category}/Data/Masks/Anomaly/{index:03}.png"
        )
    table = visa / "split_csv" / "1cls.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    old = table.read_text() if table.exists() else "object,split,label,image,mask\n"
    table.write_text(old + "\n".join(reversed(rows)) + "\n")
    return visa / category


def make_visa_rearranged(root: Path, category: str = "candle") -> Path:
    """VisA as the authors' script rearranges it: a mask is named like its image."""
    base = root / "visa" / "1cls" / category
    for index in range(TRAIN_GOOD):
        write_noise(base / "train" / "good" / f"{index:04}.JPG", index)
    for index in range(TEST_GOOD):
        write_noise(base / "test" / "good" / f"{index:04}.JPG", 10 + index)
    for index in range(TEST_DEFECT):
        write_noise(base / "test" / "bad" / f"{index:03}.JPG", 20 + index)
        write_mask(base / "ground_truth" / "bad" / f"{index:03}.png")
    return base


def make_dagm(root: Path, category: str = "Class1") -> Path:
    """DAGM 2007: greyscale; the training split holds one defective image too."""
    base = root / "dagm" / category
    for split, good, defective in (("Train", TRAIN_GOOD, 1), ("Test", TEST_GOOD, TEST_DEFECT)):
        rows = ["1"]
        for number in range(1, good + defective + 1):
            name = f"{number:04}"
            write_noise(base / split / f"{name}.PNG", number, grey=True)
            if number <= good:
                rows.append(f"{name}\t0\t{name}.PNG\t0\t0\t")
            else:
                rows.append(f"{name}\t1\t{name}.PNG\t0\t{name}_label.PNG")
                write_mask(base / split / "Label" / f"{name}_label.PNG")
        labels = base / split / "Label" / "Labels.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join(rows) + "\n")
    return base


def make_dtd(root: Path, category: str = "banded") -> Path:
    base = root / "dtd" / "images" / category
    for index in range(TRAIN_GOOD):
        write_noise(base / f"{category}_{index:04}.jpg", index)
    return base


# Those with a test set: dataset, category and what makes it.
LAYOUTS = [
    pytest.param("mvtec", "bottle", make_mvtec, id="mvtec"),
    pytest.param("mpdd", "metal_plate", make_mpdd, id="mpdd"),
    pytest.param("visa", "candle", make_visa, id="visa as shipped"),
    pytest.param("visa", "candle", make_visa_rearranged, id="visa rearranged"),
    pytest.param("dagm", "Class1", make_dagm, id="dagm"),
]
