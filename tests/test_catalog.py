import pytest

from diffad_lib.datasets.catalog import CATALOG, category_kind, find_dataset
from diffad_lib.errors import DiffadError


@pytest.mark.parametrize(
    ("dataset", "categories", "totals"),
    [
        ("mvtec", 15, (3629, 467, 1258)),
        ("visa", 12, (8659, 962, 1200)),
        ("mpdd", 6, (888, 176, 282)),
        ("dtd", 47, (5640, 0, 0)),
    ],
)
def test_totals_are_the_published_ones(dataset, categories, totals):
    infos = CATALOG[dataset].categories.values()
    counts = [(info.train_good, info.test_good, info.test_defect) for info in infos]
    assert len(counts) == categories
    assert tuple(map(sum, zip(*counts, strict=True))) == totals


def test_dagm_has_14000_normal_and_2100_defective_images():
    infos = CATALOG["dagm"].categories.values()
    assert len(infos) == 10
    assert sum(info.train_good + info.test_good for info in infos) == 14_000
    assert sum(info.train_defect + info.test_defect for info in infos) == 2_100
    assert [info.train_good + info.train_defect for info in infos] == [575] * 6 + [1150] * 4
    assert [info.test_good + info.test_defect for info in infos] == [575] * 6 + [1150] * 4


def test_single_categories_have_the_published_counts():
    bottle, screw, pcb3 = (
        CATALOG["mvtec"].categories["bottle"],
        CATALOG["mvtec"].categories["screw"],
        CATALOG["visa"].categories["pcb3"],
    )
    assert (bottle.train_good, bottle.test_good, bottle.test_defect) == (209, 20, 63)
    assert (screw.train_good, screw.test_good, screw.test_defect) == (320, 41, 119)
    assert (pcb3.train_good, pcb3.test_good, pcb3.test_defect) == (905, 101, 100)


def test_kinds_are_those_of_the_foreground_rule():
    textures = {
        name for name, info in CATALOG["mvtec"].categories.items() if info.kind == "texture"
    }
    assert textures == {"carpet", "grid", "leather", "tile", "wood", "zipper"}
    assert {info.kind for info in CATALOG["dagm"].categories.values()} == {"texture"}
    assert {info.kind for info in CATALOG["visa"].categories.values()} == {"object"}
    assert {info.kind for info in CATALOG["mpdd"].categories.values()} == {"object"}


def test_kind_of_an_unlisted_category_is_object_unless_told():
    assert category_kind("dagm", "Class3") == "texture"
    assert category_kind("mvtec", "weave") == "object"
    assert category_kind("custom", "screws") == "object"
    assert category_kind("custom", "screws", default="texture") == "texture"


def test_unknown_names_are_errors_that_name_the_nearest():
    with pytest.raises(DiffadError, match=r'"mvtek".*"mvtec"'):
        find_dataset("mvtek")


def test_every_dataset_says_how_to_get_it_and_under_which_terms():
    own = CATALOG["custom"]
    assert own.key == "custom" and not own.categories and not own.archives
    for key, info in CATALOG.items():
        if info is own:
            continue
        assert info.key == info.folder == key
        assert info.licence and info.citation and info.homepage.startswith("https://")
        for archive in info.archives:
            assert "https://" in archive.manual
            assert archive.filename in archive.manual or not archive.urls
            assert all(url.endswith(archive.filename) for url in archive.urls)
            assert (archive.sha256 is None) == (not archive.urls)
            assert archive.sha256 is None or len(bytes.fromhex(archive.sha256)) == 32
