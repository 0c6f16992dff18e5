"""Facts of the datasets: what is in them, under which licence, and where to get them.

Counts follow the dataset papers and, for VisA, the shipped `split_csv/1cls.csv`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diffad_lib.errors import DiffadError, nearest

Kind = Literal["texture", "object"]

ARCHIVE_FOLDER = "archives"  # below --data-root: where archives are kept and looked for


@dataclass(frozen=True)
class CategoryInfo:
    """Official image counts of one category.

    kind: "texture" gets random-region foregrounds in DiffusionAD, "object" automatic ones. It
        follows the official code, so MVTec's zipper counts as a texture.
    train_defect: defective images in the training folder; the one-class protocol skips them.
    """

    kind: Kind
    train_good: int
    test_good: int
    test_defect: int
    train_defect: int = 0


@dataclass(frozen=True)
class Archive:
    """One archive of a dataset.

    urls: tried in this order; empty where the archive can only be fetched by hand.
    filename: its name in `<data-root>/archives`, also of one that was put there by hand.
    extract_to: folder below --data-root into which its members go.
    sha256: hexadecimal, None where no checksum is known.
    bytes: size of the archive, None where unknown.
    manual: one sentence that says how to get it by hand.
    """

    urls: tuple[str, ...]
    filename: str
    extract_to: str
    sha256: str | None
    bytes: int | None
    manual: str


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset: its folder below --data-root, its terms, its categories and archives.

    one_size: True where all images of a category have the same height and width.
    """

    key: str
    title: str
    folder: str
    licence: str
    citation: str
    homepage: str
    one_size: bool
    categories: Mapping[str, CategoryInfo]
    archives: tuple[Archive, ...]

    @property
    def totals(self) -> tuple[int, int, int]:
        """Sums of (train_good, test_good, test_defect) over the categories."""
        infos = self.categories.values()
        return (
            sum(info.train_good for info in infos),
            sum(info.test_good for info in infos),
            sum(info.test_defect for info in infos),
        )


def _categories(kind: Kind, table: str) -> dict[str, CategoryInfo]:
    """`"carpet 280/28/89, ..."` (train good / test good / test defect) → categories."""
    rows = (row.split() for row in table.split(","))
    return {name: CategoryInfo(kind, *map(int, counts.split("/"))) for name, counts in rows}


_MVTEC = DatasetInfo(
    key="mvtec",
    title="MVTec AD",
    folder="mvtec",
    licence="CC BY-NC-SA 4.0",
    citation=(
        "P. Bergmann, M. Fauser, D. Sattlegger, C. Steger. MVTec AD – A Comprehensive Real-World "
        "Dataset for Unsupervised Anomaly Detection. CVPR 2019."
    ),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    one_size=True,
    categories=_categories(
        "texture",
        "carpet 280/28/89, grid 264/21/57, leather 245/32/92, tile 230/33/84, wood 247/19/60, "
        "zipper 240/32/119",
    )
    | _categories(
        "object",
        "bottle 209/20/63, cable 224/58/92, capsule 219/23/109, hazelnut 391/40/70, "
        "metal_nut 220/22/93, pill 267/26/141, screw 320/41/119, toothbrush 60/12/30, "
        "transistor 213/60/40",
    ),
    archives=(
        Archive(
            urls=(
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
                "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
            ),
            filename="mvtec_anomaly_detection.tar.xz",
            extract_to="mvtec",
            sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            bytes=None,
            manual=(
                "get mvtec_anomaly_detection.tar.xz from the download form at "
                "https://www.mvtec.com/company/research/datasets/mvtec-ad"
            ),
        ),
    ),
)

