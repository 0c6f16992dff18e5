"""Describable Textures Dataset: pictures to paste, no test set."""

from pathlib import Path

from diffad_lib.datasets.dataset import Archive, CategoryInfo, Dataset
from diffad_lib.datasets.folders import is_folder
from diffad_lib.datasets.samples import Scan, add_normal
from diffad_lib.errors import DiffadError

_DTD_CLASSES = """
banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted
fibrous flecked freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined
marbled matted meshed paisley perforated pitted pleated polka-dotted porous potholed scaly smeared
spiralled sprinkled stained stratified striped studded swirly veined waffled woven wrinkled
zigzagged
"""


def _images(folder: Path) -> Path:
    if not is_folder(folder / "images"):
        raise DiffadError(f"{folder} holds no folder images; data/README.md shows the layout")
    return folder / "images"


def _scan(folder: Path) -> Scan:
    scan = Scan()
    add_normal(folder, "train", scan)
    return scan


DATASET = Dataset(
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
    category_root=_images,
    is_category=is_folder,
    scan=_scan,
    has_test_sets=False,
)
