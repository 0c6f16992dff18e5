"""MPDD: its facts. It has the layout of MVTec AD."""

from diffad_lib.datasets.dataset import Archive, Dataset, categories_of

DATASET = Dataset(
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
    categories=categories_of(
        "object",
        "bracket_black 289/32/47, bracket_brown 185/26/51, bracket_white 110/30/30, "
        "connector 128/30/14, metal_plate 54/26/71, tubes 122/32/69",
    ),
    archives=(
        Archive(
            filename="MPDD.zip",
            extract_to="mpdd",
            manual=(
                "get the archive from the OneDrive link at https://github.com/stepanje/MPDD and "
                "name it MPDD.zip"
            ),
        ),
    ),
)
