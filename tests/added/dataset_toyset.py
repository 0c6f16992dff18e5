"""Toyset: a dataset in the layout of MVTec AD."""

from diffad_lib.datasets.dataset import Dataset, categories_of

DATASET = Dataset(
    key="toyset",
    title="Toyset",
    folder="toyset",
    licence="CC0",
    citation="nobody",
    homepage="https://example.org",
    one_size=True,
    categories=categories_of("texture", "disc 3/2/4"),
    archives=(),
)