_VISA = DatasetInfo(
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
    categories=_categories(
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
)

# 16,100 images, 2,100 of them defective: 14,000 normal ones. The figure of 15,000 normal images,
# which is sometimes given, is wrong.
_DAGM = DatasetInfo(
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
        for number, (images, train_defect, test_defect) in enumerate(
            [
                (575, 79, 71),
                (575, 66, 84),
                (575, 66, 84),
                (575, 82, 68),
                (575, 70, 80),
                (575, 83, 67),
                *[(1150, 150, 150)] * 4,
            ],
            start=1,
        )
    },
    archives=(
        Archive(
            urls=(),
            filename="dagm-2007-competition-dataset-optical-inspection.zip",
            extract_to="dagm",
            sha256=None,
            bytes=None,
            manual=(
                "get the archive from https://www.kaggle.com/datasets/mhskjelvareid/"
                "dagm-2007-competition-dataset-optical-inspection (free account) or from "
                "https://hci.iwr.uni-heidelberg.de"
            ),
        ),
    ),
)

_MPDD = DatasetInfo(
    key="mpdd",
    title="MPDD",
    folder="mpdd",
    licence="CC BY-NC-SA 4.0 (not stated upstream)",
    citation=(
        "S. Jezek, M. Jonak, R. Burget, P. Dvorak, M. Skotak. Deep learning-based defect "
        "detection of metal parts: evaluating current methods in complex conditions. ICUMT 2021."
    ),
    homepage="https://github.com/stepanje/MPDD",
    one_size=True,
    categories=_categories(
        "object",
        "bracket_black 289/32/47, bracket_brown 185/26/51, bracket_white 110/30/30, "
        "connector 128/30/14, metal_plate 54/26/71, tubes 122/32/69",
    ),
    archives=(
        Archive(
            urls=(),
            filename="MPDD.zip",
            extract_to="mpdd",
            sha256=None,
            bytes=None,
            manual=(
                "get the archive from the OneDrive link at https://github.com/stepanje/MPDD and "
                "name it MPDD.zip"
            ),
        ),
    ),
)

_DTD_CLASSES = """
banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted
fibrous flecked freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined
marbled matted meshed paisley perforated pitted pleated polka-dotted porous potholed scaly smeared
spiralled sprinkled stained stratified striped studded swirly veined waffled woven wrinkled
zigzagged
"""

_DTD = DatasetInfo(
    key="dtd",
    title="Describable Textures Dataset (DTD)",
    folder="dtd",
    licence="research use",
    citation=(
        "M. Cimpoi, S. Maji, I. Kokkinos, S. Mohamed, A. Vedaldi. Describing Textures in the "
        "Wild. CVPR 2014."
    ),
    homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    one_size=False,
    categories=dict.fromkeys(_DTD_CLASSES.split(), CategoryInfo("texture", 120, 0, 0)),
    archives=(
        Archive(
            urls=("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
            filename="dtd-r1.0.1.tar.gz",
            extract_to=".",  # its members lie in a folder dtd of their own
            sha256="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            bytes=625_239_812,
            manual="get dtd-r1.0.1.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        ),
    ),
)

CATALOG: dict[str, DatasetInfo] = {info.key: info for info in (_MVTEC, _VISA, _DAGM, _MPDD, _DTD)}


def dataset_info(dataset: str) -> DatasetInfo:
    """Facts of a dataset; raises DiffadError that names the nearest key."""
    if dataset not in CATALOG:
        raise DiffadError(f'dataset "{dataset}" is not known; {nearest(dataset, CATALOG)}')
    return CATALOG[dataset]


def category_info(dataset: str, category: str) -> CategoryInfo:
    """Facts of an official category; raises DiffadError that names the nearest one."""
    categories = dataset_info(dataset).categories
    if category not in categories:
        raise DiffadError(
            f'category "{category}" is not in {dataset}; {nearest(category, categories)}'
        )
    return categories[category]


def category_kind(dataset: str, category: str, default: Kind = "object") -> Kind:
    """Kind of a category; `default` for one the catalog lacks (mini data, an own folder)."""
    info = CATALOG.get(dataset)
    return info.categories[category].kind if info and category in info.categories else default
