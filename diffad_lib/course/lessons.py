"""What several chapters need: a first cell, pictures with clean twins, and what is left of a part.

What a chapter teaches is written out there once and shown equal to the function here; other
chapters import it.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.datasets.decode import resize_image
from diffad_lib.datasets.images import load_split
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.errors import DiffadError, nearest
from diffad_lib.mini import find_category, make_mini
from diffad_lib.mini.categories import CATEGORIES
from diffad_lib.mini.picture import take_picture
from diffad_lib.runs.data import MINI_ROOT
from diffad_lib.runs.facts import package_versions

DEFECTS = {drawn.name: drawn.defects for drawn in CATEGORIES}  # of the mini data, by category

_SEEN_CHANGE = 0.02  # of the range of an image; a pixel that changed by more is defective
_DETAIL_WINDOW = 5  # pixels; what a mean over so many takes away is fine detail


def setup(dpi: int = 90) -> None:
    """The Setup cell of a chapter: look of the figures, then a line "package version" for each.

    dpi: pixels an inch of a figure.
    """
    plt.rcParams.update({"figure.dpi": dpi, "axes.spines.top": False, "axes.spines.right": False})
    for name, version in package_versions().items():
        print(f"{name} {version}")


def take(category: str, shot: str, defect: str | None, size: int, seed: int) -> Tensor:
    """A picture of the mini data, float32 [3,size,size] in [0,1].

    A shot is the same scene, light and sensor noise with every defect; defect None gives its clean
    twin. Raises DiffadError for a category or a defect that does not exist.
    """
    drawn = find_category(category)
    if defect is not None and defect not in drawn.defects:
        raise DiffadError(f'{category} has no defect "{defect}"; {nearest(defect, drawn.defects)}')
    picture, _ = take_picture(drawn, seed, shot, defect)
    return torch.from_numpy(resize_image(picture, size)).permute(2, 0, 1) / 255


def take_twins(
    category: str, cases: Sequence[tuple[str, str]], size: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Clean and defective pictures of the cases (shot, defect), both [B,3,size,size] in [0,1]."""
    clean = torch.stack([take(category, shot, None, size, seed) for shot, _ in cases])
    bad = torch.stack([take(category, shot, defect, size, seed) for shot, defect in cases])
    return clean, bad


def mini_split(category: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    """The mini data of a category, split "train" or "test", in the order of the library.

    Images float32 [N,3,size,size] in [0,1] and masks float32 [N,1,size,size] in {0,1}. The mini
    data are made where they are missing. Raises DiffadError for a category that does not exist.
    """
    dataset = find_category(category).dataset
    make_mini(MINI_ROOT)
    samples = list_samples(dataset, category, MINI_ROOT)
    stack = load_split([sample for sample in samples if sample.split == split], size)
    return torch.tensor(stack.images) / 255, torch.tensor(stack.masks).float()


def defect_mask(clean: Tensor, bad: Tensor) -> Tensor:
    """Where twins [B,3,H,W] in [0,1] differ by more than 0.02 in a channel: bool [B,1,H,W]."""
    return (bad - clean).abs().amax(dim=1, keepdim=True) > _SEEN_CHANGE


def share_kept(found: Tensor, wanted: Tensor, where: Tensor | None = None) -> Tensor:
    """<found, wanted> / <wanted, wanted> of each image, [B]; images are [B,C,H,W].

    The factor c for which c · wanted is nearest to found in squared error: 1 where all of it is
    there, 0 where nothing is. It ignores what has nothing to do with wanted, such as noise.
    where: the pixels that count, [B,1,H,W] in {0,1}; None: all.
    """
    counted = wanted if where is None else wanted * where
    return (found * counted).sum(dim=(1, 2, 3)) / (wanted * counted).sum(dim=(1, 2, 3))


def defect_kept(result: Tensor, clean: Tensor, bad: Tensor) -> Tensor:
    """Share of each defect that is in a result, [B]: 1 untouched, 0 gone; images are [B,3,H,W].

    It is measured on the pixels of the defect.
    """
    return share_kept(result - clean, bad - clean, defect_mask(clean, bad))


def detail(images: Tensor) -> Tensor:
    """Fine detail: [B,C,H,W] minus its mean over 5 × 5 pixels (at the border, of those inside)."""
    half = _DETAIL_WINDOW // 2
    return images - F.avg_pool2d(images, _DETAIL_WINDOW, 1, half, count_include_pad=False)


def detail_kept(result: Tensor, images: Tensor, where: Tensor) -> Tensor:
    """Share of the fine detail of the images that is in a result, [B], on the pixels `where`.

    1: all is back, 0: blurred away. result and images are [B,3,H,W], where is [B,1,H,W] in {0,1}.
    """
    return share_kept(detail(result), detail(images), where)


def rms(error: Tensor, where: Tensor) -> Tensor:
    """Root mean square of [B,C,H,W] over the pixels `where` [B,1,H,W] in {0,1}, [B]."""
    values = error.shape[1] * where.sum(dim=(1, 2, 3))
    return ((error.square() * where).sum(dim=(1, 2, 3)) / values).sqrt()


def imagined_runs(
    advantage: float, seeds: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of two imagined detectors, float64 [seeds,60] each, and the labels of 60 images.

    What real ones have too: some images are hard for both, every seed trains a better or a worse
    network, and every network errs in its own way. advantage: how much further A parts defects
    from normal images than B does; with 0 both are equally good.
    """
    labels = (torch.arange(60) < 36).long()

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hard = drawn(60)  # the same images for both
    sides = []
    for part in (1.2 + advantage, 1.2):
        apart = part + 0.3 * drawn(seeds, 1)  # how good the network of a seed is
        sides.append(hard + apart * labels + 0.7 * drawn(seeds, 60))
    return sides[0], sides[1], labels
