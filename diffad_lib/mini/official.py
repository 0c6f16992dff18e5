"""The files of the mini data in the layouts in which the four datasets are shipped.

Each function yields (path below the dataset's folder, content). Nothing is written here.
"""

import zlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.mini.categories import Category
from diffad_lib.mini.picture import Mask, take_picture

TRAIN_GOOD, TEST_GOOD, TEST_DEFECT = 72, 24, 36  # images of each category
DAGM_TRAIN_DEFECT = 12  # DAGM has defective training images; the one-class protocol skips them
IMAGE_FOLDERS = ("Data", "Images")  # of a path, that are no part of the name of its shot

File = tuple[str, bytes]


def mvtec_files(categories: Sequence[Category], seed: int) -> Iterator[File]:
    """MVTec AD and MPDD: CAT/{train,test}/TYPE/NNN.png, CAT/ground_truth/TYPE/NNN_mask.png."""
    for category in categories:
        for split, count in (("train", TRAIN_GOOD), ("test", TEST_GOOD)):
            for index in range(count):
                shot = f"{split}/good/{index:03d}"
                image, _ = take_picture(category, seed, shot, None)
                yield f"{category.name}/{shot}.png", _png(image)
        for defect, number in _dealt(category, TEST_DEFECT):
            shot = f"{defect}/{number:03d}"
            image, mask = take_picture(category, seed, f"test/{shot}", defect)
            yield f"{category.name}/test/{shot}.png", _png(image)
            yield f"{category.name}/ground_truth/{shot}_mask.png", _png(mask * np.uint8(255))


def visa_files(categories: Sequence[Category], seed: int) -> Iterator[File]:
    """VisA as shipped: CAT/Data/{Images,Masks}, split_csv/1cls.csv.

    Mask pixels hold the number of the defect type, 1, 2, ..., not 255. Training and test images
    lie in one folder; the csv says which is which.
    """
    rows = ["object,split,label,image,mask"]
    for category in categories:
        folder = f"{category.name}/Data"
        order = _shuffled(category, seed, TRAIN_GOOD + TEST_GOOD).tolist()
        for position, number in enumerate(order):
            path = f"{folder}/Images/Normal/{number:04d}.JPG"
            split = "train" if position < TRAIN_GOOD else "test"
            rows.append(f"{category.name},{split},normal,{path},")
            yield path, _jpg(take_picture(category, seed, f"Normal/{number:04d}", None)[0])
        for number, (defect, _) in enumerate(_dealt(category, TEST_DEFECT)):
            image, mask = take_picture(category, seed, f"Anomaly/{number:03d}", defect)
            class_id = np.uint8(category.defects.index(defect) + 1)
            paths = [f"Images/Anomaly/{number:03d}.JPG", f"Masks/Anomaly/{number:03d}.png"]
            image_path, mask_path = (f"{folder}/{path}" for path in paths)
            rows.append(f"{category.name},test,anomaly,{image_path},{mask_path}")
            yield image_path, _jpg(image)
            yield mask_path, _png(mask * class_id)
    yield "split_csv/1cls.csv", "".join(f"{row}\n" for row in rows).encode()


def dagm_files(categories: Sequence[Category], seed: int) -> Iterator[File]:
    """DAGM 2007: greyscale ClassN/{Train,Test}/NNNN.PNG, Label/NNNN_label.PNG, Label/Labels.txt.

    A mask is one coarse ellipse about the defect, as its annotators drew them.
    """
    for category in categories:
        parts = (("Train", TRAIN_GOOD, DAGM_TRAIN_DEFECT), ("Test", TEST_GOOD, TEST_DEFECT))
        for split, good, defective in parts:
            folder = f"{category.name}/{split}"
            defects: list[str | None] = [None] * good
            defects += [defect for defect, _ in _dealt(category, defective)]
            lines = ["1"]
            for index, position in enumerate(_shuffled(category, seed, len(defects)), start=1):
                name, defect = f"{index:04d}", defects[position]
                image, mask = take_picture(category, seed, f"{split}/{name}", defect)
                label = f"{name}_label.PNG" if defect else "0\t"
                lines.append(f"{name}\t{int(defect is not None)}\t{name}.PNG\t0\t{label}")
                grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
                yield f"{folder}/{name}.PNG", _png(grey)
                if defect:
                    ellipse = coarse_ellipse(mask) * np.uint8(255)
                    yield f"{folder}/Label/{name}_label.PNG", _png(ellipse)
            yield f"{folder}/Label/Labels.txt", "".join(f"{line}\n" for line in lines).encode()


def coarse_ellipse(mask: Mask) -> Mask:
    """The ellipse of the mask's principal axes, large enough to hold all of it; uint8 {0, 1}."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    centre = points.mean(axis=0)
    spread = np.cov(points - centre, rowvar=False) + 4 * np.eye(2)  # never a bare line
    distances = np.einsum("ni,ij,nj->n", points - centre, np.linalg.inv(spread), points - centre)
    variances, axes = np.linalg.eigh(spread)
    half_axes = np.sqrt(variances * distances.max()) + 2
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    ellipse = np.zeros_like(mask)
    lengths = (2 * half_axes[1], 2 * half_axes[0])
    cv2.ellipse(ellipse, (tuple(centre), lengths, angle), 1, cv2.FILLED)
    return ellipse


def _dealt(category: Category, count: int) -> Iterator[tuple[str, int]]:
    """(defect type, number within the type), the types in turn."""
    types = category.defects
    return ((types[index % len(types)], index // len(types)) for index in range(count))


def _shuffled(category: Category, seed: int, count: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed, zlib.crc32(f"{category.name}/{count}".encode())])
    return rng.permutation(count)


def _png(image: NDArray[np.uint8]) -> bytes:
    return _encoded(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _jpg(image: NDArray[np.uint8]) -> bytes:
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _encoded(suffix: str, image: NDArray[np.uint8], settings: list[int]) -> bytes:
    """OpenCV takes BGR."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(suffix, np.ascontiguousarray(pixels), settings)[1].tobytes()
