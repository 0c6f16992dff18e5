"""What the chapters share: the first cell, twins of the mini data, and what is left of a part."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_files import COURSE, code_cells, read
from diffad_lib.course import lessons
from diffad_lib.datasets.decode import decode_image, decode_mask, resize_image
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import image_auroc
from diffad_lib.mini import make_mini
from diffad_lib.mini.categories import CATEGORIES
from diffad_lib.mini.picture import take_picture
from diffad_lib.runs.data import MINI_ROOT

BRACKET = next(drawn for drawn in CATEGORIES if drawn.name == "bracket")


@pytest.fixture
def noise():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def left_half():
    where = torch.zeros(4, 1, 16, 16, dtype=torch.bool)
    where[..., :8] = True
    return where


def as_image(picture):
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 255


def test_setup_names_the_versions_and_gives_figures_their_look(capsys):
    with plt.rc_context({"axes.spines.top": True, "axes.spines.right": True, "figure.dpi": 10}):
        lessons.setup()
        assert not plt.rcParams["axes.spines.top"] and not plt.rcParams["axes.spines.right"]
        assert plt.rcParams["figure.dpi"] == 90
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("python 3.") and f"torch {torch.__version__}" in lines
        lessons.setup(dpi=50)
        assert plt.rcParams["figure.dpi"] == 50


def test_a_picture_is_that_of_the_mini_data_as_a_tensor():
    picture, _ = take_picture(BRACKET, 3, "shot 1", "rust")
    taken = lessons.take("bracket", "shot 1", "rust", len(picture), 3)
    assert taken.dtype == torch.float32 and taken.shape == (3, len(picture), len(picture))
    torch.testing.assert_close(taken, as_image(picture))
    small = lessons.take("bracket", "shot 1", "rust", 32, 3)
    assert small.dtype == torch.float32
    torch.testing.assert_close(small, as_image(resize_image(picture, 32)))


def test_another_shot_and_another_seed_give_another_picture():
    one = lessons.take("weave", "shot 1", None, 32, 0)
    assert torch.equal(one, lessons.take("weave", "shot 1", None, 32, 0))
    assert not torch.equal(one, lessons.take("weave", "shot 2", None, 32, 0))
    assert not torch.equal(one, lessons.take("weave", "shot 1", None, 32, 1))


def test_twins_are_the_same_picture_but_for_the_defect():
    picture, mask = take_picture(BRACKET, 0, "shot 1", "extra_hole")
    clean, bad = lessons.take_twins("bracket", [("shot 1", "extra_hole")], len(picture), 0)
    outside = torch.from_numpy(mask == 0)
    assert torch.equal(clean[0][:, outside], bad[0][:, outside])
    assert (bad - clean)[0][:, ~outside].abs().max() > 0.1


def test_twins_come_in_the_order_of_their_cases():
    cases = [("b", "rust"), ("a", "scratch"), ("b", "scratch")]
    clean, bad = lessons.take_twins("bracket", cases, 32, 2)
    assert clean.shape == bad.shape == (3, 3, 32, 32)
    for number, (shot, defect) in enumerate(cases):
        assert torch.equal(clean[number], lessons.take("bracket", shot, None, 32, 2))
        assert torch.equal(bad[number], lessons.take("bracket", shot, defect, 32, 2))


def test_every_defect_is_found_under_its_category():
    assert {drawn.name: drawn.defects for drawn in CATEGORIES} == lessons.DEFECTS
    assert len(lessons.DEFECTS) == len(CATEGORIES)  # no two categories share a name


def test_a_name_that_does_not_exist_is_an_error_that_names_the_nearest():
    with pytest.raises(DiffadError, match=r'no category "brackett"; did you mean "bracket"'):
        lessons.take("brackett", "a", None, 32, 0)
    with pytest.raises(DiffadError, match=r'bracket has no defect "rusts"; did you mean "rust"'):
        lessons.take("bracket", "a", "rusts", 32, 0)
    with pytest.raises(DiffadError, match=r'no category "wave"; did you mean "weave"'):
        lessons.mini_split("wave", "train", 32)


@pytest.mark.parametrize(("split", "count", "defective"), [("train", 72, 0), ("test", 60, 36)])
def test_a_split_of_the_mini_data_is_what_its_files_hold(split, count, defective):
    images, masks = lessons.mini_split("bracket", split, 64)
    assert images.shape == (count, 3, 64, 64) and masks.shape == (count, 1, 64, 64)
    assert images.dtype == masks.dtype == torch.float32
    samples = [s for s in list_samples("mpdd", "bracket", MINI_ROOT) if s.split == split]
    for number in (0, count - 1):
        file = resize_image(decode_image(samples[number].image), 64)
        torch.testing.assert_close(images[number], as_image(file))
    assert set(masks.unique().tolist()) == ({0.0, 1.0} if defective else {0.0})
    marked = masks.flatten(1).any(dim=1).tolist()
    assert marked == [sample.label == 1 for sample in samples] and sum(marked) == defective
    if defective:
        share = decode_mask(samples[-1].mask).mean()
        assert masks[-1].mean().item() == pytest.approx(share, rel=0.2)


def test_the_mini_data_are_made_where_they_are_missing(monkeypatch):
    made = []

    def make(root):
        made.append(root)
        make_mini(root)

    monkeypatch.setattr(lessons, "make_mini", make)
    lessons.mini_split("weave", "test", 32)
    assert made == [MINI_ROOT]


def test_a_pixel_is_defective_where_one_channel_changed_visibly():
    clean = torch.full((2, 3, 4, 4), 0.5)
    bad = clean.clone()
    bad[0, 1, 0, 0] += 0.03
    bad[1, 2, 3, 1] -= 0.03
    bad[:, :, 2, 2] += 0.015  # the same in every channel, and not to be seen
    mask = lessons.defect_mask(clean, bad)
    assert mask.dtype == torch.bool and mask.shape == (2, 1, 4, 4)
    assert mask.nonzero().tolist() == [[0, 0, 0, 0], [1, 0, 3, 1]]


def test_the_share_is_the_factor_of_what_is_wanted_whatever_else_is_there(noise):
    wanted = torch.zeros_like(noise)
    wanted[..., :8] = noise[..., :8]
    share = torch.tensor([0.0, 0.5, 1.0, -2.0])
    found = share[:, None, None, None] * wanted + (noise - wanted)  # the rest is orthogonal
    torch.testing.assert_close(lessons.share_kept(found, wanted), share)


def test_the_share_is_that_of_the_nearest_multiple(noise):
    found, wanted = noise, noise.roll(1, dims=0) + 0.5 * noise
    nearest = [
        torch.linalg.lstsq(w.reshape(-1, 1), f.reshape(-1, 1)).solution.item()
        for f, w in zip(found, wanted, strict=True)
    ]
    torch.testing.assert_close(lessons.share_kept(found, wanted), torch.tensor(nearest))


def test_the_share_counts_only_the_pixels_asked_for(noise, left_half):
    found = noise.clone()
    found[..., :8] *= 0.25
    torch.testing.assert_close(lessons.share_kept(found, noise, left_half), torch.full((4,), 0.25))
    whole = lessons.share_kept(found, noise)
    assert ((whole > 0.3) & (whole < 1)).all()


def test_a_defect_is_kept_by_the_defective_picture_and_gone_from_its_twin(noise):
    cases = [("a", "rust"), ("b", "extra_hole")]
    clean, bad = lessons.take_twins("bracket", cases, 32, 0)
    outside = ~lessons.defect_mask(clean, bad)
    for share in (0.0, 0.25, 1.0):
        result = clean + share * (bad - clean) + outside * 0.3  # wrong elsewhere: does not count
        kept = lessons.defect_kept(result, clean, bad)
        torch.testing.assert_close(kept, torch.full((2,), share), atol=1e-5, rtol=0)
    one_of_two = torch.stack([clean[0], bad[1]])
    assert lessons.defect_kept(one_of_two, clean, bad).tolist() == pytest.approx([0, 1])


def test_fine_detail_is_what_a_mean_over_five_by_five_pixels_takes_away():
    assert lessons.detail(torch.full((1, 3, 9, 9), 0.7)).abs().max() < 1e-6  # the border too
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    expected = torch.zeros(1, 1, 9, 9)
    expected[..., 2:7, 2:7] = -1 / 25
    expected[..., 4, 4] += 1
    torch.testing.assert_close(lessons.detail(dot), expected)


def test_detail_is_kept_in_the_picture_and_blurred_away_in_its_brightness(noise, left_half):
    half = noise * 0.5 + 0.3  # half the contrast, another brightness
    everywhere = torch.ones_like(left_half)
    torch.testing.assert_close(lessons.detail_kept(half, noise, everywhere), torch.full((4,), 0.5))
    flat = noise.mean(dim=(2, 3), keepdim=True).expand_as(noise)
    assert lessons.detail_kept(flat, noise, everywhere).abs().max() < 1e-5
    joined = torch.where(left_half, noise, flat)
    inner = left_half.clone()
    inner[..., 6:] = False  # no window of these pixels reaches the flat half
    torch.testing.assert_close(lessons.detail_kept(joined, noise, inner), torch.ones(4))
    assert (lessons.detail_kept(joined, noise, everywhere) < 0.8).all()


def test_rms_is_taken_over_colours_and_pixels_of_each_image(left_half):
    error = torch.zeros(4, 3, 16, 16)
    error[0] = 2
    error[1, 0] = -3  # one of three colours
    error[2, ..., 8:] = 5  # where it does not count
    expected = torch.tensor([2.0, 3 / 3**0.5, 0.0, 0.0])
    torch.testing.assert_close(lessons.rms(error, left_half), expected)
    torch.testing.assert_close(lessons.rms(error, left_half.float()), expected)
    grey = torch.full((4, 1, 16, 16), 0.5)
    torch.testing.assert_close(lessons.rms(grey, left_half), torch.full((4,), 0.5))


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_a_chapter_starts_with_setup_and_repeats_none_of_it(path):
    sources = [cell.source for cell in code_cells(read(path))]
    assert any(line.startswith("setup(") for line in sources[0].splitlines())
    text = "\n".join(sources)
    assert not [name for name in ("rcParams", "package_versions", "take_picture") if name in text]


def test_imagined_runs_are_equal_or_not_as_it_was_asked():
    generator = torch.Generator().manual_seed(0)
    for advantage, least, most in ((0.0, -0.02, 0.02), (1.0, 0.1, 0.3)):
        a, b, labels = lessons.imagined_runs(advantage, 300, generator)
        assert a.shape == b.shape == (300, 60) and int(labels.sum()) == 36
        means = [np.mean([image_auroc(row, labels) for row in side]) for side in (a, b)]
        assert least < means[0] - means[1] < most


def test_imagined_runs_share_their_hard_images_and_differ_by_seed():
    a, b, _ = lessons.imagined_runs(0.0, 300, torch.Generator().manual_seed(0))
    shared = np.corrcoef(a.mean(0)[:36], b.mean(0)[:36])[0, 1]
    assert shared > 0.9 and not torch.equal(a[0], a[1])
